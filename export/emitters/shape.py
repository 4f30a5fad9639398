"""What only moves or repeats elements: reshapes, permutations, joins, cuts and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, Number, rank_of, shape_of


@emits(
    "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.flatten.using_ints",
    "aten.unflatten.int", "aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims", "aten.unsqueeze.default",
    "aten.view_copy.default", "aten.view_as.default", "aten.reshape_as.default",
)  # fmt: skip
def reshape(graph: GraphBuilder, x: ir.Value, *arguments: object) -> ir.Value:
    """The same elements in the shape that torch worked out."""
    return graph.reshape(x, graph.result.shape)


@emits("aten.permute.default")
def permute(graph: GraphBuilder, x: ir.Value, dims: Sequence[int]) -> ir.Value:
    """Dimensions in another order; where only sides of length 1 move, a reshape."""
    shape = shape_of(x)
    order = [dim % len(shape) for dim in dims]
    moving = [dim for dim in order if shape[dim] != 1]
    if moving == sorted(moving):
        return graph.reshape(x, [shape[dim] for dim in order])
    return graph.op("Transpose", x, perm=order)


@emits("aten.transpose.int", "aten.swapaxes.default")
def transpose(graph: GraphBuilder, x: ir.Value, dim0: int, dim1: int) -> ir.Value:
    """Two dimensions exchanged."""
    order = list(range(rank_of(x)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permute(graph, x, order)


@emits("aten.t.default", "aten.numpy_T.default")
def t(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """Dimensions in reverse order."""
    return permute(graph, x, range(rank_of(x) - 1, -1, -1))


@emits("aten.movedim.int", "aten.movedim.intlist")
def movedim(
    graph: GraphBuilder, x: ir.Value, source: int | Sequence[int], destination: int | Sequence[int]
) -> ir.Value:
    """Some dimensions elsewhere, the others in their order."""
    rank = rank_of(x)
    from_ = [d % rank for d in ([source] if isinstance(source, int) else source)]
    to = [d % rank for d in ([destination] if isinstance(destination, int) else destination)]
    rest = iter(d for d in range(rank) if d not in from_)
    return permute(graph, x, [from_[to.index(d)] if d in to else next(rest) for d in range(rank)])


@emits("aten.expand.default", "aten.expand_as.default", "aten.broadcast_to.default")
def expand(graph: GraphBuilder, x: ir.Value, *arguments: object, implicit: bool = False) -> ir.Value:
    """Sides of length 1 repeated to the shape that torch worked out."""
    shape = graph.result.shape
    return x if shape_of(x) == shape else graph.op("Expand", x, graph.ints(shape))


@emits("aten.repeat.default", "aten.tile.default")
def repeat(graph: GraphBuilder, x: ir.Value, repeats: Sequence[int]) -> ir.Value:
    """The whole tensor several times along each dimension."""
    shape = shape_of(x)
    rank = max(len(shape), len(repeats))
    x = graph.reshape(x, (*([1] * (rank - len(shape))), *shape))
    counts = [1] * (rank - len(repeats)) + list(repeats)
    return x if all(count == 1 for count in counts) else graph.op("Tile", x, graph.ints(counts))


@emits("aten.repeat_interleave.self_int")
def repeat_interleave(
    graph: GraphBuilder, x: ir.Value, repeats: int, dim: int | None = None, output_size: int | None = None
) -> ir.Value:
    """Each element several times in a row along a dimension."""
    shape = shape_of(x) if dim is not None else (math.prod(shape_of(x)),)
    axis = (dim or 0) % len(shape)
    apart = graph.reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    counts = [1] * (len(shape) + 1)
    counts[axis + 1] = repeats
    return graph.op("Reshape", graph.op("Tile", apart, graph.ints(counts)), graph.ints(graph.result.shape))


@emits("aten.cat.default", "aten.concat.default")
def cat(graph: GraphBuilder, tensors: Sequence[ir.Value], dim: int = 0) -> ir.Value:
    """Tensors joined along a dimension; empty ones leave nothing."""
    filled = [graph.cast(x, graph.result.dtype) for x in tensors if 0 not in shape_of(x)]
    return filled[0] if len(filled) == 1 else graph.op("Concat", *filled, axis=dim)


@emits("aten.stack.default")
def stack(graph: GraphBuilder, tensors: Sequence[ir.Value], dim: int = 0) -> ir.Value:
    """Tensors joined along a new dimension."""
    axis = dim % len(graph.result.shape)
    shape = shape_of(tensors[0])
    apart = [
        graph.reshape(graph.cast(x, graph.result.dtype), (*shape[:axis], 1, *shape[axis:])) for x in tensors
    ]
    return apart[0] if len(apart) == 1 else graph.op("Concat", *apart, axis=axis)


@emits("aten.split.Tensor", "aten.split_with_sizes.default", "aten.split.sizes", "aten.chunk.default")
def split(graph: GraphBuilder, x: ir.Value, sizes: object, dim: int = 0) -> tuple[ir.Value, ...]:
    """A tensor cut along a dimension into the lengths that torch worked out."""
    if len(graph.results) == 1:
        return (x,)
    lengths = [meta.shape[dim] for meta in graph.results]
    return graph.multi("Split", len(lengths), x, graph.ints(lengths), axis=dim)


@emits("aten.unbind.int")
def unbind(graph: GraphBuilder, x: ir.Value, dim: int = 0) -> tuple[ir.Value, ...]:
    """Every slice along a dimension, without it."""
    shape = list(shape_of(x))
    count, shape[dim] = shape[dim], 1
    if count == 1:
        return (graph.reshape(x, graph.result.shape),)
    slices = graph.multi("Split", count, x, graph.ints([1] * count), axis=dim)
    return tuple(graph.reshape(graph.typed(s, shape, x.dtype), graph.result.shape) for s in slices)


@emits("aten.slice.Tensor")
def slice_(
    graph: GraphBuilder,
    x: ir.Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> ir.Value:
    """Every step-th element from start to before end; negative positions count from the end."""
    length = shape_of(x)[dim]
    first, last, _ = slice(start, end, step).indices(length)
    if first == 0 and last == length and step == 1:
        return x
    return graph.op("Slice", x, *(graph.ints([number]) for number in (first, max(last, first), dim, step)))


@emits("aten.narrow.default")
def narrow(graph: GraphBuilder, x: ir.Value, dim: int, start: int, length: int) -> ir.Value:
    """``length`` elements from ``start``."""
    start %= max(shape_of(x)[dim], 1)
    return slice_(graph, x, dim, start, start + length)


@emits("aten.select.int")
def select(graph: GraphBuilder, x: ir.Value, dim: int, index: int) -> ir.Value:
    """One slice along a dimension, without it."""
    start = index % shape_of(x)[dim]
    part = slice_(graph, x, dim, start, start + 1)
    return graph.op("Reshape", part, graph.ints(graph.result.shape))


@emits("aten.flip.default")
def flip(graph: GraphBuilder, x: ir.Value, dims: Sequence[int]) -> ir.Value:
    """Dimensions backwards."""
    count = len(dims)
    lowest = -(2**31) + 1  # before the first element of any side
    return graph.op(
        "Slice",
        x,
        graph.ints([-1] * count),
        graph.ints([lowest] * count),
        graph.ints(dims),
        graph.ints([-1] * count),
    )


@emits("aten.roll.default")
def roll(graph: GraphBuilder, x: ir.Value, shifts: Sequence[int], dims: Sequence[int] = ()) -> ir.Value:
    """Elements moved along dimensions, what leaves at one end entering at the other."""
    if not dims:
        raise ExportError(f"{graph.scope}: roll over the flattened tensor: name its dimensions")
    shape = shape_of(x)
    for shift, dim in zip(shifts, dims, strict=True):
        if cut := -shift % shape[dim]:
            parts = slice_(graph, x, dim, cut), slice_(graph, x, dim, 0, cut)
            x = graph.typed(graph.op("Concat", *parts, axis=dim), shape, x.dtype)
    return x


@emits("aten.unfold.default")
def unfold(graph: GraphBuilder, x: ir.Value, dimension: int, size: int, step: int) -> ir.Value:
    """Windows along a dimension, their elements in a new last dimension."""
    rank, axis = rank_of(x), dimension % rank_of(x)
    windows = np.add.outer(np.arange(graph.result.shape[axis]) * step, np.arange(size)).astype(np.int32)
    shape = shape_of(x)
    picked = graph.op("Gather", x, graph.constant(windows), axis=axis)
    picked = graph.typed(picked, (*shape[:axis], *windows.shape, *shape[axis + 1 :]), x.dtype)
    return permute(graph, picked, [*range(axis + 1), *range(axis + 2, rank + 1), axis + 1])


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@emits("aten.pad.default")
def pad(
    graph: GraphBuilder, x: ir.Value, pad: Sequence[int], mode: str = "constant", value: Number | None = None
) -> ir.Value:
    """Elements added (or, where negative, removed) at both ends; ``pad`` runs from the last dimension backwards."""
    if mode not in _PAD_MODES:
        raise ExportError(
            f"{graph.scope}: padding mode {mode!r} has no ONNX operator; {', '.join(_PAD_MODES)} have"
        )
    rank = rank_of(x)
    begin, end = [0] * rank, [0] * rank
    for k in range(len(pad) // 2):
        begin[rank - 1 - k], end[rank - 1 - k] = pad[2 * k], pad[2 * k + 1]
    for dim, (before, after) in enumerate(zip(begin, end, strict=True)):
        if before < 0 or after < 0:  # TensorRT 8 does not crop in Pad
            length = shape_of(x)[dim]
            cropped = [*shape_of(x)]
            cropped[dim] = length + min(before, 0) + min(after, 0)
            x = graph.typed(slice_(graph, x, dim, max(-before, 0), length - max(-after, 0)), cropped, x.dtype)
    pads = [max(side, 0) for side in begin + end]
    if not any(pads):
        return x
    fill = graph.constant(value or 0, x.dtype) if mode == "constant" else None
    return graph.op("Pad", x, graph.ints(pads), *([] if fill is None else [fill]), mode=_PAD_MODES[mode])


@emits("aten.constant_pad_nd.default")
def constant_pad(graph: GraphBuilder, x: ir.Value, padding: Sequence[int], value: Number = 0) -> ir.Value:
    """Core ATen's constant padding."""
    return pad(graph, x, padding, "constant", value)


@emits("aten.reflection_pad1d.default", "aten.reflection_pad2d.default", "aten.reflection_pad3d.default")
def reflection_pad(graph: GraphBuilder, x: ir.Value, padding: Sequence[int]) -> ir.Value:
    """Padding with what lies inside, mirrored."""
    return pad(graph, x, padding, "reflect")


@emits("aten.replication_pad1d.default", "aten.replication_pad2d.default", "aten.replication_pad3d.default")
def replication_pad(graph: GraphBuilder, x: ir.Value, padding: Sequence[int]) -> ir.Value:
    """Padding with the border."""
    return pad(graph, x, padding, "replicate")


@emits(
    "aten.clone.default", "aten.contiguous.default", "aten.alias.default", "aten.detach.default", "aten.detach_.default",
    "aten.lift_fresh_copy.default", "aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default",
)  # fmt: skip
def unchanged(graph: GraphBuilder, x: ir.Value, *arguments: object, **options: object) -> ir.Value:
    """What does nothing at inference leaves no node."""
    return x


@emits(
    "aten._to_copy.default", "aten.to.dtype", "aten.to.dtype_layout", "aten.to.device", "aten.to.other", "aten.type_as.default",
    "aten.float.default",
)  # fmt: skip
def to(graph: GraphBuilder, x: ir.Value, *arguments: object, **options: object) -> ir.Value:
    """Another data type; devices and layouts leave nothing."""
    return graph.cast(x, graph.result.dtype)
