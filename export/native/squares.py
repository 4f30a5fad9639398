"""Convolutions with 3x3 windows in a quarter of the multiplications: Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308).

A square of four by four results takes 36 products with combinations of the six by six numbers that it reads, instead of 144. The
weights are four times as many, so it is for maps whose squares are enough to use each of them often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.export.native.planes import Convolution, Floats, Grid, Places, Step
from edgekit.export.native.winograd import WINDOW, windows_of
from edgekit.program import SQUARE, SQUARE_PARTS, floats_of_squares

SMALLEST, LARGEST = (
    10,
    64,
)  # sides of maps: below, most of a square's pixels may lie outside; above, its parts leave the caches
FEWEST_PLANES = 16  # read and written: combining takes too much of the time with fewer
# What combining a square's numbers takes, of a plane that is read or written, in products of a number with a weight.
COMBINING = 1000.0
WORTH = 0.8  # of a convolution's products, at most


@dataclass
class Squares(Step):
    """The parts of maps' squares, into a row."""

    grid: Grid
    planes: Places
    row: int

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return self.planes.tolist()  # type: ignore[no-any-return]

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return (self.row,)


@dataclass
class Squared(Step):
    """Maps of the products of parts with ``weight`` (parts, M, N), their sums with ``bias`` (M,) limited."""

    grid: Grid
    row: int
    planes: Places
    weight: Floats
    bias: Floats
    low: float
    high: float

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return (self.row,)

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return self.planes.tolist()  # type: ignore[no-any-return]


def squared(step: Convolution, grids: list[Grid]) -> tuple[Squares, Squared] | None:
    """The two steps that compute ``step`` with fewer products; None where they would take longer or it is no window of pixels."""
    grid = step.grid
    if grid.halo < 1 or step.strided is not None or len(step.units) > 1:
        return None
    if not (min(grid.height, grid.width) >= SMALLEST and max(grid.height, grid.width) <= LARGEST):
        return None
    unit = step.units[0]
    if len(unit.outputs) < FEWEST_PLANES:
        return None
    found = windows_of(unit, grid)
    if found is None or len(found[0]) < FEWEST_PLANES:
        return None
    planes, window = found
    pixels = grid.height * grid.width
    squares = -(-grid.height // SQUARE) * -(-grid.width // SQUARE)
    products = squares * (
        SQUARE_PARTS * len(planes) * len(unit.outputs) + COMBINING * (len(planes) + len(unit.outputs))
    )
    if products > WORTH * pixels * unit.weight.size:
        return None
    parts = np.einsum("kr,qc,nrcm->kqmn", WINDOW, WINDOW, window)
    weight = parts.reshape(SQUARE_PARTS, *parts.shape[2:]).astype(np.float32)
    grids.append(Grid(1, floats_of_squares(grid.height, grid.width, len(planes)), 0))
    row = len(grids) - 1
    made = Squared(grid, row, unit.outputs, weight, unit.bias, step.low, step.high)
    return Squares(grid, planes, row), made
