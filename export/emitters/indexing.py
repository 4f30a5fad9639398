"""Reading and writing elements by index: gathers, scatters and assignments to slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.emitters import emits
from edgekit.export.emitters.shape import permute, slice_
from edgekit.export.graph import GraphBuilder, Number, rank_of, shape_of


@emits("aten.index_select.default")
def index_select(graph: GraphBuilder, x: ir.Value, dim: int, index: ir.Value) -> ir.Value:
    """Slices along a dimension, by number; neighbours in order are a Slice."""
    if (array := graph.array(index)) is not None and array.size:
        first = int(array.ravel()[0])
        if np.array_equal(array.ravel(), np.arange(first, first + array.size)):
            return slice_(graph, x, dim, first, first + array.size)
    return graph.op("Gather", x, index, axis=dim)


@emits("aten.embedding.default")
def embedding(graph: GraphBuilder, weight: ir.Value, indices: ir.Value, *options: object) -> ir.Value:
    """Rows of a table."""
    return graph.op("Gather", weight, indices, axis=0)


@emits("aten.gather.default")
def gather(
    graph: GraphBuilder, x: ir.Value, dim: int, index: ir.Value, sparse_grad: bool = False
) -> ir.Value:
    """One element per position of ``index``, chosen along a dimension."""
    return graph.op("GatherElements", x, index, axis=dim)


@emits("aten.index.Tensor")
def index(graph: GraphBuilder, x: ir.Value, indices: Sequence[ir.Value | None]) -> ir.Value:
    """x[:, i, j]: adjacent dimensions by index tensors that are broadcast against each other."""
    chosen = [(dim, i) for dim, i in enumerate(indices) if i is not None]
    if any(i.dtype is ir.DataType.BOOL for _, i in chosen):
        raise ExportError(
            f"{graph.scope}: a mask as an index gives a result of no static shape: use torch.where"
        )
    wrapped = [(dim, _non_negative(graph, i, shape_of(x)[dim])) for dim, i in chosen]
    if len(wrapped) == 1:
        dim, only = wrapped[0]
        return graph.op("Gather", x, only, axis=dim)
    dims = [dim for dim, _ in wrapped]
    if dims != list(range(dims[0], dims[0] + len(dims))):
        raise ExportError(
            f"{graph.scope}: indices of dimensions that are not neighbours: permute the tensor first"
        )
    rank, lead = rank_of(x), dims[0]
    order = [*dims, *(d for d in range(rank) if d not in dims)]
    front = graph.typed(permute(graph, x, order), [shape_of(x)[d] for d in order], x.dtype)
    shape = np.broadcast_shapes(*(shape_of(i) for _, i in wrapped))
    columns = [
        graph.op("Unsqueeze", _broadcast(graph, i, shape), graph.ints([len(shape)])) for _, i in wrapped
    ]
    picked = graph.op(
        "GatherND",
        front,
        graph.op("Cast", graph.op("Concat", *columns, axis=len(shape)), to=int(ir.DataType.INT64)),
    )
    result = graph.result.shape
    picked = graph.typed(
        picked, (*result[lead : lead + len(shape)], *result[:lead], *result[lead + len(shape) :]), x.dtype
    )
    back = [*range(len(shape), len(shape) + lead), *range(len(shape)), *range(len(shape) + lead, len(result))]
    return permute(graph, picked, back)


def _non_negative(graph: GraphBuilder, index: ir.Value, length: int) -> ir.Value:
    """Constant indices counted from the front, since TensorRT 8.0 takes no others."""
    array = graph.array(index)
    return (
        index
        if array is None or array.min(initial=0) >= 0
        else graph.constant(np.where(array < 0, array + length, array))
    )


def _broadcast(graph: GraphBuilder, index: ir.Value, shape: Sequence[int]) -> ir.Value:
    return index if shape_of(index) == tuple(shape) else graph.op("Expand", index, graph.ints(shape))


@emits("aten.scatter.src", "aten.scatter.value")
def scatter(
    graph: GraphBuilder, x: ir.Value, dim: int, index: ir.Value, source: ir.Value | Number
) -> ir.Value:
    """x with elements along a dimension replaced."""
    updates = (
        source if isinstance(source, ir.Value) else graph.constant(np.full(shape_of(index), source), x.dtype)
    )
    return graph.op("ScatterElements", x, index, updates, axis=dim)


@emits("aten.slice_scatter.default")
def slice_scatter(
    graph: GraphBuilder, x: ir.Value, source: ir.Value, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> ir.Value:  # fmt: skip
    """x with a slice replaced, which is what remains of ``x[..., a:b] = y``: a join of three parts."""
    length = shape_of(x)[dim]
    first, last, _ = slice(start, end, step).indices(length)
    if step != 1:
        raise ExportError(
            f"{graph.scope}: an assignment to every {step}th element: build it with cat or where"
        )
    parts = [slice_(graph, x, dim, 0, first)] if first > 0 else []
    parts.append(graph.cast(source, graph.result.dtype))
    parts += [slice_(graph, x, dim, last, length)] if last < length else []
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=dim)


@emits("aten.select_scatter.default")
def select_scatter(graph: GraphBuilder, x: ir.Value, source: ir.Value, dim: int, index: int) -> ir.Value:
    """x with one slice replaced: ``x[:, i] = y``."""
    shape = [*shape_of(x)]
    start = index % shape[dim]
    shape[dim] = 1
    return slice_scatter(graph, x, graph.reshape(source, shape), dim, start, start + 1)


@emits("aten.copy.default")
def copy(graph: GraphBuilder, x: ir.Value, source: ir.Value, non_blocking: bool = False) -> ir.Value:
    """``source`` in the shape of x, which is what remains of ``x[:] = y``."""
    source = graph.cast(source, graph.result.dtype)
    shape = graph.result.shape
    return source if shape_of(source) == shape else graph.op("Expand", source, graph.ints(shape))
