"""Steps with fewer products in their places: Winograd's, in squares or along columns."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.export.native.planes import Convolution, Grid, Step
from edgekit.export.native.squares import squared
from edgekit.export.native.winograd import by_columns


def with_fewer_products(steps: Iterable[Step], grids: list[Grid]) -> list[Step]:
    """The same steps, with others in place of every convolution that becomes quicker by them; ``grids`` gets those of new planes."""
    found: list[Step] = []
    for step in steps:
        if isinstance(step, Convolution):
            found += squared(step, grids) or [by_columns(step) or step]
        else:
            found.append(step)
    return found
