"""Compute now what only constants go into, unless the result is much larger than what it is made of (an Expand)."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import InPlacePass, PassResult

from edgekit.export.graph import IR_VERSION, OPSET, shape_of

_LARGEST = 4096  # elements that may replace fewer ones


class FoldConstants(InPlacePass):
    """Replace nodes whose inputs are all initializers by initializers; what nothing reads then goes in a later pass."""

    def call(self, model: ir.Model) -> PassResult:
        """Fold over the whole graph, in its order, so that a chain goes in one run."""
        modified = False
        for node in list(model.graph):
            inputs = [value for value in node.inputs if value is not None]
            constant = bool(inputs) and all(value.const_value is not None for value in inputs)
            if node.op_type == "DequantizeLinear":
                continue  # quantised weights stay what they are: runtimes look for them behind this node
            if constant and not any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
                modified |= _fold(model.graph, node, inputs)
        return PassResult(model, modified)


def _fold(graph: ir.Graph, node: ir.Node, inputs: list[ir.Value]) -> bool:
    held = sum(value.const_value.size for value in inputs if value.const_value is not None)
    if any(out.is_graph_output() or out.shape is None for out in node.outputs):
        return False
    if sum(math.prod(shape_of(out)) for out in node.outputs) > max(held, _LARGEST):
        return False
    arrays = {str(value.name): value.const_value.numpy() for value in inputs if value.const_value is not None}
    for output, array in zip(node.outputs, _evaluate(node, arrays), strict=True):
        name = output.name
        output.name = f"{name}/computed"  # so that the constant can carry the name
        tensor = ir.tensor(np.asarray(array), name=name)
        value = ir.Value(name=name, shape=output.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.initializers[str(name)] = value
        output.replace_all_uses_with(value)
    graph.remove(node, safe=True)
    return True


def _evaluate(node: ir.Node, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    proto = ir.to_proto(node)
    inputs = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in arrays.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output]
    graph = onnx.helper.make_graph([proto], "constant", inputs, outputs)
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    return ReferenceEvaluator(model).run(None, arrays)  # type: ignore[return-value]
