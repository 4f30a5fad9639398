"""Reshape once.

before: Reshape(Reshape(x, a), b)     and     Reshape(x, shape of x)
after:  Reshape(x, b)                         x
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult

from edgekit.export.graph import shape_of

_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


class MergeReshapes(InPlacePass):
    """Let every ``Reshape`` read what is before other reshapes, and drop those that then change nothing."""

    def call(self, model: ir.Model) -> PassResult:
        """Merge over the whole graph; reshapes that nothing reads any more go in a later pass."""
        modified = False
        for node in list(model.graph):
            if node.op_type != "Reshape":
                continue
            while (before := _reshape_before(node)) is not None and before.inputs[0] is not None:
                node.replace_input_with(0, before.inputs[0])
                modified = True
            source, result = node.inputs[0], node.outputs[0]
            same = source is not None and source.shape is not None and shape_of(source) == shape_of(result)
            if same and source is not None and not result.is_graph_output():
                result.replace_all_uses_with(source)
                modified = True
        return PassResult(model, modified)


def _reshape_before(node: ir.Node) -> ir.Node | None:
    """The reshape that ``node`` reads; a shape constant of 0 or -1 would mean another thing on another input."""
    shape = node.inputs[1]
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    if shape is None or shape.const_value is None or (shape.const_value.numpy() <= 0).any():
        return None
    return source if source is not None and source.op_type in _RESHAPES else None
