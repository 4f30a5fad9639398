"""NVIDIA's own parser and compiler take every graph of an exported AnyNet, without a GPU; needs tensorrt-rtx-cu12."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

import edgekit
from edgekit.bundle import Bundle
from edgekit.errors import BackendError, ExportError, OptionError
from edgekit.export.ahead import compile_ahead
from edgekit.export.convert import convert, serialize
from edgekit.export.passes.halve_products import halve_products
from edgekit.export.targets import find
from edgekit.export.tensorrt_rtx import CAPABILITIES, compile_graph


@pytest.fixture(autouse=True)
def _installed(needs: Callable[[str], ModuleType]) -> None:
    needs("tensorrt_rtx")


def test_every_variant_of_every_stage_compiles(anynet_bundle: Bundle) -> None:
    for stage in anynet_bundle.manifest.stages:
        for variant in stage.variants:
            compiled = compile_graph(anynet_bundle.read_bytes(variant.graph), ["86", "89", "120"])
            assert len(compiled.engine) > 1000, variant.graph


def test_every_variant_of_every_stage_compiles_for_turing_with_products_in_float16(
    anynet_bundle: Bundle,
) -> None:
    for stage in anynet_bundle.manifest.stages:
        for variant in stage.variants:
            proto = onnx.load_model_from_string(anynet_bundle.read_bytes(variant.graph))
            halved = halve_products(ir.serde.deserialize_model(proto))
            assert len(compile_graph(serialize(halved), ["75"]).engine) > 1000, variant.graph


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_bundle_for_a_desktop_gpu_holds_an_engine_for_every_graph(capability: str, tmp_path: Path) -> None:
    bundle = edgekit.export(
        model="tests.export.toy_networks:build", target=f"rtx-sm{capability}", out=tmp_path / "toy.edgekit"
    )
    for stage in bundle.manifest.stages:
        for variant in stage.variants:
            assert len(bundle.read_bytes(f"rtx/{stage.name}.{variant.name}.engine")) > 1000
            assert variant.precision == ("float16" if capability == "75" else "float32")
        assert stage.defaults["tensorrt_rtx"] == stage.defaults["tensorrt"]


def test_a_graph_that_does_not_compile_is_left_out_and_a_stage_without_any_is_an_error() -> None:
    good = serialize(convert(nn.ReLU(), {"x": torch.zeros(1, 3)}, ["y"]))
    target = find("rtx-sm86")
    graphs = {"stage1": {"good": good, "bad": b"no graph"}}
    engines, refused = compile_ahead(graphs, target, lambda step: None)
    assert list(engines) == ["rtx/stage1.good.engine"] and list(refused) == ["stage1.bad"]
    assert list(graphs["stage1"]) == ["good"]
    with pytest.raises(ExportError, match=r"stage1 cannot be compiled for rtx-sm86"):
        compile_ahead({"stage1": {"bad": b"no graph"}}, target, lambda step: None)


def test_the_runtimes_names_are_those_of_the_real_library(needs: Callable[[str], ModuleType]) -> None:
    """What `edgekit.runtime.backends.tensorrt_engine` touches of release 11, whose names TensorRT-RTX has."""
    rtx = needs("tensorrt_rtx")
    for kind, names in {
        "Runtime": ["deserialize_cuda_engine"],
        "ICudaEngine": ["num_io_tensors", "get_tensor_name", "get_tensor_shape", "get_tensor_dtype", "get_tensor_mode",
                        "create_execution_context", "device_memory_size_v2"],
        "IExecutionContext": ["set_device_memory", "set_tensor_address", "execute_async_v3"],
        "ILogger": ["ERROR", "INTERNAL_ERROR", "log"],
        "TensorIOMode": ["INPUT"],
        "ExecutionContextAllocationStrategy": ["USER_MANAGED"],
        "DataType": ["FLOAT", "HALF", "INT32", "INT64", "INT8", "UINT8", "BOOL"],
    }.items():  # fmt: skip
        assert [name for name in names if not hasattr(getattr(rtx, kind), name)] == [], kind


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
