"""Sums, means, extremes, norms and what else makes a dimension disappear."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, Number, rank_of, shape_of

Dims = int | Sequence[int] | None
INT = ir.DataType.INT32


def reduce(graph: GraphBuilder, op_type: str, x: ir.Value, dim: Dims, keepdim: bool) -> ir.Value:
    """One reduction over ``dim``, over everything where that is None or empty."""
    axes = [dim] if isinstance(dim, int) else list(dim or range(rank_of(x)))
    if op_type == "ReduceSum":  # the one reduction whose axes are an input at opset 13
        return graph.op(op_type, x, graph.ints(axes), keepdims=int(keepdim))
    return graph.op(op_type, x, axes=axes, keepdims=int(keepdim))


@emits("aten.sum.dim_IntList", "aten.sum.default")
def sum_(
    graph: GraphBuilder, x: ir.Value, dim: Dims = None, keepdim: bool = False, dtype: object = None
) -> ir.Value:
    """Sum."""
    return reduce(graph, "ReduceSum", graph.cast(x, graph.result.dtype), dim, keepdim)


@emits("aten.mean.dim", "aten.mean.default")
def mean(
    graph: GraphBuilder, x: ir.Value, dim: Dims = None, keepdim: bool = False, dtype: object = None
) -> ir.Value:
    """Mean; over everything but batch and channels it is the pooling that every runtime is fast at."""
    x = graph.cast(x, graph.result.dtype)
    rank = rank_of(x)
    axes = sorted(axis % rank for axis in ([dim] if isinstance(dim, int) else dim or ()))
    if rank in (4, 5) and axes == list(range(2, rank)):
        pooled = graph.op("GlobalAveragePool", x)
        return pooled if keepdim else graph.op("Reshape", pooled, graph.ints(graph.result.shape))
    return reduce(graph, "ReduceMean", x, dim, keepdim)


@emits("aten.prod.dim_int", "aten.prod.default")
def prod(
    graph: GraphBuilder, x: ir.Value, dim: Dims = None, keepdim: bool = False, dtype: object = None
) -> ir.Value:
    """Product."""
    return reduce(graph, "ReduceProd", graph.cast(x, graph.result.dtype), dim, keepdim)


@emits("aten.amax.default", "aten.max.default")
def amax(graph: GraphBuilder, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> ir.Value:
    """Largest element."""
    return reduce(graph, "ReduceMax", x, dim, keepdim)


@emits("aten.amin.default", "aten.min.default")
def amin(graph: GraphBuilder, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> ir.Value:
    """Smallest element."""
    return reduce(graph, "ReduceMin", x, dim, keepdim)


@emits("aten.max.dim")
def max_dim(graph: GraphBuilder, x: ir.Value, dim: int, keepdim: bool = False) -> tuple[ir.Value, ir.Value]:
    """Largest element along a dimension, and where it is."""
    return reduce(graph, "ReduceMax", x, dim, keepdim), argmax(graph, x, dim, keepdim)


@emits("aten.min.dim")
def min_dim(graph: GraphBuilder, x: ir.Value, dim: int, keepdim: bool = False) -> tuple[ir.Value, ir.Value]:
    """Smallest element along a dimension, and where it is."""
    return reduce(graph, "ReduceMin", x, dim, keepdim), argmin(graph, x, dim, keepdim)


@emits("aten.argmax.default")
def argmax(graph: GraphBuilder, x: ir.Value, dim: int | None = None, keepdim: bool = False) -> ir.Value:
    """Where the largest element is; the first one of several."""
    return _arg(graph, "ArgMax", x, dim, keepdim)


@emits("aten.argmin.default")
def argmin(graph: GraphBuilder, x: ir.Value, dim: int | None = None, keepdim: bool = False) -> ir.Value:
    """Where the smallest element is; the first one of several."""
    return _arg(graph, "ArgMin", x, dim, keepdim)


def _arg(graph: GraphBuilder, op_type: str, x: ir.Value, dim: int | None, keepdim: bool) -> ir.Value:
    if dim is None:
        x, dim, keepdim = graph.reshape(x, (math.prod(shape_of(x)),)), 0, False
    shape = list(shape_of(x))
    shape[dim : dim + 1 or None] = [1] if keepdim else []
    index = graph.typed(graph.op(op_type, x, axis=dim, keepdims=int(keepdim)), shape, ir.DataType.INT64)
    return graph.cast(index, INT)


@emits("aten.linalg_vector_norm.default")
def vector_norm(
    graph: GraphBuilder,
    x: ir.Value,
    ord: Number = 2,
    dim: Dims = None,
    keepdim: bool = False,
    dtype: object = None,
) -> ir.Value:
    """Norm of order 1, 2, infinity or any positive one."""
    x = graph.cast(x, graph.result.dtype)
    if ord in (1, 2):
        return reduce(graph, f"ReduceL{int(ord)}", x, dim, keepdim)
    magnitude = graph.typed(graph.op("Abs", x), shape_of(x), x.dtype)
    if math.isinf(ord):
        return reduce(graph, "ReduceMax" if ord > 0 else "ReduceMin", magnitude, dim, keepdim)
    if ord <= 0:
        raise ExportError(f"{graph.scope}: a norm of order {ord} has no ONNX operator")
    powers = graph.typed(graph.op("Pow", magnitude, graph.constant(ord, x.dtype)), shape_of(x), x.dtype)
    return graph.op("Pow", reduce(graph, "ReduceSum", powers, dim, keepdim), graph.constant(1 / ord, x.dtype))


@emits("aten.norm.ScalarOpt_dim", "aten.norm.Scalar")
def norm(
    graph: GraphBuilder, x: ir.Value, p: Number | None = 2, dim: Dims = None, keepdim: bool = False
) -> ir.Value:
    """torch.norm's spelling of the vector norm."""
    return vector_norm(graph, x, 2 if p is None else p, dim, keepdim)


@emits("aten.logsumexp.default")
def logsumexp(graph: GraphBuilder, x: ir.Value, dim: Dims, keepdim: bool = False) -> ir.Value:
    """log(sum(exp(x)))."""
    return reduce(graph, "ReduceLogSumExp", x, dim, keepdim)


@emits("aten.var.correction")
def var(
    graph: GraphBuilder,
    x: ir.Value,
    dim: Dims = None,
    correction: Number | None = None,
    keepdim: bool = False,
) -> ir.Value:
    """Variance, divided by the count less ``correction``."""
    shape = shape_of(x)
    axes = [axis % len(shape) for axis in ([dim] if isinstance(dim, int) else dim or range(len(shape)))]
    centred = graph.typed(graph.op("Sub", x, reduce(graph, "ReduceMean", x, axes, True)), shape, x.dtype)
    squares = graph.typed(graph.op("Mul", centred, centred), shape, x.dtype)
    count = math.prod(shape[axis] for axis in axes) - (1 if correction is None else correction)
    total = reduce(graph, "ReduceSum", squares, axes, keepdim)
    return graph.op("Div", total, graph.constant(count, x.dtype))


@emits("aten.cumsum.default")
def cumsum(graph: GraphBuilder, x: ir.Value, dim: int, dtype: object = None) -> ir.Value:
    """Running sum along a dimension."""
    return graph.op("CumSum", graph.cast(x, graph.result.dtype), graph.constant(dim, INT))


@emits("aten.topk.default")
def topk(
    graph: GraphBuilder, x: ir.Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[ir.Value, ir.Value]:
    """The k largest or smallest elements along a dimension, and where they are."""
    values, index = graph.multi("TopK", 2, x, graph.ints([k]), axis=dim, largest=int(largest), sorted=1)
    return values, graph.cast(graph.typed(index, graph.results[1].shape, ir.DataType.INT64), INT)


@emits("aten.any.dim", "aten.any.default", "aten.any.dims")
def any_(graph: GraphBuilder, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> ir.Value:
    """Whether any element is not 0."""
    numbers = graph.cast(graph.cast(x, ir.DataType.BOOL), ir.DataType.FLOAT)
    return graph.op(
        "Greater", reduce(graph, "ReduceMax", numbers, dim, keepdim), graph.constant(0.5, ir.DataType.FLOAT)
    )


@emits("aten.all.dim", "aten.all.default", "aten.all.dims")
def all_(graph: GraphBuilder, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> ir.Value:
    """Whether no element is 0."""
    numbers = graph.cast(graph.cast(x, ir.DataType.BOOL), ir.DataType.FLOAT)
    return graph.op(
        "Greater", reduce(graph, "ReduceMin", numbers, dim, keepdim), graph.constant(0.5, ir.DataType.FLOAT)
    )
