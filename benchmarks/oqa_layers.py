"""The codes of every low-bit layer at the reference's own inputs: how many a runtime rounds to another one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor

from benchmarks.runtimes import Network
from edgekit.models.oqa import OqaNet


@dataclass(frozen=True)
class Flips:
    """Codes of one layer that are not the reference's, of how many."""

    layer: str
    count: int
    of: int


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


def opened(graph: bytes, given: Mapping[str, Tensor]) -> bytes:
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
    data: bytes = model.SerializeToString()
    return data


def flips(
    net: OqaNet, picture: Tensor, given: Mapping[str, Tensor], run: Network, in_steps: bool
) -> list[Flips]:
    """Layer by layer, for an opened graph of ``net`` in some runtime.

    ``given`` is that of `inputs_of`; ``in_steps``: all but depthwise layers read DequantizeLinear's answers, not codes.
    """
    found = run(picture.numpy(), *(array.contiguous().numpy() for array in given.values()))
    rows = []
    for (name, layer), codes in zip(net.quantised().items(), found, strict=True):
        wanted = layer.conv.input_codes(given[name]).detach().numpy()
        step = abs(layer.conv.sa.item()) if in_steps and layer.conv.groups == 1 else 1.0
        rows.append(Flips(name, int((np.rint(codes / step) != wanted).sum()), int(wanted.size)))
    return rows
