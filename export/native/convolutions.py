"""Convolutions as sums over planes: what a window reads, a group at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.export.native.draft import Draft
from edgekit.export.native.nodes import cannot, constant, integer, ints, shape_of
from edgekit.export.native.planes import Before, Convolution, Grid, Import, Maps, Strided, Unit


@dataclass(frozen=True)
class Window:
    """A convolution's window.

    Attributes:
        grid: (height, width) that it is computed on: as large as what it reads, a stride apart, and as what it writes.
        reach: how many rows or columns beyond a pixel it reads, at most.
        source: (height, width) of what it reads.
        beyond: how many rows or columns around that.
    """

    kernel: tuple[int, int]
    stride: int
    dilation: tuple[int, int]
    pads: tuple[int, int]
    grid: tuple[int, int]
    reach: int
    source: tuple[int, int]
    beyond: int

    @staticmethod
    def of(node: ir.Node) -> Window:
        """Of a node ``Conv``."""
        x, y = shape_of(node.inputs[0]), shape_of(node.outputs[0])
        if len(x) != 4 or x[0] != 1:
            raise cannot(node, "it is not a 2-D convolution of one picture")
        kernel, strides = ints(node, "kernel_shape"), ints(node, "strides", (1, 1))
        dilation, pads = ints(node, "dilations", (1, 1)), ints(node, "pads", (0, 0, 0, 0))
        if "auto_pad" in node.attributes:
            raise cannot(node, "its padding is not said")
        if strides[0] != strides[1]:
            raise cannot(node, "its strides differ")
        stride = strides[0]
        grid = tuple(max(-(-a // stride), b) for a, b in zip(x[2:], y[2:], strict=True))
        reach = max(
            abs((tap * d - pad) // stride)
            for size, d, pad in zip(kernel, dilation, pads[:2], strict=True)
            for tap in (0, size - 1)
        )
        beyond = max(
            max(pad, (out - 1) * stride + (size - 1) * d - pad - (side - 1))
            for size, d, pad, out, side in zip(kernel, dilation, pads[:2], grid, x[2:], strict=True)
        )
        return Window(
            (kernel[0], kernel[1]), stride, (dilation[0], dilation[1]), (pads[0], pads[1]), (grid[0], grid[1]), reach,
            (x[2], x[3]), beyond,
        )  # fmt: skip

    def whole(self, outputs: int) -> bool:
        """Whether a convolution of a group's ``outputs`` reads maps as they lie rather than split by its stride."""
        return self.stride == 2 and Grid(*self.grid, self.reach).across(outputs, changed=False)

    @property
    def single(self) -> bool:
        """It reads one pixel, and in its place."""
        return self.kernel == (1, 1) and self.stride == 1 and self.pads == (0, 0)


def convolution(draft: Draft, node: ir.Node) -> Maps:
    """``Conv``: every group's taps by the planes that they read."""
    window = Window.of(node)
    weight = constant(node, 1)
    bias = (
        constant(node, 2)
        if len(node.inputs) > 2 and node.inputs[2] is not None
        else np.zeros(len(weight), np.float32)
    )
    groups = integer(node, "group", 1)
    across, each = weight.shape[1], len(weight) // groups
    grid = draft.grid(*window.grid)
    strided = _strided(draft, node, window, each)
    if strided is None:
        source, phases = _phases(draft, node, window), window.stride**2
        phase, shift = _taps(window, window.stride, grid)
    else:
        source, phases = draft.ready(draft.maps(node)), 1
        phase, shift = _taps(window, 1, strided.grid)
    out = draft.planes(len(weight), grid)
    units = []
    for group in range(groups):
        rows = slice(group * each, (group + 1) * each)
        flat = weight[rows].reshape(each, -1)
        # A group's outputs may all have a zero where others have none: a dense weight that was one of groups.
        used = np.flatnonzero(flat.any(axis=0))
        channel, tap = np.divmod(used, len(shift))
        index = (group * across + channel) * phases + phase[tap]
        before = None if source.before.idle else source.before.take(index)
        units.append(
            Unit(out[rows], source.planes[index], shift[tap], np.ascontiguousarray(flat[:, used]), bias[rows], before)
        )  # fmt: skip
    step = Convolution(grid, units, strided=strided)
    draft.steps.append(step)
    made = Maps.made(grid, out, step)
    height, width = shape_of(node.outputs[0])[2:]
    if (grid.height, grid.width) == (height, width):
        return made
    smaller = draft.grid(height, width)
    planes = draft.planes(len(out), smaller)
    draft.steps.append(Import(made, (len(out), grid.height, grid.width), 1, smaller, planes))
    return Maps.made(smaller, planes)


def added(draft: Draft, node: ir.Node) -> Maps:
    """The sum of two maps, as a convolution with two taps a channel."""
    a, b = (draft.maps(node, number).shared() for number in (0, 1))
    if a.grid != b.grid or len(a.planes) != len(b.planes):
        raise cannot(node, "its maps are of different sizes")
    out = draft.planes(len(a.planes), a.grid)
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
    draft.steps.append(step)
    return Maps.made(a.grid, out, step)


def _phases(draft: Draft, node: ir.Node, window: Window) -> Maps:
    """What a convolution reads, a plane for every row and column of its stride, on the grid that it is computed on."""
    value = node.inputs[0]
    grid = draft.grid(*window.grid)
    assert value is not None
    if value in draft.numbers and value not in draft.values and len(value.uses()) == 1:
        channels, height, width = shape_of(value)[1:]
        source: int | Maps = draft.number(value)
    else:
        maps = draft.maps(node)
        if window.stride == 1 and maps.grid == grid:
            return maps if window.single else draft.ready(maps)
        maps = draft.ready(maps)
        channels, height, width = len(maps.planes), maps.grid.height, maps.grid.width
        source = maps
    planes = draft.planes(channels * window.stride**2, grid)
    draft.steps.append(Import(source, (channels, height, width), window.stride, grid, planes))
    return Maps.made(grid, planes)


def _strided(draft: Draft, node: ir.Node, window: Window, outputs: int) -> Strided | None:
    """How a convolution of a group's ``outputs`` reads maps as they lie, where that is quicker than to split them."""
    height, width = shape_of(node.inputs[0])[2:]
    if not window.whole(outputs):
        return None
    return Strided(window.stride, draft.grid(height, width))


def _taps(window: Window, stride: int, grid: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For every element of a kernel, row by row: the phase that it reads, and how far from the pixel."""
    rows, row_phases = _along(window, 0, stride)
    columns, column_phases = _along(window, 1, stride)
    phase = row_phases[:, None] * stride + column_phases[None, :]
    shift = rows[:, None] * grid.pitch + columns[None, :]
    return phase.ravel(), shift.ravel()


def _along(window: Window, axis: int, stride: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    taps = np.arange(window.kernel[axis]) * window.dilation[axis] - window.pads[axis]
    return np.divmod(taps, stride)


def _both(a: Before, b: Before, channel: int) -> Before:
    index = np.array([channel])
    one, other = a.take(index), b.take(index)
    return Before(
        np.concatenate([one.scale, other.scale]),
        np.concatenate([one.shift, other.shift]),
        np.concatenate([one.floor, other.floor]),
    )
