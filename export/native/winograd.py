"""Convolutions with 3x3 windows in half of the multiplications: Winograd's F(4, 3) along the columns (Lavin and Gray, arXiv 1509.09308).

Four rows of a result take six products with combinations of six rows of what is read, instead of twelve with three rows each. Only
rows are combined, so that no number leaves its lane; along a row the window stays as it is. The window may read any planes, such as
those of neighbouring slices in a 3-D convolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.export.native.planes import Convolution, Floats, Grid, Places, Step, Unit
from edgekit.program import WINOGRAD_PARTS, WINOGRAD_ROWS

# A window's three rows as the six parts that are multiplied; the points are 0, 1, -1, 2, -2 and infinity.
WINDOW = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip
# What combining rows takes, of a plane that is read or written, in products of a plane with a weight; found by measuring.
COMBINING = 12.0
WORTH = 0.9  # of a convolution's time, at most
NARROWEST = 12  # pixels of a row: below, vectors are mostly empty
FEWEST = 2500  # pixels of all units together: fewer are too few tiles for threads to share evenly


@dataclass(frozen=True)
class Windowed:
    """A unit as windows of planes (N,): ``weight`` of the six parts, (6, M, N, 3), and ``bias`` (M,)."""

    outputs: Places
    planes: Places
    weight: Floats
    bias: Floats

    @staticmethod
    def of(unit: Unit, grid: Grid) -> Windowed | None:
        """None where it reads something else than pixels and what is next to them, as it is."""
        found = windows_of(unit, grid)
        if found is None:
            return None
        parts = np.einsum("kr,nrcm->kmnc", WINDOW, found[1])
        return Windowed(unit.outputs, found[0], parts.astype(np.float32), unit.bias)


def windows_of(unit: Unit, grid: Grid) -> tuple[Places, npt.NDArray[np.float64]] | None:
    """The planes (N,) that a unit reads, and its windows (N, 3, 3, M) of them; None where it reads anything else."""
    if unit.before is not None and not unit.before.idle:
        return None
    window = np.add.outer(np.arange(-1, 2) * grid.pitch, np.arange(-1, 2)).ravel()
    place = np.searchsorted(window, unit.shifts)
    if np.any(place == len(window)) or np.any(window[np.minimum(place, 8)] != unit.shifts):
        return None
    planes, number = np.unique(unit.planes, return_inverse=True)
    weight = np.zeros((len(planes), len(window), len(unit.outputs)))
    np.add.at(weight, (number, place), unit.weight.T)
    return planes, weight.reshape(len(planes), 3, 3, -1)


@dataclass
class Winograd(Step):
    """Units of windows, their sums limited."""

    grid: Grid
    units: Sequence[Windowed]
    low: float
    high: float

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return np.unique(np.concatenate([unit.planes for unit in self.units])).tolist()  # type: ignore[no-any-return]

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return np.concatenate([unit.outputs for unit in self.units]).tolist()  # type: ignore[no-any-return]


def by_columns(step: Convolution) -> Winograd | None:
    """The step that computes ``step`` with fewer products; None where it would take longer or is no window of pixels."""
    grid = step.grid
    if grid.halo < 1 or grid.width < NARROWEST or len(step.units) * grid.length < FEWEST:
        return None
    found = [Windowed.of(unit, grid) for unit in step.units]
    units = [unit for unit in found if unit is not None]
    if len(units) < len(found) or not worthwhile(grid, step.units, units):
        return None
    return Winograd(grid, units, step.low, step.high)


def worthwhile(grid: Grid, units: Iterable[Unit], windowed: Iterable[Windowed]) -> bool:
    """Whether the products that are saved are more than what combining rows takes."""
    rows = -(-grid.height // WINOGRAD_ROWS) * WINOGRAD_ROWS / grid.height
    share = WINOGRAD_PARTS / WINOGRAD_ROWS * rows  # products of a window's column, a pixel
    direct = sum(unit.weight.size for unit in units)
    fewer = sum(
        3 * share * len(u.outputs) * len(u.planes) + COMBINING * (len(u.outputs) + len(u.planes))
        for u in windowed
    )
    return fewer < WORTH * direct
