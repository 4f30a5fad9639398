"""Low-bit graphs in OpenVINO: every layer's codes at the reference's own inputs, and whole answers of the graph that flips none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor

from benchmarks.runtimes import in_openvino
from edgekit.export import lowering
from edgekit.export.convert import convert, serialize
from edgekit.export.passes import simplify
from edgekit.models.oqa import OqaNet
from tests.golden_subnets import golden_subnets


def inputs_of(net: OqaNet, picture: Tensor) -> dict[str, Tensor]:
    """What goes into every quantised layer, in their order."""
    found: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, given, name=name: found.update({name: given[0]}))
        for name, layer in net.quantised().items()
    ]
    with torch.no_grad():
        net(picture)
    for handle in handles:
        handle.remove()
    return found


def opened(graph: bytes, given: dict[str, Tensor]) -> bytes:
    """``graph`` with an input in front of every layer's rounding, and as outputs the roundings of what it computes itself.

    before: x -> round -> conv          after: x -> round -> out,  in -> the same rounding once more -> conv
    """
    model = onnx.load_from_string(graph)
    written = {name: node for node in model.graph.node for name in node.output}
    del model.graph.output[:]
    for layer, array in given.items():
        inside = [node for node in model.graph.node if node.name.startswith(f"{layer}/")]
        conv = next(node for node in inside if node.op_type == "Conv")
        codes = conv.input[0]
        chain = [written[codes]]
        while chain[0].input[0] in written and written[chain[0].input[0]] in inside:
            chain.insert(0, written[chain[0].input[0]])
        again = [copy.deepcopy(node) for node in chain]
        for node in again:
            node.name += "/again"
            node.input[0] += "/again"
            node.output[0] += "/again"
        again[0].input[0] = f"{layer}/given"
        conv.input[0] = again[-1].output[0]
        at = list(model.graph.node).index(chain[-1]) + 1
        for node in reversed(again):
            model.graph.node.insert(at, node)
        model.graph.input.append(
            helper.make_tensor_value_info(f"{layer}/given", onnx.TensorProto.FLOAT, array.shape)
        )
        model.graph.output.append(helper.make_tensor_value_info(codes, onnx.TensorProto.FLOAT, None))
    return model.SerializeToString()


def codes_in_openvino(graph: bytes, picture: Tensor, given: dict[str, Tensor]) -> list[NDArray[np.float32]]:
    run = in_openvino(opened(graph, given), 1)
    return list(run(picture.numpy(), *(array.contiguous().numpy() for array in given.values())))


@pytest.mark.slow
@pytest.mark.parametrize("container", ["qdq", "grid"])
def test_every_layers_codes_are_the_references_at_the_same_inputs(
    container: str, shared: Path, needs: Callable[[str], ModuleType]
) -> None:
    """At least 99.9 % of every layer's, each layer fused with the rounding behind it as in the whole graph."""
    needs("openvino")
    layers = 0
    for case, net, image, _ in golden_subnets(shared):
        picture = torch.from_numpy(image[:1])
        module = lowering.variants(net, {"image": tuple(picture.shape)})[container]
        graph = serialize(simplify(convert(module, {"image": picture}, ["logits"])))
        given = inputs_of(net, picture)
        found = codes_in_openvino(graph, picture, given)
        for (name, layer), codes in zip(net.quantised().items(), found, strict=True):
            wanted = layer.conv.input_codes(given[name]).numpy()
            in_steps = container == "qdq" and layer.conv.groups == 1
            mine = np.rint(codes / abs(layer.conv.sa.item()) if in_steps else codes)
            assert (mine == wanted).mean() >= 0.999, f"{case}, {name}"
            layers += 1
    assert layers >= 100


def test_the_float_container_meets_the_golden_logits(
    shared: Path, needs: Callable[[str], ModuleType]
) -> None:
    needs("openvino")
    _, net, image, logits = next(golden_subnets(shared))
    picture = torch.from_numpy(image[:1])
    module = lowering.variants(net, {"image": tuple(picture.shape)})["grid"]
    run = in_openvino(serialize(simplify(convert(module, {"image": picture}, ["logits"]))), 1)
    error = np.abs(run(picture.numpy())[0] - logits[:1]).max() / np.abs(logits[:1]).max()
    assert error <= 1e-4
