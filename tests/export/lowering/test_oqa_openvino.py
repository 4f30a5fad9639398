"""Low-bit graphs in OpenVINO: every layer's codes at the reference's own inputs, and whole answers of graphs that flip none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from benchmarks.oqa_layers import flips, inputs_of, opened
from benchmarks.runtimes import in_openvino
from edgekit.export import lowering
from edgekit.export.convert import convert, serialize
from edgekit.export.passes import simplify
from tests.golden_subnets import golden_subnets


@pytest.mark.slow
@pytest.mark.parametrize("container", ["codes", "qdq", "grid"])
def test_every_layers_codes_are_the_references_at_the_same_inputs(
    container: str, shared: Path, needs: Callable[[str], ModuleType]
) -> None:
    """At least 99.9 % of every layer's (of one below a thousand, all but one), each fused with the rounding behind it."""
    needs("openvino")
    rows = []
    for case, net, image, _ in golden_subnets(shared):
        picture = torch.from_numpy(image[:1])
        module = lowering.variants(net, {"image": tuple(picture.shape)})[container]
        graph = serialize(simplify(convert(module, {"image": picture}, ["logits"])))
        given = inputs_of(net, picture)
        found = flips(net, picture, given, in_openvino(opened(graph, given), 1), container == "qdq")
        for row in found:
            assert row.count <= max(1, row.of // 1000), f"{case}, {row.layer}"
        rows += found
    assert len(rows) >= 100
    assert sum(row.count for row in rows) <= 1e-4 * sum(row.of for row in rows)


@pytest.mark.parametrize("container", ["codes", "grid"])
def test_containers_that_flip_no_code_meet_the_golden_logits(
    container: str, shared: Path, needs: Callable[[str], ModuleType]
) -> None:
    needs("openvino")
    _, net, image, logits = next(golden_subnets(shared))
    picture = torch.from_numpy(image[:1])
    module = lowering.variants(net, {"image": tuple(picture.shape)})[container]
    run = in_openvino(serialize(simplify(convert(module, {"image": picture}, ["logits"]))), 1)
    error = np.abs(run(picture.numpy())[0] - logits[:1]).max() / np.abs(logits[:1]).max()
    assert error <= 1e-4
