"""NVIDIA's own parser and compiler take every graph of an exported AnyNet, without a GPU; needs tensorrt-rtx-cu12."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import nn

from edgekit.bundle import Bundle
from edgekit.errors import BackendError, ExportError, OptionError
from edgekit.export.convert import convert, serialize
from edgekit.export.tensorrt_rtx import CAPABILITIES, compile_graph


@pytest.fixture(autouse=True)
def _installed(needs: Callable[[str], ModuleType]) -> None:
    needs("tensorrt_rtx")


def test_every_variant_of_every_stage_compiles(anynet_bundle: Bundle) -> None:
    for stage in anynet_bundle.manifest.stages:
        for variant in stage.variants:
            compiled = compile_graph(anynet_bundle.read_bytes(variant.graph), ["86", "89", "120"])
            assert len(compiled.engine) > 1000, variant.graph


def test_a_plain_network_compiles_for_every_capability_at_once() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    assert compile_graph(
        serialize(convert(net, {"x": torch.zeros(1, 3, 16, 16)}, ["y"])), CAPABILITIES
    ).engine


def test_a_graph_that_it_refuses_is_an_error_with_the_reason() -> None:
    with pytest.raises(ExportError, match="cannot read the graph"):
        compile_graph(b"no graph")


def test_a_capability_that_it_cannot_aim_at_is_refused() -> None:
    graph = serialize(convert(nn.ReLU(), {"x": torch.zeros(1, 3)}, ["y"]))
    with pytest.raises(OptionError, match="SM62"):
        compile_graph(graph, ["62"])


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    with pytest.raises(BackendError, match="pip install tensorrt-rtx-cu12"):
        compile_graph(b"")
