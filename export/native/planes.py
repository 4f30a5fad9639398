"""Feature maps as planes of a program's arena, and what is still to be done to them when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgekit.program import LANES, MANY

# Up to so many pixels, vectors of outputs are quicker than vectors of pixels: 0.7 of the time at 14 x 14 (MSDNet). Where taps are changed
# before they are used, only up to the other number: all of CondenseNet took 1.1 to 1.3 times as long with the first.
FEW_PIXELS, FEW_CHANGED = 256, 64

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


def filled(count: int) -> int:
    """``count``, or the next multiple of the lanes."""
    return -(-count // LANES) * LANES


@dataclass(frozen=True)
class Grid:
    """How planes of one size lie: rows one after the other, with ``halo`` zeros between them, and rows of zeros around them."""

    height: int
    width: int
    halo: int

    @property
    def pitch(self) -> int:
        """From a row to the next; the zeros behind a row are also those before the next one."""
        return self.width + self.halo

    @property
    def length(self) -> int:
        """From the first pixel to the end of the last row."""
        return self.height * self.pitch

    @property
    def before(self) -> int:
        """Zeros before the first pixel."""
        return filled(self.halo * self.pitch + self.halo)

    @property
    def size(self) -> int:
        """Floats of a plane with the zeros around it; an odd number of lanes, so that planes do not share the lines of a cache."""
        lanes = (
            filled(self.before + filled(self.length) + self.halo * self.pitch + self.halo + LANES) // LANES
        )
        return (lanes | 1) * LANES

    def across(self, outputs: int, changed: bool) -> bool:
        """Whether a convolution with so many outputs is quicker with vectors of them; ``changed``: its taps are, before they are used."""
        return self.length <= (FEW_CHANGED if changed else FEW_PIXELS) and outputs >= MANY

    def mask(self) -> Floats:
        """1 on pixels, 0 between and behind them."""
        found = np.zeros(filled(self.length), np.float32)
        found[: self.length].reshape(self.height, self.pitch)[:, : self.width] = 1
        return found


@dataclass(frozen=True)
class Before:
    """What becomes of numbers before they are used, a channel: max(x * scale + shift, floor)."""

    scale: Floats
    shift: Floats
    floor: Floats

    @staticmethod
    def nothing(channels: int) -> Before:
        """They stay as they are."""
        return Before(
            np.ones(channels, np.float32),
            np.zeros(channels, np.float32),
            np.full(channels, -np.inf, np.float32),
        )

    @property
    def idle(self) -> bool:
        """Nothing becomes of them."""
        return bool(np.all(self.scale == 1) and np.all(self.shift == 0) and np.all(np.isneginf(self.floor)))

    def take(self, index: npt.NDArray[np.intp]) -> Before:
        """The same of the channels ``index``."""
        return Before(self.scale[index], self.shift[index], self.floor[index])

    def then(self, scale: Floats, shift: Floats) -> Before | None:
        """With a scale and a shift behind it; None where a floor stands between that they cannot pass."""
        open_below = np.isneginf(self.floor)
        if not np.all(open_below | ((scale > 0) & np.isfinite(self.floor))):
            return None
        floor = np.where(open_below, self.floor, np.where(open_below, 0, self.floor) * scale + shift)
        return Before(self.scale * scale, self.shift * scale + shift, floor.astype(np.float32))

    def at_least(self, floor: float) -> Before:
        """With ``floor`` as the smallest result."""
        return Before(self.scale, self.shift, np.maximum(self.floor, np.float32(floor)))


@dataclass(frozen=True)
class Unit:
    """A group of a convolution.

    Attributes:
        outputs: planes, shape (M,).
        planes, shifts: what its taps read, and how far from the pixel in floats, shape (K,).
        weight: (M, K).
        bias: (M,).
        before: of the taps; None for nothing.
    """

    outputs: Places
    planes: Places
    shifts: Places
    weight: Floats
    bias: Floats
    before: Before | None


@dataclass
class Step:
    """Something that reads planes and writes others."""

    @property
    def reads(self) -> Sequence[int]:
        """Planes that must still be there."""
        return ()

    @property
    def writes(self) -> Sequence[int]:
        """Planes that it fills."""
        return ()


@dataclass(frozen=True)
class Strided:
    """What a convolution with a stride reads without splitting it: maps of ``grid``, whose zeros are all that it reads around them."""

    stride: int
    grid: Grid


@dataclass
class Convolution(Step):
    """Sums of what units read; norms and limits that follow may still be put into it."""

    grid: Grid
    units: list[Unit]
    low: float = -np.inf
    high: float = np.inf
    strided: Strided | None = None  # where it reads maps of another grid

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return np.unique(np.concatenate([unit.planes for unit in self.units])).tolist()  # type: ignore[no-any-return]

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return self.outputs.tolist()  # type: ignore[no-any-return]

    @cached_property
    def outputs(self) -> Places:
        """Of all units."""
        return np.concatenate([unit.outputs for unit in self.units])

    def scale(self, planes: Places, scale: Floats, shift: Floats) -> None:
        """Multiply and shift its results, where ``planes`` are all of them in any order."""
        order = np.argsort(planes)
        found = order[np.searchsorted(planes, self.outputs, sorter=order)]
        each, start = [], 0
        for unit in self.units:
            rows = found[start : start + len(unit.outputs)]
            start += len(rows)
            weight = unit.weight * scale[rows][:, None]
            bias = unit.bias * scale[rows] + shift[rows]
            each.append(Unit(unit.outputs, unit.planes, unit.shifts, weight, bias, unit.before))
        self.units = each


@dataclass(frozen=True)
class Maps:
    """Feature maps: a plane a channel, and what becomes of it when it is read.

    ``source``: the convolution whose results these are, all of them, and read by nobody else; what follows may become part of it.
    """

    grid: Grid
    planes: Places
    before: Before
    source: Convolution | None = None

    @staticmethod
    def made(grid: Grid, planes: Places, source: Convolution | None = None) -> Maps:
        """Maps as a step has written them."""
        return Maps(grid, planes, Before.nothing(len(planes)), source)

    def take(self, index: npt.NDArray[np.intp]) -> Maps:
        """The channels ``index``."""
        whole = len(index) == len(self.planes) == len(np.unique(index))
        return Maps(self.grid, self.planes[index], self.before.take(index), self.source if whole else None)

    def shared(self) -> Maps:
        """The same where others read it too."""
        return Maps(self.grid, self.planes, self.before)


@dataclass
class OfMaps(Step):
    """Something that reads maps."""

    source: Maps

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return self.source.planes.tolist()  # type: ignore[no-any-return]


@dataclass
class Import(Step):
    """A tensor into planes, or maps into the planes of their phases."""

    source: int | Maps  # an input's number, or maps
    shape: tuple[int, int, int]
    stride: int
    grid: Grid
    planes: Places

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return self.source.planes.tolist() if isinstance(self.source, Maps) else ()

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return self.planes.tolist()  # type: ignore[no-any-return]


@dataclass
class Pool(OfMaps):
    """The mean or the maximum of windows."""

    grid: Grid
    planes: Places
    maximum: bool
    counts: bool
    kernel: int
    stride: int
    padding: int

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return self.planes.tolist()  # type: ignore[no-any-return]


@dataclass
class MapsIntoRow(OfMaps):
    """Something that makes a row of maps."""

    row: int

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return (self.row,)


@dataclass
class Flatten(MapsIntoRow):
    """Maps, channel by channel, into one row."""


@dataclass
class Mean(MapsIntoRow):
    """The mean of every channel, into a row."""


@dataclass
class Linear(Step):
    """A product with a matrix (M, K), of a row into a row."""

    source: int
    row: int
    weight: Floats
    bias: Floats
    low: float = -np.inf
    high: float = np.inf

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return (self.source,)

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return (self.row,)


@dataclass
class Join(Step):
    """Rows one behind the other."""

    sources: Sequence[tuple[int, int]]  # rows, and how long they are
    row: int

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return [row for row, _ in self.sources]

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return (self.row,)


@dataclass
class Export(OfMaps):
    """Maps or a row (a plane of one row) as an output."""

    number: int
