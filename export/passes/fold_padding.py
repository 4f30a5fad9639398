"""Let a convolution pad by itself.

before: Conv(Pad(x, zeros around the picture))
after:  Conv'(x)                                 pads' = pads + the zeros
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult

from edgekit.export.graph import rank_of


class FoldPadding(InPlacePass):
    """Remove every ``Pad`` with zeros whose only reader is a ``Conv``."""

    def call(self, model: ir.Model) -> PassResult:
        """Fold over the whole graph."""
        folded = [_fold(model.graph, node) for node in list(model.graph) if node.op_type == "Pad"]
        return PassResult(model, any(folded))


def _fold(graph: ir.Graph, pad: ir.Node) -> bool:
    source, result = pad.inputs[0], pad.outputs[0]
    readers = result.consumers()
    if source is None or len(result.uses()) != 1 or result.is_graph_output() or readers[0].op_type != "Conv":
        return False
    layer = readers[0]
    zeros = _zeros_around_the_picture(pad, rank_of(source))
    automatic = "auto_pad" in layer.attributes and layer.attributes["auto_pad"].as_string() != "NOTSET"
    if zeros is None or automatic or layer.inputs[0] is not result:
        return False
    own = layer.attributes["pads"].as_ints() if "pads" in layer.attributes else [0] * len(zeros)
    total = [a + b for a, b in zip(own, zeros, strict=True)]
    layer.attributes["pads"] = ir.AttrInt64s("pads", total)
    layer.replace_input_with(0, source)
    graph.remove(pad, safe=True)
    return True


def _zeros_around_the_picture(pad: ir.Node, rank: int) -> list[int] | None:
    """How much is padded at both ends of the spatial dimensions; None if with anything else, or anywhere else."""
    mode = pad.attributes["mode"].as_string() if "mode" in pad.attributes else "constant"
    pads = (
        None
        if pad.inputs[1] is None or pad.inputs[1].const_value is None
        else pad.inputs[1].const_value.numpy()
    )
    fill = pad.inputs[2] if len(pad.inputs) > 2 else None
    if mode != "constant" or pads is None or pads.min(initial=0) < 0:
        return None
    if fill is not None and (fill.const_value is None or np.any(fill.const_value.numpy())):
        return None
    begin, end = [int(p) for p in pads[:rank]], [int(p) for p in pads[rank:]]
    return None if any(begin[:2] + end[:2]) else begin[2:] + end[2:]
