"""Matrix products and fully connected layers."""

from __future__ import annotations

import math

import onnx_ir as ir

from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, Number, rank_of, shape_of


@emits("aten.linear.default")
def linear(graph: GraphBuilder, x: ir.Value, weight: ir.Value, bias: ir.Value | None = None) -> ir.Value:
    """x weight^T + bias over the last dimension."""
    shape = shape_of(x)
    if len(shape) == 2:
        return graph.op("Gemm", x, weight, bias, transB=1)
    rows = graph.reshape(x, (math.prod(shape[:-1]), shape[-1]))
    return graph.reshape(graph.op("Gemm", rows, weight, bias, transB=1), graph.result.shape)


@emits("aten.addmm.default")
def addmm(
    graph: GraphBuilder, bias: ir.Value, a: ir.Value, b: ir.Value, beta: Number = 1, alpha: Number = 1
) -> ir.Value:
    """beta bias + alpha a b."""
    return graph.op("Gemm", a, b, bias, alpha=float(alpha), beta=float(beta))


@emits("aten.mm.default", "aten.bmm.default", "aten.matmul.default", "aten.mv.default", "aten.dot.default")
def matmul(graph: GraphBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Matrix product; dimensions before the last two are broadcast, vectors are rows or columns."""
    if rank_of(a) == 1 or rank_of(b) == 1:  # TensorRT 8 wants matrices on both sides
        a = graph.reshape(a, (1, *shape_of(a))) if rank_of(a) == 1 else a
        b = graph.reshape(b, (*shape_of(b), 1)) if rank_of(b) == 1 else b
        return graph.op("Reshape", graph.op("MatMul", a, b), graph.ints(graph.result.shape))
    return graph.op("MatMul", a, b)


@emits("aten.baddbmm.default")
def baddbmm(
    graph: GraphBuilder, bias: ir.Value, a: ir.Value, b: ir.Value, beta: Number = 1, alpha: Number = 1
) -> ir.Value:
    """beta bias + alpha a b, a batch of matrices."""
    product = graph.op("MatMul", a, b)
    if alpha != 1:
        product = graph.op("Mul", product, graph.constant(alpha, a.dtype))
    if beta != 1:
        bias = graph.op("Mul", bias, graph.constant(beta, a.dtype))
    return graph.op("Add", product, bias)
