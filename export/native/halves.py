"""Weights of two bytes: those that are so many, and used so rarely, that their way from memory is what takes the time.

A multi-exit network's heads are an example: MSDNet (ImageNet, step 4) reads 59 MB of its 96 for results of 16 and of 4 pixels.
An output's weights are whole numbers up to 32767 times a scale of its own, so that rounding moves each by 2^-16 of the largest at most;
products and sums stay floats. IEEE halves, of the same size, move them by five times as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgekit.export.native.planes import Convolution, Floats
from edgekit.program import MANY

# Weights that are used for no more than so many pixels, and are at least so many, have two bytes.
FEW_USES, MANY_WEIGHTS = 16, 1 << 17
LARGEST = 32767


def of_convolution(step: Convolution) -> bool:
    """Whether its weights are kept as halves."""
    if any(unit.before is not None or len(unit.outputs) < MANY for unit in step.units):
        return False
    return as_halves([unit.weight for unit in step.units], step.grid.height * step.grid.width)


def as_halves(weights: Sequence[Floats], pixels: int) -> bool:
    """Whether weights are so many, and used for so few pixels, that half as many bytes of them take half of the time."""
    if pixels > FEW_USES or sum(one.size for one in weights) < MANY_WEIGHTS:
        return False
    return all(bool(np.isfinite(one).all()) for one in weights)


def numbers(weights: Floats) -> tuple[npt.NDArray[np.int16], Floats]:
    """Weights (M, K) as whole numbers (M, K), and what every output's are multiplied with, (M,)."""
    scale = np.abs(weights).max(axis=1) / np.float32(LARGEST)
    rounded = np.rint(weights / np.where(scale > 0, scale, 1)[:, None])
    return np.clip(rounded, -LARGEST, LARGEST).astype(np.int16), scale.astype(np.float32)


def in_floats(numbers: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Two of them in the place of a float; as many as are even."""
    return numbers.astype("<i2").view("<f4")
