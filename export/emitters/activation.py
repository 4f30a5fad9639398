"""Activation functions, written with operators that TensorRT 8.2 imports (it has no HardSwish, Mish or Gelu)."""

from __future__ import annotations

import math

import onnx_ir as ir

from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, Number


@emits("aten.relu.default")
def relu(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """max(x, 0)."""
    return graph.op("Relu", x)


@emits("aten.relu6.default")
def relu6(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """x clipped to 0 .. 6."""
    return _clip(graph, x, 0.0, 6.0)


@emits("aten.hardtanh.default")
def hardtanh(graph: GraphBuilder, x: ir.Value, min_val: Number = -1.0, max_val: Number = 1.0) -> ir.Value:
    """x clipped."""
    return _clip(graph, x, min_val, max_val)


@emits("aten.sigmoid.default")
def sigmoid(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """1 / (1 + exp(-x))."""
    return graph.op("Sigmoid", graph.cast(x, graph.result.dtype))


@emits("aten.tanh.default")
def tanh(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """Hyperbolic tangent."""
    return graph.op("Tanh", graph.cast(x, graph.result.dtype))


@emits("aten.silu.default")
def silu(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """x sigmoid(x)."""
    return graph.op("Mul", x, graph.op("Sigmoid", x))


@emits("aten.hardsigmoid.default")
def hardsigmoid(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """x / 6 + 1/2, clipped to 0 .. 1."""
    return graph.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@emits("aten.hardswish.default")
def hardswish(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """x clip(x + 3, 0, 6) / 6: HardSwish as an operator came with opset 14."""
    gate = _clip(graph, graph.op("Add", x, graph.constant(3.0, x.dtype)), 0.0, 6.0)
    return graph.op("Div", graph.op("Mul", x, gate), graph.constant(6.0, x.dtype))


@emits("aten.leaky_relu.default")
def leaky_relu(graph: GraphBuilder, x: ir.Value, negative_slope: Number = 0.01) -> ir.Value:
    """x where positive, negative_slope x elsewhere."""
    return graph.op("LeakyRelu", x, alpha=float(negative_slope))


@emits("aten.prelu.default")
def prelu(graph: GraphBuilder, x: ir.Value, weight: ir.Value) -> ir.Value:
    """x where positive, weight x elsewhere; one weight, or one a channel."""
    slopes = len(graph.array(weight)) if (array := graph.array(weight)) is not None and array.ndim else 1  # type: ignore[arg-type]
    rank = len(graph.result.shape)
    return graph.op("PRelu", x, graph.reshape(weight, (slopes, *([1] * (rank - 2)))))


@emits("aten.elu.default")
def elu(
    graph: GraphBuilder, x: ir.Value, alpha: Number = 1.0, scale: Number = 1.0, input_scale: Number = 1.0
) -> ir.Value:
    """scale x where positive, scale alpha (exp(input_scale x) - 1) elsewhere; SELU and CELU are cases of it."""
    positive = graph.op("Relu", x)
    negative = graph.op("Min", x, graph.constant(0.0, x.dtype))
    if input_scale != 1:
        negative = graph.op("Mul", negative, graph.constant(input_scale, x.dtype))
    y = graph.op("Add", positive, graph.op("Elu", negative, alpha=float(alpha)))
    return y if scale == 1 else graph.op("Mul", y, graph.constant(scale, x.dtype))


@emits("aten.softplus.default")
def softplus(graph: GraphBuilder, x: ir.Value, beta: Number = 1.0, threshold: Number = 20.0) -> ir.Value:
    """log(1 + exp(beta x)) / beta; torch's threshold only guards against overflow, which the operator does itself."""
    if beta == 1:
        return graph.op("Softplus", x)
    return graph.op(
        "Div",
        graph.op("Softplus", graph.op("Mul", x, graph.constant(beta, x.dtype))),
        graph.constant(beta, x.dtype),
    )


@emits("aten.mish.default")
def mish(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """x tanh(softplus(x))."""
    return graph.op("Mul", x, graph.op("Tanh", graph.op("Softplus", x)))


@emits("aten.gelu.default")
def gelu(graph: GraphBuilder, x: ir.Value, approximate: str = "none") -> ir.Value:
    """x / 2 (1 + erf(x / sqrt 2)), or its approximation by tanh."""

    def number(value: float) -> ir.Value:
        return graph.constant(value, x.dtype)

    if approximate == "tanh":
        cube = graph.op("Mul", graph.op("Mul", x, x), x)
        inner = graph.op("Add", x, graph.op("Mul", cube, number(0.044715)))
        bell = graph.op("Tanh", graph.op("Mul", inner, number(math.sqrt(2 / math.pi))))
    else:
        bell = graph.op("Erf", graph.op("Mul", x, number(1 / math.sqrt(2))))
    return graph.op("Mul", graph.op("Mul", x, number(0.5)), graph.op("Add", bell, number(1.0)))


@emits("aten.log_sigmoid.default")
def log_sigmoid(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """-softplus(-x)."""
    return graph.op("Neg", graph.op("Softplus", graph.op("Neg", x)))


@emits("aten.softmax.int", "aten._softmax.default")
def softmax(graph: GraphBuilder, x: ir.Value, dim: int, dtype: object = None) -> ir.Value:
    """Softmax along one dimension."""
    return graph.op("Softmax", graph.cast(x, graph.result.dtype), axis=dim)


@emits("aten.log_softmax.int", "aten._log_softmax.default")
def log_softmax(graph: GraphBuilder, x: ir.Value, dim: int, dtype: object = None) -> ir.Value:
    """Logarithm of the softmax along one dimension."""
    return graph.op("LogSoftmax", graph.cast(x, graph.result.dtype), axis=dim)


def _clip(graph: GraphBuilder, x: ir.Value, low: Number, high: Number) -> ir.Value:
    return graph.op("Clip", x, graph.constant(low, x.dtype), graph.constant(high, x.dtype))
