"""Fold a batch norm into the convolution (or fully connected layer) before it, or into the one after it where that is exact.

before: scale (W * x + b) + shift             before: W * (scale x + shift) + b     (no padding: padding is 0, not shift)
after:  (scale W) * x + (scale b + shift)     after:  (W scale) * x + (b + sum W shift)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult

_LINEAR = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class _Affine:
    """What a batch norm does at inference, per channel: scale x + shift, in float64."""

    scale: np.ndarray
    shift: np.ndarray


class FoldBatchNorm(InPlacePass):
    """Remove every ``BatchNormalization`` that a neighbouring layer absorbs."""

    def call(self, model: ir.Model) -> PassResult:
        """Fold over the whole graph."""
        modified = False
        for node in list(model.graph):
            if node.op_type == "BatchNormalization" and (affine := _affine(node)) is not None:
                modified |= _fold_before(model.graph, node, affine) or _fold_after(model.graph, node, affine)
        return PassResult(model, modified)


def _affine(node: ir.Node) -> _Affine | None:
    arrays = [_array(value) for value in node.inputs[1:5]]
    if any(array is None for array in arrays):
        return None
    weight, bias, mean, var = (np.asarray(array, np.float64) for array in arrays)
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    scale = weight / np.sqrt(var + epsilon)
    return _Affine(scale, bias - mean * scale)


def _fold_before(graph: ir.Graph, norm: ir.Node, affine: _Affine) -> bool:
    """Into the layer whose result only the batch norm reads."""
    source = norm.inputs[0]
    layer = source.producer() if source is not None else None
    if source is None or layer is None or not _foldable(layer) or _shared(source):
        return False
    weight, bias = _parameters(layer, len(affine.scale))
    axis = _output_axis(layer)
    groups = _groups(layer) if layer.op_type == "ConvTranspose" else 1
    scale = affine.scale
    # Weights (C, outputs / groups, kernel): input channels of one group share their outputs' scale
    if groups > 1:
        scale = np.repeat(affine.scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        scaled = weight * scale.reshape(*scale.shape, *[1] * (weight.ndim - 2))
    else:
        scaled = weight * scale.reshape([-1 if k == axis else 1 for k in range(weight.ndim)])
    _replace_parameters(graph, layer, scaled, affine.scale * bias + affine.shift)
    _remove(graph, norm, layer.outputs[0])
    return True


def _fold_after(graph: ir.Graph, norm: ir.Node, affine: _Affine) -> bool:
    """Into a convolution without padding that alone reads the batch norm's result."""
    result, source = norm.outputs[0], norm.inputs[0]
    readers = result.consumers()
    if source is None or len(readers) != 1 or _shared(result) or readers[0].op_type != "Conv":
        return False
    layer = readers[0]
    pads = layer.attributes["pads"].as_ints() if "pads" in layer.attributes else ()
    if not _foldable(layer) or any(pads) or layer.inputs[0] is not result:
        return False
    weight = _array(layer.inputs[1])
    assert weight is not None
    weight, bias = _parameters(layer, weight.shape[0])
    groups = _groups(layer)
    per_output = weight.shape[0] // groups  # output channels of a group read that group's input channels
    scale, shift = (
        np.repeat(a.reshape(groups, -1), per_output, axis=0) for a in (affine.scale, affine.shift)
    )
    spatial = [1] * (weight.ndim - 2)
    moved = (weight * shift.reshape(*shift.shape, *spatial)).reshape(weight.shape[0], -1).sum(axis=1)
    _replace_parameters(graph, layer, weight * scale.reshape(*scale.shape, *spatial), bias + moved)
    layer.replace_input_with(0, source)
    graph.remove(norm, safe=True)
    return True


def _foldable(layer: ir.Node) -> bool:
    if layer.op_type not in _LINEAR or _array(layer.inputs[1]) is None:
        return False
    if layer.op_type == "Gemm" and any(
        layer.attributes[name].as_float() != 1 for name in ("alpha", "beta") if name in layer.attributes
    ):
        return False
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    return bias is None or _array(bias) is not None


def _parameters(layer: ir.Node, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    weight = np.asarray(_array(layer.inputs[1]), np.float64)
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    return weight, np.zeros(outputs) if bias is None else np.broadcast_to(
        np.asarray(_array(bias), np.float64).ravel(), outputs
    )


def _output_axis(layer: ir.Node) -> int:
    if layer.op_type == "Gemm":
        transposed = "transB" in layer.attributes and layer.attributes["transB"].as_int() == 1
        return 0 if transposed else 1
    return 1 if layer.op_type == "ConvTranspose" else 0


def _groups(layer: ir.Node) -> int:
    return layer.attributes["group"].as_int() if "group" in layer.attributes else 1


def _shared(value: ir.Value) -> bool:
    return value.is_graph_output() or len(value.uses()) != 1


def _array(value: ir.Value | None) -> np.ndarray | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _replace_parameters(graph: ir.Graph, layer: ir.Node, weight: np.ndarray, bias: np.ndarray) -> None:
    """New initializers beside the old ones, which another layer may share; what nothing reads goes in a later pass."""
    values = []
    for role, array in (("weight", weight), ("bias", bias)):
        name = f"{layer.name}.{role}.folded"
        tensor = ir.tensor(np.ascontiguousarray(array, np.float32), name=name)
        value = ir.Value(
            name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        graph.initializers[name] = value
        values.append(value)
    if len(layer.inputs) < 3:
        layer.resize_inputs(3)
    layer.replace_input_with(1, values[0])
    layer.replace_input_with(2, values[1])


def _remove(graph: ir.Graph, norm: ir.Node, kept: ir.Value) -> None:
    """Take ``norm`` out; ``kept`` takes over its result's name where that is an output of the graph."""
    result = norm.outputs[0]
    name = result.name
    is_output = result.is_graph_output()
    result.replace_all_uses_with(kept, replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    if is_output:
        kept.name = name
