"""The operators that programs have, but for convolutions: each makes of a node's inputs what its output is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.export.native.convolutions import added, convolution
from edgekit.export.native.draft import Draft, Folded, Means, Row, Value, alone
from edgekit.export.native.nodes import cannot, constant, integer, ints, is_constant, number, shape_of
from edgekit.export.native.planes import Before, Flatten, Grid, Join, Linear, Maps, Pool


def batch_norm(draft: Draft, node: ir.Node) -> Maps:
    """``BatchNormalization`` with constants."""
    gain, shift, mean, variance = (constant(node, number) for number in range(1, 5))
    scale = gain / np.sqrt(variance + np.float32(number(node, "epsilon", 1e-5)))
    return draft.affine(draft.maps(node), scale, shift - mean * scale)


def arithmetic(draft: Draft, node: ir.Node) -> Value:
    """``Add`` and ``Mul``: of maps or rows with constants, a value a channel; and the sum of two maps."""
    constants = [number for number in (0, 1) if is_constant(node.inputs[number])]
    add = node.op_type == "Add"
    if not constants:
        if not add:
            raise cannot(node, "it multiplies maps with each other")
        return added(draft, node)
    given = constant(node, constants[0])
    value = draft.value(node.inputs[1 - constants[0]])
    if isinstance(value, Row):
        if (
            not add
            or value.source is None
            or given.size not in (1, value.count)
            or not alone(node.inputs[1 - constants[0]])
        ):
            raise cannot(node, "programs add to a row only where a product makes it and nobody else reads it")
        value.source.bias = value.source.bias + given.ravel()
        return value
    maps = draft.maps(node, 1 - constants[0])
    channels = len(maps.planes)
    if given.size not in (1, channels) or (given.size > 1 and given.shape[-2:] != (1, 1)):
        raise cannot(node, "its constant is not one number a channel")
    each = np.broadcast_to(given.ravel(), (channels,)).astype(np.float32)
    idle = np.zeros(channels, np.float32)
    return draft.affine(maps, np.ones_like(idle), each) if add else draft.affine(maps, each, idle)


def relu(draft: Draft, node: ir.Node) -> Value:
    """``Relu``."""
    return _limited(draft, node, 0.0, math.inf)


def clip(draft: Draft, node: ir.Node) -> Value:
    """``Clip`` with constants, such as ReLU6."""
    low, high = (
        float(constant(node, number).item()) if len(node.inputs) > number and node.inputs[number] else default
        for number, default in ((1, -math.inf), (2, math.inf))
    )  # fmt: skip
    return _limited(draft, node, low, high)


def _limited(draft: Draft, node: ir.Node, low: float, high: float) -> Value:
    value = draft.value(node.inputs[0])
    if isinstance(value, (Row, Means)):
        row = draft.row(node.inputs[0])
        if row.source is None or not alone(node.inputs[0]):
            raise cannot(node, "programs limit a row only where a product makes it and nobody else reads it")
        row.source.low, row.source.high = low, high
        return Row(row.plane, row.count)
    maps = draft.maps(node)
    if maps.source is not None and maps.before.idle:
        maps.source.low, maps.source.high = low, high
        return Maps(maps.grid, maps.planes, maps.before)
    if high != math.inf:
        raise cannot(node, "programs have an upper limit only right behind a convolution")
    return Maps(maps.grid, maps.planes, maps.before.at_least(low))


def concat(draft: Draft, node: ir.Node) -> Value:
    """``Concat`` of channels: nothing is moved. Rows are."""
    if integer(node, "axis", 1) not in (1, 1 - len(shape_of(node.outputs[0]))):
        raise cannot(node, "it does not join channels")
    values = [draft.value(value) for value in node.inputs]
    if all(isinstance(value, Maps) for value in values):
        maps = [draft.maps(node, number) for number in range(len(values))]
        if len({one.grid for one in maps}) > 1:
            raise cannot(node, "its maps are of different sizes")
        before = Before(
            *(np.concatenate([getattr(one.before, field) for one in maps]) for field in ("scale", "shift", "floor"))
        )  # fmt: skip
        return Maps(maps[0].grid, np.concatenate([one.planes for one in maps]), before)
    rows = [draft.row(value) for value in node.inputs]
    count = sum(row.count for row in rows)
    (plane,) = draft.planes(1, Grid(1, count, 0))
    draft.steps.append(Join([(row.plane, row.count) for row in rows], int(plane)))
    return Row(int(plane), count)


def gather(draft: Draft, node: ir.Node) -> Value:
    """``Gather`` of channels by constant indices: other planes are read."""
    if integer(node, "axis", 0) != 1:
        raise cannot(node, "it does not pick channels")
    return _picked(draft, node, constant(node, 1).astype(np.int64).ravel())


def cut(draft: Draft, node: ir.Node) -> Value:
    """``Slice`` of channels."""
    starts, ends, axes = (constant(node, number).astype(np.int64).tolist() for number in (1, 2, 3))
    steps = constant(node, 4).tolist() if len(node.inputs) > 4 else [1]
    if axes not in ([1], [1 - len(shape_of(node.outputs[0]))]):
        raise cannot(node, "it does not cut channels")
    channels = shape_of(node.inputs[0])[1]
    return _picked(draft, node, np.arange(channels)[int(starts[0]) : int(ends[0]) : int(steps[0])])


def _picked(draft: Draft, node: ir.Node, index: npt.NDArray[np.int64]) -> Value:
    value = draft.value(node.inputs[0])
    if isinstance(value, Means):
        return Means(value.maps.take(index))
    if isinstance(value, Maps):
        return draft.maps(node).take(index)
    raise cannot(node, "it picks from a row")


def reshape(draft: Draft, node: ir.Node) -> Value:
    """``Reshape`` and ``Flatten``: into rows, and into the matrix of channels of a shuffle and back."""
    value, shape = draft.value(node.inputs[0]), shape_of(node.outputs[0])
    if isinstance(value, (Row, Means)) and math.prod(shape) == shape[1]:
        return value
    if isinstance(value, Maps) and len(shape) == 2 and shape[0] == 1:
        return _flattened(draft, draft.ready(draft.maps(node)))
    if isinstance(value, Maps):
        size = (value.grid.height, value.grid.width)
        if len(shape) == 5 and shape[0] == 1 and shape[3:] == size:
            return Folded(draft.maps(node), (shape[1], shape[2]))
    if isinstance(value, Folded) and len(shape) == 4 and shape[1] == len(value.maps.planes):
        return value.maps if alone(node.inputs[0]) else value.maps.shared()
    raise cannot(node, "programs have no such change of shape")


def _flattened(draft: Draft, maps: Maps) -> Row:
    count = len(maps.planes) * maps.grid.height * maps.grid.width
    (plane,) = draft.planes(1, Grid(1, count, 0))
    draft.steps.append(Flatten(maps, int(plane)))
    return Row(int(plane), count)


def transpose(draft: Draft, node: ir.Node) -> Value:
    """``Transpose`` in the middle of a shuffle."""
    value = draft.value(node.inputs[0])
    if not isinstance(value, Folded) or tuple(ints(node, "perm")) != (0, 2, 1, 3, 4):
        raise cannot(node, "it is not part of a shuffle of channels")
    rows, columns = value.shape
    order = np.arange(rows * columns).reshape(rows, columns).T.ravel()
    maps = value.maps if alone(node.inputs[0]) else value.maps.shared()
    return Folded(maps.take(order), (columns, rows))


def pool(draft: Draft, node: ir.Node) -> Value:
    """``AveragePool``, ``MaxPool``, and means of whole maps."""
    maps = draft.maps(node).shared()
    size = (maps.grid.height, maps.grid.width)
    maximum = node.op_type == "MaxPool"
    if node.op_type == "GlobalAveragePool":
        return Means(maps)
    if node.op_type == "ReduceMean":
        axes = list(ints(node, "axes", ()))
        if sorted(axis % 4 for axis in axes) != [2, 3]:
            raise cannot(node, "it is not the mean of whole maps")
        return Means(maps)
    kernel, strides, pads = (
        ints(node, "kernel_shape"),
        ints(node, "strides", (1, 1)),
        ints(node, "pads", (0,) * 4),
    )
    if not maximum and tuple(kernel) == size and not any(pads) and shape_of(node.outputs[0])[2:] == (1, 1):
        return Means(maps)
    if (
        kernel[0] != kernel[1]
        or strides[0] != strides[1]
        or len(set(pads)) > 1
        or integer(node, "ceil_mode", 0)
    ):
        raise cannot(node, "its window is not a square one, or is rounded up")
    if any(dilation != 1 for dilation in ints(node, "dilations", (1, 1))):
        raise cannot(node, "its window has holes")
    grid = draft.grid(*shape_of(node.outputs[0])[2:])
    planes = draft.planes(len(maps.planes), grid)
    counts = bool(integer(node, "count_include_pad", 0))
    draft.steps.append(Pool(maps, grid, planes, maximum, counts, kernel[0], strides[0], pads[0]))
    return Maps.made(grid, planes)


def linear(draft: Draft, node: ir.Node) -> Row:
    """``Gemm`` and ``MatMul`` of a row with a constant matrix."""
    weight = constant(node, 1)
    if weight.ndim != 2 or integer(node, "transA", 0) or number(node, "alpha", 1.0) != 1:
        raise cannot(node, "it is not a row times a matrix")
    weight = weight if integer(node, "transB", 0) else weight.T
    bias = np.zeros(len(weight), np.float32)
    if len(node.inputs) > 2:
        bias = bias + np.float32(number(node, "beta", 1.0)) * constant(node, 2).ravel()
    row = draft.row(node.inputs[0])
    if row.count != weight.shape[1]:
        raise cannot(node, "it is not a row times a matrix")
    (plane,) = draft.planes(1, Grid(1, len(weight), 0))
    step = Linear(row.plane, int(plane), np.ascontiguousarray(weight), bias)
    draft.steps.append(step)
    return Row(int(plane), len(weight), step)


def same(draft: Draft, node: ir.Node) -> Value:
    """``Identity``."""
    value = draft.value(node.inputs[0])
    if alone(node.inputs[0]):
        return value
    return value.shared() if isinstance(value, (Maps, Row)) else value


OPERATORS: Mapping[str, Callable[[Draft, ir.Node], Value]] = {
    "Add": arithmetic, "AveragePool": pool, "BatchNormalization": batch_norm,
    "Clip": clip, "Concat": concat, "Conv": convolution, "Flatten": reshape,
    "Gather": gather, "Gemm": linear, "GlobalAveragePool": pool, "Identity": same,
    "MatMul": linear, "MaxPool": pool, "Mul": arithmetic, "ReduceMean": pool,
    "Relu": relu, "Reshape": reshape, "Slice": cut, "Transpose": transpose,
}  # fmt: skip
