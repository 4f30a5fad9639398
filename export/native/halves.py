"""Weights of two bytes: those that are so many, and used so rarely, that their way from memory is what takes the time.

A multi-exit network's heads are an example: MSDNet (ImageNet, step 4) reads 59 MB of its 96 for results of 16 and of 4 pixels.
Rounding a weight to the eleven bits of an IEEE half changes it by 2^-11 of itself at most; sums and products stay floats.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgekit.export.native.planes import Convolution, Floats
from edgekit.program import MANY

# Weights that are used for no more than so many pixels, and are at least so many, are kept as IEEE halves.
FEW_USES, MANY_WEIGHTS, LARGEST_HALF = 16, 1 << 17, 6e4


def of_convolution(step: Convolution) -> bool:
    """Whether its weights are kept as halves."""
    if any(unit.before is not None or len(unit.outputs) < MANY for unit in step.units):
        return False
    return as_halves([unit.weight for unit in step.units], step.grid.height * step.grid.width)


def as_halves(weights: Sequence[Floats], pixels: int) -> bool:
    """Whether weights are so many, and used for so few pixels, that half as many bytes of them take half of the time."""
    if pixels > FEW_USES or sum(one.size for one in weights) < MANY_WEIGHTS:
        return False
    return all(np.abs(one).max() < LARGEST_HALF for one in weights)


def in_floats(weights: Floats) -> npt.NDArray[np.float32]:
    """Halves, two in the place of a float; as many as are even."""
    return weights.astype("<f2").view("<f4")
