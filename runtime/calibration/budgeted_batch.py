"""Thresholds by which given shares of the samples leave: the budgeted batch procedure of MSDNet (Huang et al. 2018, section 5).

Samples are looked at from the surest to the least sure. An exit's threshold is the confidence of the sample that fills its
share, among those that no exit before has taken; the next exit sees the rest. In float32, as the published results are: a
share may fill its last sample exactly, or just not.
"""

import math
from typing import List, Sequence, Union

import numpy as np

# Nobody's confidence reaches the first, everybody's the second.
NOBODY, EVERYBODY = math.inf, -math.inf
# The published results are for these p: 1/20, 2/20, ... 2.
PUBLISHED = tuple(k / 20 for k in range(1, 41))


def geometric_shares(p: float, exits: int) -> np.ndarray:
    """Shares of the exits in proportion to ``p ** k``, k = 1 .. ``exits``; float32, of sum 1."""
    logarithm = np.float32(math.log(np.float32(p)))
    exponents = [np.float32(logarithm * np.float32(exit)) for exit in range(1, exits + 1)]
    powers = [np.float32(math.exp(exponent)) for exponent in exponents]
    return np.asarray(powers, np.float32) / _sum(powers)


def share_thresholds(confidence: np.ndarray, shares: Union[Sequence[float], np.ndarray]) -> np.ndarray:
    """Thresholds (exits,) by which ``shares`` of the samples of ``confidence`` (exits, samples) leave.

    The last exit takes everybody. An exit whose share is less than one sample, or more than what is left, takes nobody.
    Samples as sure as the one that fills a share leave with it, so shares are met exactly only where confidences differ.
    """
    exits, samples = confidence.shape
    thresholds = np.full(exits, NOBODY, confidence.dtype)
    left = np.ones(samples, bool)
    for k in range(exits - 1):
        wanted = math.floor(np.float32(samples) * np.float32(shares[k]))
        remaining = np.sort(confidence[k, left])[::-1]
        if 0 < wanted <= len(remaining):
            thresholds[k] = remaining[wanted - 1]
        left &= ~(confidence[k] >= thresholds[k])
    thresholds[-1] = EVERYBODY
    return thresholds


def _sum(values: List[np.float32]) -> np.float32:
    """The sum in the order of PyTorch's CPU kernel, on whose last bit a share can depend: four or eight lanes, the rest first."""
    width = 8 if len(values) >= 8 else 4 if len(values) >= 4 else 1
    whole = len(values) // width * width
    lanes = [_in_order(values[lane:whole:width]) for lane in range(width)]
    if width == 8:
        return _in_order([_in_order(values[whole:]), *lanes])
    return _in_order([lanes[0], *values[whole:], *lanes[1:]])


def _in_order(values: Sequence[np.float32]) -> np.float32:
    total = np.float32(0.0)
    for value in values:
        total = np.float32(total + value)
    return total
