"""A program as it comes into being: its steps, its planes, and what every value of the graph is so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.export.native.nodes import Unsupported, cannot, shape_of
from edgekit.export.native.planes import (
    Before,
    Convolution,
    Floats,
    Grid,
    Import,
    Linear,
    Maps,
    Mean,
    Places,
    Step,
    Unit,
)


@dataclass(frozen=True)
class Row:
    """Numbers one behind the other; ``source`` as in `Maps`."""

    plane: int
    count: int
    source: Linear | None = None

    def shared(self) -> Row:
        """The same where others read it too."""
        return Row(self.plane, self.count)


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


def alone(value: ir.Value | None) -> bool:
    """Whether a single node reads ``value``, and nobody outside, so that what it does may become part of what made the value."""
    return value is not None and len(value.uses()) == 1 and not value.is_graph_output()


class Draft:
    """The program of a graph, up to a node.

    Attributes:
        steps: in their order.
        grids: of every plane, also those of other drafts that share them.
        inputs: the graph's, by their numbers.
        values: what is known of the graph's values.
    """

    def __init__(
        self,
        inputs: Sequence[ir.Value],
        halos: Mapping[tuple[int, int], int],
        grids: list[Grid] | None = None,
    ) -> None:
        """``halos``: how many zeros convolutions need around maps, by their size; none where it does not say."""
        self.steps: list[Step] = []
        self.grids = [] if grids is None else grids
        self.numbers = {value: number for number, value in enumerate(inputs)}
        self.values: dict[ir.Value, Value] = {}
        self._halos = halos
        self._grids: dict[tuple[int, int], Grid] = {}

    def grid(self, height: int, width: int) -> Grid:
        key = (height, width)
        return self._grids.setdefault(key, Grid(height, width, self._halos.get(key, 0)))

    def planes(self, count: int, grid: Grid) -> Places:
        self.grids.extend([grid] * count)
        return np.arange(len(self.grids) - count, len(self.grids))

    def value(self, value: ir.Value | None) -> Value:
        """What ``value`` is, an input included.

        Raises:
            Unsupported: it is no picture's maps or row in float32.
        """
        assert value is not None
        if value in self.values:
            return self.values[value]
        number, shape = self.number(value), shape_of(value)
        found: Value
        if len(shape) == 2:
            grid = Grid(1, shape[1], 0)
            (plane,) = planes = self.planes(1, grid)
            self.steps.append(Import(number, (1, 1, shape[1]), 1, grid, planes))
            found = Row(int(plane), shape[1])
        else:
            grid = self.grid(shape[2], shape[3])
            planes = self.planes(shape[1], grid)
            self.steps.append(Import(number, (shape[1], shape[2], shape[3]), 1, grid, planes))
            found = Maps.made(grid, planes)
        self.values[value] = found
        return found

    def number(self, value: ir.Value) -> int:
        """Of an input.

        Raises:
            Unsupported: it is no picture's maps or row in float32, or no input at all.
        """
        shape = shape_of(value)
        if value not in self.numbers:
            raise Unsupported(f"{value.name}: a constant where feature maps or a row are read")
        if value.dtype != ir.DataType.FLOAT or shape[0] != 1 or len(shape) not in (2, 4):
            raise Unsupported(f"{value.name}: is not one picture's maps or row in float32")
        return self.numbers[value]

    def maps(self, node: ir.Node, number: int = 0) -> Maps:
        """What a node reads, where these are maps.

        Raises:
            Unsupported: they are not.
        """
        found = self.value(node.inputs[number])
        if not isinstance(found, Maps):
            raise cannot(node, "it reads something else than feature maps")
        return found if alone(node.inputs[number]) else found.shared()

    def row(self, value: ir.Value | None) -> Row:
        found = self.value(value)
        if isinstance(found, Means):
            grid = Grid(1, len(found.maps.planes), 0)
            (plane,) = self.planes(1, grid)
            self.steps.append(Mean(found.maps, int(plane)))
            return Row(int(plane), len(found.maps.planes))
        if not isinstance(found, Row):
            raise Unsupported(f"{value.name if value else '?'}: feature maps where a row of numbers is read")
        return found

    def whole(self, value: ir.Value) -> Maps:
        """A value with nothing left to be done to it, as the program's result."""
        found = self.value(value)
        if isinstance(found, Maps):
            return self.ready(found)
        row = self.row(value)
        return Maps.made(Grid(1, row.count, 0), np.array([row.plane]))

    def ready(self, maps: Maps) -> Maps:
        """Maps with nothing left to be done when they are read."""
        if maps.before.idle:
            return maps
        out = self.planes(len(maps.planes), maps.grid)
        one = np.ones((1, 1), np.float32)
        units = [
            Unit(out[i : i + 1], maps.planes[i : i + 1], np.zeros(1, np.int64), one, np.zeros(1, np.float32),
                 maps.before.take(np.array([i])))
            for i in range(len(out))
        ]  # fmt: skip
        self.steps.append(Convolution(maps.grid, units))
        return Maps.made(maps.grid, out)

    def affine(self, maps: Maps, scale: Floats, shift: Floats) -> Maps:
        if maps.source is not None and maps.before.idle:
            maps.source.scale(maps.planes, scale, shift)
            return maps
        before = maps.before.then(scale, shift)
        if before is None:
            maps = self.ready(maps)
            before = Before.nothing(len(maps.planes)).then(scale, shift)
            assert before is not None
        return Maps(maps.grid, maps.planes, before)
