"""Steps as words, tables and constants, of planes whose places are known; see `edgekit.program.STEPS`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgekit.export.native import halves
from edgekit.export.native.planes import (
    Before,
    Convolution,
    Export,
    Flatten,
    Import,
    Join,
    Linear,
    Maps,
    Mean,
    Places,
    Pool,
    Step,
    Strided,
    filled,
)
from edgekit.export.native.squares import Squared, Squares
from edgekit.export.native.stereo import Axis, Expectation, Propagate, Resize, Stem, Transpose, Volume
from edgekit.export.native.winograd import Winograd
from edgekit.program import CODES, FEW, MANY, Resident

Number = TypeVar("Number", np.float32, np.int16)


class Writer:
    """A program's arrays as they come into being."""

    def __init__(self, places: Places, halve: bool) -> None:
        self._halve = halve
        self.words: list[int] = []
        self.table: list[npt.NDArray[np.int32]] = []
        self.constants: list[npt.NDArray[np.float32]] = []
        self.packed = 0
        self._count = 0  # of the steps of a group
        self._places = places
        self._ends = [0, 0]
        self._known: dict[bytes, int] = {}

    def write(self, group: Sequence[Step]) -> None:
        """Add steps that may run at the same time."""
        begun = len(self.words)
        self._count = 0
        for step in group:
            getattr(self, f"_{type(step).__name__.lower()}")(step)
        if self._count > 1:
            self.words[begun:begun] = [CODES["group"], 3, self._count]

    def _step(self, name: str, *arguments: int) -> None:
        self.words += [CODES[name], len(arguments) + 2, *map(int, arguments)]
        self._count += 1

    def _tabled(self, numbers: npt.ArrayLike) -> int:
        found = np.asarray(numbers, np.int32).ravel()
        self.table.append(found)
        self._ends[0] += len(found)
        return self._ends[0] - len(found)

    def resident(self, name: str, maps: Maps) -> Resident:
        """A tensor that stays where these maps are."""
        grid = maps.grid
        return Resident(
            name, len(maps.planes), grid.height, grid.width, grid.pitch, self._planes(maps.planes)
        )

    def _planes(self, planes: Places) -> int:
        return self._tabled(self._places[planes])

    def _kept(self, numbers: npt.ArrayLike) -> int:
        """The place of constants; equal ones are kept once."""
        found = np.asarray(numbers, np.float32).ravel()
        found = np.concatenate([found, np.zeros(filled(len(found)) - len(found), np.float32)])
        key = found.tobytes()
        if key not in self._known:
            self.constants.append(found)
            self._known[key] = self._ends[1]
            self._ends[1] += len(found)
        return self._known[key]

    def _halved(self, weight: npt.NDArray[np.float32]) -> tuple[int, int, int, int]:
        """Where a unit has its weights (M, K) in two bytes and its scale; it has nothing else."""
        numbers, scale = halves.numbers(weight)
        at = self._kept(halves.in_floats(_strips(numbers, MANY)))
        return at, self._kept(np.pad(scale, (0, -len(scale) % MANY))), -1, -1

    def _before(self, before: Before | None) -> tuple[int, int, int]:
        if before is None or before.idle:
            return (-1, -1, -1)
        return self._kept(before.scale), self._kept(before.shift), self._kept(before.floor)

    def _import(self, step: Import) -> None:
        channels, height, width = step.shape
        to = (step.stride, step.grid.height, step.grid.width, step.grid.pitch, self._planes(step.planes))
        if isinstance(step.source, Maps):
            maps = step.source
            self._step("phases", self._planes(maps.planes), channels, height, width, maps.grid.pitch, *to)
        else:
            self._step("import", step.source, channels, height, width, *to)

    def _convolution(self, step: Convolution) -> None:
        first = step.units[0]
        halved = self._halve and halves.of_convolution(step)
        across = step.strided or step.grid.across(len(first.outputs), first.before is not None)
        together = MANY if across else FEW
        units = []
        for unit in step.units:
            outputs, taps = unit.weight.shape
            weight, bias = unit.weight, unit.bias
            if together == MANY:
                bias = np.pad(bias, (0, -outputs % MANY))
            before = self._before(unit.before)
            if before[0] >= 0:
                self.packed = max(self.packed, taps)
            kept = self._halved(weight) if halved else (self._kept(_strips(weight, together)), *before)
            units.append([
                outputs, taps, self._planes(unit.outputs), self._tabled(self._places[unit.planes] + unit.shifts), kept[0],
                self._kept(bias), *kept[1:],
            ])  # fmt: skip
        grid = step.grid
        limits = self._kept([step.low, step.high])
        if step.strided or halved:
            source = step.strided or Strided(1, grid)
            self._step(
                "halved" if halved else "strided", grid.height, grid.width, grid.pitch, source.stride, source.grid.pitch,
                len(units), self._tabled(units), limits,
            )  # fmt: skip
            return
        self._step(
            "conv", grid.length, len(units), self._tabled(units), self._kept(grid.mask()), limits, together
        )

    def _pool(self, step: Pool) -> None:
        maps, grid = step.source, step.grid
        self._step(
            "pool", step.maximum, step.counts, step.kernel, step.stride, step.padding, maps.grid.height, maps.grid.width,
            maps.grid.pitch, grid.height, grid.width, grid.pitch, len(step.planes), self._planes(maps.planes),
            self._planes(step.planes), *self._before(maps.before),
        )  # fmt: skip

    def _mean(self, step: Mean) -> None:
        maps = step.source
        self._step(
            "mean", maps.grid.length, maps.grid.height * maps.grid.width, self._kept(maps.grid.mask()), len(maps.planes),
            self._planes(maps.planes), self._places[step.row], *self._before(maps.before),
        )  # fmt: skip

    def _linear(self, step: Linear) -> None:
        outputs, taps = step.weight.shape
        limits = self._kept([step.low, step.high])
        if self._halve and outputs >= MANY and halves.as_halves([step.weight], 1):
            rows, columns = (
                self._places[plane] + np.arange(n) for plane, n in ((step.row, outputs), (step.source, taps))
            )
            weight, *rest = self._halved(step.weight)
            bias = self._kept(np.pad(step.bias, (0, -outputs % MANY)))
            unit = [outputs, taps, self._tabled(rows), self._tabled(columns), weight, bias, *rest]
            self._step("halved", 1, 1, 1, 1, 1, 1, self._tabled(unit), limits)
            return
        self._step(
            "linear", outputs, taps, self._places[step.source], self._places[step.row], self._kept(step.weight),
            self._kept(step.bias), limits,
        )  # fmt: skip

    def _join(self, step: Join) -> None:
        at = int(self._places[step.row])
        for row, count in step.sources:
            self._step("copy", count, self._places[row], at)
            at += count

    def _flatten(self, step: Flatten) -> None:
        maps = step.source
        height, width, channels = maps.grid.height, maps.grid.width, len(maps.planes)
        starts = self._places[step.row] + np.arange(channels) * height * width
        self._step(
            "phases", self._planes(maps.planes), channels, height, width, maps.grid.pitch, 1, height, width, width,
            self._tabled(starts),
        )  # fmt: skip

    def _export(self, step: Export) -> None:
        maps = step.source
        self._step(
            "export", step.number, len(maps.planes), maps.grid.height, maps.grid.width, maps.grid.pitch, self._planes(maps.planes)
        )  # fmt: skip

    def _axis(self, axis: Axis) -> tuple[int, int]:
        return self._tabled(axis.pairs), self._kept(axis.weights)

    def _resize(self, step: Resize) -> None:
        channels, height, width = step.shape
        maps = step.source if isinstance(step.source, Maps) else None
        number = -1 if isinstance(step.source, Maps) else step.source
        sources, source_pitch = (-1, width) if maps is None else (self._planes(maps.planes), maps.grid.pitch)
        rows, columns = len(step.rows.weights), len(step.columns.weights)
        output, pitch, planes = (
            (step.to, columns, -1)
            if isinstance(step.to, int)
            else (-1, step.to[0].pitch, self._planes(step.to[1]))
        )
        self._step(
            "resize", number, sources, channels, height, width, source_pitch, *self._axis(step.rows), *self._axis(step.columns),
            *self._before(step.before), step.addend, output, rows, columns, pitch, planes,
        )  # fmt: skip

    def _transpose(self, step: Transpose) -> None:
        grid = step.source.grid
        self._step(
            "transpose", len(step.planes), self._planes(step.source.planes), grid.height, grid.width, grid.pitch,
            self._planes(step.planes), step.grid.pitch,
        )  # fmt: skip

    def _volume(self, step: Volume) -> None:
        grid = step.grid
        disparity = -1 if step.disparity is None else self._places[step.disparity]
        self._step(
            "volume", self._planes(step.left), self._planes(step.right), len(step.left), grid.height, grid.width, grid.pitch,
            disparity, step.first, step.step, len(step.planes), self._kept(step.sums), self._kept([step.low, np.inf]),
            self._planes(step.planes),
        )  # fmt: skip

    def _expectation(self, step: Expectation) -> None:
        maps, grid = step.source, step.source.grid
        self._step(
            "expectation", len(maps.planes), self._planes(maps.planes), grid.height, grid.width, grid.pitch,
            self._kept(step.values), self._places[step.plane],
        )  # fmt: skip

    def _propagate(self, step: Propagate) -> None:
        maps, grid = step.source, step.source.grid
        self._step(
            "propagate", len(maps.planes), self._planes(maps.planes), self._planes(step.gates), grid.height, grid.width,
            grid.pitch, self._planes(step.planes),
        )  # fmt: skip

    def _stem(self, step: Stem) -> None:
        inner, channels = step.weight.shape[:2]
        grid = step.grid
        self._step(
            "stem", step.number, channels, *step.size, inner, len(step.second), grid.height, grid.width, grid.pitch,
            self._planes(step.planes), self._kept(step.weight), self._kept(step.bias), self._kept(step.second),
            self._kept(step.second_bias), self._kept([-np.inf, np.inf]),
        )  # fmt: skip

    def _winograd(self, step: Winograd) -> None:
        units = []
        for unit in step.units:
            parts, outputs, planes = unit.weight.shape[:3]  # then the window's columns
            strips = [
                unit.weight[:, row : row + FEW].reshape(parts, -1, 3 * planes).swapaxes(1, 2).ravel()
                for row in range(0, outputs, FEW)
            ]
            units.append([
                outputs, planes, self._planes(unit.outputs), self._planes(unit.planes), self._kept(np.concatenate(strips)),
                self._kept(unit.bias), -1, -1, -1,
            ])  # fmt: skip
        grid, limits = step.grid, self._kept([step.low, step.high])
        self._step("winograd", grid.height, grid.width, grid.pitch, len(units), self._tabled(units), limits)

    def _squares(self, step: Squares) -> None:
        grid = step.grid
        self._step(
            "squares", len(step.planes), self._planes(step.planes), grid.height, grid.width, grid.pitch, self._places[step.row]
        )  # fmt: skip

    def _squared(self, step: Squared) -> None:
        grid, (parts, outputs, channels) = step.grid, step.weight.shape
        weight = np.pad(step.weight, ((0, 0), (0, -outputs % MANY), (0, 0))).reshape(
            parts, -1, MANY, channels
        )
        self._step(
            "squared", channels, self._places[step.row], outputs, self._planes(step.planes), grid.height, grid.width, grid.pitch,
            self._kept(weight.transpose(1, 0, 3, 2)), self._kept(np.pad(step.bias, (0, -outputs % MANY))),
            self._kept([step.low, step.high]),
        )  # fmt: skip


def _strips(weight: npt.NDArray[Number], together: int) -> npt.NDArray[Number]:
    """Weights (M, K) as units have them."""
    if together == MANY:
        weight = np.pad(weight, ((0, -len(weight) % MANY), (0, 0)))
    return np.concatenate([weight[row : row + together].T.ravel() for row in range(0, len(weight), together)])
