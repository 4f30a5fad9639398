"""A converted graph, node by node, as the steps of a program; every value is planes and what is still to be done to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.native.planes import (
    Before,
    Convolution,
    Export,
    Flatten,
    Floats,
    Grid,
    Import,
    Join,
    Linear,
    Maps,
    Mean,
    Places,
    Pool,
    Step,
    Unit,
)


class Unsupported(ExportError):
    """A graph has something that programs have not."""


@dataclass(frozen=True)
class Row:
    """Numbers one behind the other; ``source`` as in `Maps`."""

    plane: int
    count: int
    source: Linear | None = None


@dataclass(frozen=True)
class Means:
    """The means of maps' channels, which are not computed before it is known which of them are read."""

    maps: Maps


@dataclass(frozen=True)
class Folded:
    """Maps whose channels are seen as a matrix, on the way through a shuffle."""

    maps: Maps
    shape: tuple[int, int]


Value = Maps | Row | Means | Folded


@dataclass(frozen=True)
class Window:
    """A convolution's window.

    Attributes:
        grid: (height, width) that it is computed on: as large as what it reads, a stride apart, and as what it writes.
        reach: how many rows or columns beyond a pixel it reads, at most.
    """

    kernel: tuple[int, int]
    stride: int
    dilation: tuple[int, int]
    pads: tuple[int, int]
    grid: tuple[int, int]
    reach: int

    @staticmethod
    def of(node: ir.Node) -> Window:
        """Of a node ``Conv``."""
        x, y = _shape(node.inputs[0]), _shape(node.outputs[0])
        if len(x) != 4 or x[0] != 1:
            raise _cannot(node, "it is not a 2-D convolution of one picture")
        kernel, strides = _ints(node, "kernel_shape"), _ints(node, "strides", (1, 1))
        dilation, pads = _ints(node, "dilations", (1, 1)), _ints(node, "pads", (0, 0, 0, 0))
        if strides[0] != strides[1]:
            raise _cannot(node, "its strides differ")
        stride = strides[0]
        grid = tuple(max(-(-a // stride), b) for a, b in zip(x[2:], y[2:], strict=True))
        reach = max(
            abs((tap * d - pad) // stride)
            for size, d, pad in zip(kernel, dilation, pads[:2], strict=True)
            for tap in (0, size - 1)
        )
        return Window(
            (kernel[0], kernel[1]), stride, (dilation[0], dilation[1]), (pads[0], pads[1]), (grid[0], grid[1]), reach
        )  # fmt: skip

    @property
    def single(self) -> bool:
        """It reads one pixel, and in its place."""
        return self.kernel == (1, 1) and self.stride == 1 and self.pads == (0, 0)


class Translation:
    """The steps of a graph.

    Raises:
        Unsupported: see `edgekit.export.native.program`.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.steps: list[Step] = []
        self.grids: list[Grid] = []  # of every plane
        self._halos: dict[tuple[int, int], int] = {}
        self._grids: dict[tuple[int, int], Grid] = {}
        self._values: dict[ir.Value, Value] = {}
        self.inputs = [str(value.name) for value in graph.inputs]
        self._numbers = {value: number for number, value in enumerate(graph.inputs)}
        windows = {node: Window.of(node) for node in graph if node.op_type == "Conv"}
        for window in windows.values():
            self._halos[window.grid] = max(self._halos.get(window.grid, 0), window.reach)
        self._windows = windows
        for node in graph:
            translate = _OPERATORS.get(node.op_type)
            if translate is None or node.domain:
                raise _cannot(node, "programs have no such step")
            self._values[node.outputs[0]] = translate(self, node)
        self.outputs = [str(value.name) for value in graph.outputs]
        for number, value in enumerate(graph.outputs):
            self.steps.append(Export(number, self._whole(value)))

    def _grid(self, height: int, width: int) -> Grid:
        key = (height, width)
        return self._grids.setdefault(key, Grid(height, width, self._halos.get(key, 0)))

    def _planes(self, count: int, grid: Grid) -> Places:
        self.grids.extend([grid] * count)
        return np.arange(len(self.grids) - count, len(self.grids))

    def _value(self, value: ir.Value | None) -> Value:
        assert value is not None
        if value in self._values:
            return self._values[value]
        shape = _shape(value)
        number = self._numbers[value]
        if value.dtype != ir.DataType.FLOAT or shape[0] != 1 or len(shape) not in (2, 4):
            raise Unsupported(f"{value.name}: is not one picture's maps or row in float32")
        found: Value
        if len(shape) == 2:
            grid = Grid(1, shape[1], 0)
            (plane,) = planes = self._planes(1, grid)
            self.steps.append(Import(number, (1, 1, shape[1]), 1, grid, planes))
            found = Row(int(plane), shape[1])
        else:
            grid = self._grid(shape[2], shape[3])
            planes = self._planes(shape[1], grid)
            self.steps.append(Import(number, (shape[1], shape[2], shape[3]), 1, grid, planes))
            found = Maps.made(grid, planes)
        self._values[value] = found
        return found

    def _maps(self, node: ir.Node, number: int = 0) -> Maps:
        found = self._value(node.inputs[number])
        if not isinstance(found, Maps):
            raise _cannot(node, "it reads something else than feature maps")
        value = node.inputs[number]
        assert value is not None
        return found if len(value.uses()) == 1 and not value.is_graph_output() else found.shared()

    def _row(self, value: ir.Value | None) -> Row:
        found = self._value(value)
        if isinstance(found, Means):
            grid = Grid(1, len(found.maps.planes), 0)
            (plane,) = self._planes(1, grid)
            self.steps.append(Mean(found.maps, int(plane)))
            return Row(int(plane), len(found.maps.planes))
        if not isinstance(found, Row):
            raise Unsupported(f"{value.name if value else '?'}: feature maps where a row of numbers is read")
        return found

    def _whole(self, value: ir.Value) -> Maps:
        """A value with nothing left to be done to it, as the program's result."""
        found = self._value(value)
        if isinstance(found, Maps):
            return self._ready(found)
        row = self._row(value)
        return Maps.made(Grid(1, row.count, 0), np.array([row.plane]))

    def _ready(self, maps: Maps) -> Maps:
        """Maps with nothing left to be done when they are read."""
        if maps.before.idle:
            return maps
        out = self._planes(len(maps.planes), maps.grid)
        one = np.ones((1, 1), np.float32)
        units = [
            Unit(out[i : i + 1], maps.planes[i : i + 1], np.zeros(1, np.int64), one, np.zeros(1, np.float32),
                 maps.before.take(np.array([i])))
            for i in range(len(out))
        ]  # fmt: skip
        self.steps.append(Convolution(maps.grid, units))
        return Maps.made(maps.grid, out)

    def _phases(self, node: ir.Node, window: Window) -> Maps:
        """What a convolution reads, a plane for every row and column of its stride, on the grid that it is computed on."""
        value = node.inputs[0]
        grid = self._grid(*window.grid)
        assert value is not None
        if value in self._numbers and len(value.uses()) == 1:
            channels, height, width = _shape(value)[1:]
            source: int | Maps = self._numbers[value]
        else:
            maps = self._maps(node)
            if window.stride == 1 and maps.grid == grid:
                return maps if window.single else self._ready(maps)
            maps = self._ready(maps)
            channels, height, width = len(maps.planes), maps.grid.height, maps.grid.width
            source = maps
        planes = self._planes(channels * window.stride**2, grid)
        self.steps.append(Import(source, (channels, height, width), window.stride, grid, planes))
        return Maps.made(grid, planes)

    def convolution(self, node: ir.Node) -> Maps:
        """``Conv``: every group's taps by the planes that they read."""
        window = self._windows[node]
        weight = _constant(node, 1)
        bias = _constant(node, 2) if len(node.inputs) > 2 else np.zeros(len(weight), np.float32)
        groups = _int(node, "group", 1)
        source = self._phases(node, window)
        grid = source.grid
        out = self._planes(len(weight), grid)
        across, each = weight.shape[1], len(weight) // groups
        phase, shift = _taps(window, grid)
        units = []
        for group in range(groups):
            rows = slice(group * each, (group + 1) * each)
            flat = weight[rows].reshape(each, -1)
            # A group's outputs may all have a zero where others have none: a dense weight that was one of groups.
            used = np.flatnonzero(flat.any(axis=0))
            channel, tap = np.divmod(used, len(shift))
            index = (group * across + channel) * window.stride**2 + phase[tap]
            before = None if source.before.idle else source.before.take(index)
            units.append(
                Unit(out[rows], source.planes[index], shift[tap], np.ascontiguousarray(flat[:, used]), bias[rows], before)
            )  # fmt: skip
        step = Convolution(grid, units)
        self.steps.append(step)
        made = Maps.made(grid, out, step)
        height, width = _shape(node.outputs[0])[2:]
        if (grid.height, grid.width) == (height, width):
            return made
        smaller = self._grid(height, width)
        planes = self._planes(len(out), smaller)
        self.steps.append(Import(made, (len(out), grid.height, grid.width), 1, smaller, planes))
        return Maps.made(smaller, planes)

    def batch_norm(self, node: ir.Node) -> Maps:
        """``BatchNormalization`` with constants."""
        gain, shift, mean, variance = (_constant(node, number) for number in range(1, 5))
        scale = gain / np.sqrt(variance + np.float32(_float(node, "epsilon", 1e-5)))
        return self._affine(self._maps(node), scale, shift - mean * scale)

    def _affine(self, maps: Maps, scale: Floats, shift: Floats) -> Maps:
        if maps.source is not None and maps.before.idle:
            maps.source.scale(maps.planes, scale, shift)
            return maps
        before = maps.before.then(scale, shift)
        if before is None:
            maps = self._ready(maps)
            before = Before.nothing(len(maps.planes)).then(scale, shift)
            assert before is not None
        return Maps(maps.grid, maps.planes, before)

    def arithmetic(self, node: ir.Node) -> Value:
        """``Add`` and ``Mul``: of maps or rows with constants, a value a channel; and the sum of two maps."""
        constants = [number for number in (0, 1) if _is_constant(node.inputs[number])]
        add = node.op_type == "Add"
        if not constants:
            if not add:
                raise _cannot(node, "it multiplies maps with each other")
            return self._sum(node)
        constant = _constant(node, constants[0])
        value = self._value(node.inputs[1 - constants[0]])
        if isinstance(value, Row) and add and constant.size in (1, value.count) and value.source is not None:
            value.source.bias = value.source.bias + constant.ravel()
            return value
        maps = self._maps(node, 1 - constants[0])
        channels = len(maps.planes)
        if constant.size not in (1, channels) or (constant.size > 1 and constant.shape[-2:] != (1, 1)):
            raise _cannot(node, "its constant is not one number a channel")
        each = np.broadcast_to(constant.ravel(), (channels,)).astype(np.float32)
        idle = np.zeros(channels, np.float32)
        return self._affine(maps, np.ones_like(idle), each) if add else self._affine(maps, each, idle)

    def _sum(self, node: ir.Node) -> Maps:
        a, b = (self._maps(node, number).shared() for number in (0, 1))
        if a.grid != b.grid or len(a.planes) != len(b.planes):
            raise _cannot(node, "its maps are of different sizes")
        out = self._planes(len(a.planes), a.grid)
        plain = a.before.idle and b.before.idle
        units = [
            Unit(
                out[i : i + 1], np.array([a.planes[i], b.planes[i]]), np.zeros(2, np.int64), np.ones((1, 2), np.float32),
                np.zeros(1, np.float32),
                None if plain else _both(a.before, b.before, i),
            )
            for i in range(len(out))
        ]  # fmt: skip
        step = Convolution(a.grid, units)
        self.steps.append(step)
        return Maps.made(a.grid, out, step)

    def relu(self, node: ir.Node) -> Value:
        """``Relu``."""
        return self._limited(node, 0.0, math.inf)

    def clip(self, node: ir.Node) -> Value:
        """``Clip`` with constants, such as ReLU6."""
        low, high = (
            float(_constant(node, number).item()) if len(node.inputs) > number and node.inputs[number] else default
            for number, default in ((1, -math.inf), (2, math.inf))
        )  # fmt: skip
        return self._limited(node, low, high)

    def _limited(self, node: ir.Node, low: float, high: float) -> Value:
        value = self._value(node.inputs[0])
        if isinstance(value, (Row, Means)):
            row = self._row(node.inputs[0])
            if row.source is None or len(node.inputs[0].uses()) > 1:  # type: ignore[union-attr]
                raise _cannot(
                    node, "programs limit a row only where a product makes it and nobody else reads it"
                )
            row.source.low, row.source.high = low, high
            return Row(row.plane, row.count)
        maps = self._maps(node)
        if maps.source is not None and maps.before.idle:
            maps.source.low, maps.source.high = low, high
            return Maps(maps.grid, maps.planes, maps.before)
        if high != math.inf:
            raise _cannot(node, "programs have an upper limit only right behind a convolution")
        return Maps(maps.grid, maps.planes, maps.before.at_least(low))

    def concat(self, node: ir.Node) -> Value:
        """``Concat`` of channels: nothing is moved. Rows are."""
        if _int(node, "axis", 1) not in (1, 1 - len(_shape(node.outputs[0]))):
            raise _cannot(node, "it does not join channels")
        values = [self._value(value) for value in node.inputs]
        if all(isinstance(value, Maps) for value in values):
            maps = [self._maps(node, number) for number in range(len(values))]
            if len({one.grid for one in maps}) > 1:
                raise _cannot(node, "its maps are of different sizes")
            before = Before(
                *(np.concatenate([getattr(one.before, field) for one in maps]) for field in ("scale", "shift", "floor"))
            )  # fmt: skip
            return Maps(maps[0].grid, np.concatenate([one.planes for one in maps]), before)
        rows = [self._row(value) for value in node.inputs]
        count = sum(row.count for row in rows)
        (plane,) = self._planes(1, Grid(1, count, 0))
        self.steps.append(Join([(row.plane, row.count) for row in rows], int(plane)))
        return Row(int(plane), count)

    def gather(self, node: ir.Node) -> Value:
        """``Gather`` of channels by constant indices: other planes are read."""
        if _int(node, "axis", 0) != 1:
            raise _cannot(node, "it does not pick channels")
        return self._picked(node, _constant(node, 1).astype(np.int64).ravel())

    def cut(self, node: ir.Node) -> Value:
        """``Slice`` of channels."""
        starts, ends, axes = (_constant(node, number).astype(np.int64).tolist() for number in (1, 2, 3))
        steps = _constant(node, 4).tolist() if len(node.inputs) > 4 else [1]
        if axes not in ([1], [1 - len(_shape(node.outputs[0]))]):
            raise _cannot(node, "it does not cut channels")
        channels = _shape(node.inputs[0])[1]
        return self._picked(node, np.arange(channels)[int(starts[0]) : int(ends[0]) : int(steps[0])])

    def _picked(self, node: ir.Node, index: npt.NDArray[np.int64]) -> Value:
        value = self._value(node.inputs[0])
        if isinstance(value, Means):
            return Means(value.maps.take(index))
        if isinstance(value, Maps):
            return self._maps(node).take(index)
        raise _cannot(node, "it picks from a row")

    def reshape(self, node: ir.Node) -> Value:
        """``Reshape`` and ``Flatten``: into rows, and into the matrix of channels of a shuffle and back."""
        value, shape = self._value(node.inputs[0]), _shape(node.outputs[0])
        if isinstance(value, (Row, Means)) and math.prod(shape) == shape[1]:
            return value
        if isinstance(value, Maps) and len(shape) == 2 and shape[0] == 1:
            return self._flattened(self._ready(self._maps(node)))
        if isinstance(value, Maps):
            size = (value.grid.height, value.grid.width)
            if len(shape) == 5 and shape[0] == 1 and shape[3:] == size:
                return Folded(self._maps(node), (shape[1], shape[2]))
        if isinstance(value, Folded) and len(shape) == 4 and shape[1] == len(value.maps.planes):
            return value.maps
        raise _cannot(node, "programs have no such change of shape")

    def _flattened(self, maps: Maps) -> Row:
        count = len(maps.planes) * maps.grid.height * maps.grid.width
        (plane,) = self._planes(1, Grid(1, count, 0))
        self.steps.append(Flatten(maps, int(plane)))
        return Row(int(plane), count)

    def transpose(self, node: ir.Node) -> Value:
        """``Transpose`` in the middle of a shuffle."""
        value = self._value(node.inputs[0])
        if not isinstance(value, Folded) or tuple(_ints(node, "perm")) != (0, 2, 1, 3, 4):
            raise _cannot(node, "it is not part of a shuffle of channels")
        rows, columns = value.shape
        order = np.arange(rows * columns).reshape(rows, columns).T.ravel()
        return Folded(value.maps.take(order), (columns, rows))

    def pool(self, node: ir.Node) -> Value:
        """``AveragePool``, ``MaxPool``, and means of whole maps."""
        maps = self._maps(node).shared()
        size = (maps.grid.height, maps.grid.width)
        maximum = node.op_type == "MaxPool"
        if node.op_type == "GlobalAveragePool":
            return Means(maps)
        if node.op_type == "ReduceMean":
            axes = list(_ints(node, "axes", ()))
            if sorted(axis % 4 for axis in axes) != [2, 3]:
                raise _cannot(node, "it is not the mean of whole maps")
            return Means(maps)
        kernel, strides, pads = (
            _ints(node, "kernel_shape"),
            _ints(node, "strides", (1, 1)),
            _ints(node, "pads", (0,) * 4),
        )
        if not maximum and tuple(kernel) == size and not any(pads) and _shape(node.outputs[0])[2:] == (1, 1):
            return Means(maps)
        if (
            kernel[0] != kernel[1]
            or strides[0] != strides[1]
            or len(set(pads)) > 1
            or _int(node, "ceil_mode", 0)
        ):
            raise _cannot(node, "its window is not a square one, or is rounded up")
        if any(dilation != 1 for dilation in _ints(node, "dilations", (1, 1))):
            raise _cannot(node, "its window has holes")
        grid = self._grid(*_shape(node.outputs[0])[2:])
        planes = self._planes(len(maps.planes), grid)
        counts = bool(_int(node, "count_include_pad", 0))
        self.steps.append(Pool(maps, grid, planes, maximum, counts, kernel[0], strides[0], pads[0]))
        return Maps.made(grid, planes)

    def linear(self, node: ir.Node) -> Row:
        """``Gemm`` and ``MatMul`` of a row with a constant matrix."""
        weight = _constant(node, 1)
        if weight.ndim != 2 or _int(node, "transA", 0) or _float(node, "alpha", 1.0) != 1:
            raise _cannot(node, "it is not a row times a matrix")
        weight = weight if _int(node, "transB", 0) else weight.T
        bias = np.zeros(len(weight), np.float32)
        if len(node.inputs) > 2:
            bias = bias + np.float32(_float(node, "beta", 1.0)) * _constant(node, 2).ravel()
        row = self._row(node.inputs[0])
        if row.count != weight.shape[1]:
            raise _cannot(node, "it is not a row times a matrix")
        (plane,) = self._planes(1, Grid(1, len(weight), 0))
        step = Linear(row.plane, int(plane), np.ascontiguousarray(weight), bias)
        self.steps.append(step)
        return Row(int(plane), len(weight), step)

    def same(self, node: ir.Node) -> Value:
        """``Identity``."""
        return self._value(node.inputs[0])


_OPERATORS: dict[str, Callable[[Translation, ir.Node], Value]] = {
    "Add": Translation.arithmetic, "AveragePool": Translation.pool, "BatchNormalization": Translation.batch_norm,
    "Clip": Translation.clip, "Concat": Translation.concat, "Conv": Translation.convolution, "Flatten": Translation.reshape,
    "Gather": Translation.gather, "Gemm": Translation.linear, "GlobalAveragePool": Translation.pool, "Identity": Translation.same,
    "MatMul": Translation.linear, "MaxPool": Translation.pool, "Mul": Translation.arithmetic, "ReduceMean": Translation.pool,
    "Relu": Translation.relu, "Reshape": Translation.reshape, "Slice": Translation.cut, "Transpose": Translation.transpose,
}  # fmt: skip


def _taps(window: Window, grid: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For every element of a kernel, row by row: the phase that it reads, and how far from the pixel."""
    rows, row_phases = _along(window, 0)
    columns, column_phases = _along(window, 1)
    phase = row_phases[:, None] * window.stride + column_phases[None, :]
    shift = rows[:, None] * grid.pitch + columns[None, :]
    return phase.ravel(), shift.ravel()


def _along(window: Window, axis: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    taps = np.arange(window.kernel[axis]) * window.dilation[axis] - window.pads[axis]
    return np.divmod(taps, window.stride)


def _both(a: Before, b: Before, channel: int) -> Before:
    index = np.array([channel])
    one, other = a.take(index), b.take(index)
    return Before(
        np.concatenate([one.scale, other.scale]),
        np.concatenate([one.shift, other.shift]),
        np.concatenate([one.floor, other.floor]),
    )


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    assert value is not None and value.shape is not None
    return tuple(int(side) for side in value.shape)


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None


def _constant(node: ir.Node, number: int) -> Floats:
    value = node.inputs[number]
    if value is None or value.const_value is None:
        raise _cannot(node, f"its input {number} is not constant")
    return value.const_value.numpy()  # type: ignore[no-any-return]


def _ints(node: ir.Node, name: str, default: Sequence[int] | None = None) -> Sequence[int]:
    found = node.attributes.get(name)
    if found is None:
        assert default is not None
        return default
    return list(found.as_ints())


def _int(node: ir.Node, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return default if found is None else int(found.as_int())


def _float(node: ir.Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None else float(found.as_float())


def _cannot(node: ir.Node, why: str) -> Unsupported:
    return Unsupported(f"{node.op_type} at {node.name}: {why}")
