"""Batch, group, layer and instance normalisation at inference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, rank_of, shape_of


@emits("aten.batch_norm.default")
def batch_norm(
    graph: GraphBuilder, x: ir.Value, weight: ir.Value | None, bias: ir.Value | None, mean: ir.Value | None,
    var: ir.Value | None, training: bool, momentum: float, eps: float, cudnn_enabled: bool = False,
) -> ir.Value:  # fmt: skip
    """(x - mean) / sqrt(var + eps) weight + bias with the running statistics."""
    if training or mean is None or var is None:
        raise ExportError(
            f"{graph.scope}: batch norm without running statistics changes with the batch; call .eval() first"
        )
    channels = shape_of(mean)[0]
    weight = weight or graph.constant(np.ones(channels, np.float32))
    bias = bias or graph.constant(np.zeros(channels, np.float32))
    return graph.op("BatchNormalization", x, weight, bias, mean, var, epsilon=eps)


@emits("aten._native_batch_norm_legit_no_training.default")
def native_batch_norm(
    graph: GraphBuilder, x: ir.Value, weight: ir.Value | None, bias: ir.Value | None, mean: ir.Value, var: ir.Value,
    momentum: float, eps: float,
) -> tuple[ir.Value, None, None]:  # fmt: skip
    """Core ATen's spelling, which also returns statistics that only training reads."""
    return batch_norm(graph, x, weight, bias, mean, var, False, momentum, eps), None, None


@emits("aten.group_norm.default")
def group_norm(
    graph: GraphBuilder, x: ir.Value, groups: int, weight: ir.Value | None = None, bias: ir.Value | None = None,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> ir.Value:  # fmt: skip
    """Each group of channels to mean 0 and variance 1, then scaled per channel."""
    shape = shape_of(x)
    grouped = graph.reshape(x, (shape[0], groups, math.prod(shape[1:]) // groups))
    scale = graph.constant(np.ones(groups, np.float32)), graph.constant(np.zeros(groups, np.float32))
    y = graph.reshape(graph.op("InstanceNormalization", grouped, *scale, epsilon=eps), shape)
    return _scaled(graph, y, weight, bias, (shape[1], *([1] * (len(shape) - 2))))


@emits("aten.instance_norm.default")
def instance_norm(
    graph: GraphBuilder, x: ir.Value, weight: ir.Value | None, bias: ir.Value | None, mean: ir.Value | None,
    var: ir.Value | None, use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool = True,
) -> ir.Value:  # fmt: skip
    """Each channel of each picture to mean 0 and variance 1, then scaled."""
    if not use_input_stats:
        return batch_norm(graph, x, weight, bias, mean, var, False, momentum, eps)
    channels = shape_of(x)[1]
    weight = weight or graph.constant(np.ones(channels, np.float32))
    bias = bias or graph.constant(np.zeros(channels, np.float32))
    return graph.op("InstanceNormalization", x, weight, bias, epsilon=eps)


@emits("aten.layer_norm.default")
def layer_norm(
    graph: GraphBuilder, x: ir.Value, normalized_shape: Sequence[int], weight: ir.Value | None = None,
    bias: ir.Value | None = None, eps: float = 1e-5, cudnn_enable: bool = True,
) -> ir.Value:  # fmt: skip
    """The last dimensions to mean 0 and variance 1, then scaled: LayerNormalization came with opset 17."""
    axes = list(range(rank_of(x) - len(normalized_shape), rank_of(x)))
    centred = graph.op("Sub", x, graph.op("ReduceMean", x, axes=axes, keepdims=1))
    variance = graph.op("ReduceMean", graph.op("Mul", centred, centred), axes=axes, keepdims=1)
    deviation = graph.op("Sqrt", graph.op("Add", variance, graph.constant(eps, x.dtype)))
    return _scaled(graph, graph.op("Div", centred, deviation), weight, bias, tuple(normalized_shape))


def _scaled(
    graph: GraphBuilder, y: ir.Value, weight: ir.Value | None, bias: ir.Value | None, shape: Sequence[int]
) -> ir.Value:
    if weight is not None:
        y = graph.op("Mul", y, graph.reshape(weight, shape))
    return y if bias is None else graph.op("Add", y, graph.reshape(bias, shape))
