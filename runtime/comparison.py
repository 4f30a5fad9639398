"""How much faster one is than another, and whether that can be told: ratios of medians, with the interval that holds the truth."""

from typing import NamedTuple, Sequence, Tuple, Union

import numpy as np

from edgekit.runtime.intervals import Z95


class Ratio(NamedTuple):
    """Times of one in shares of another's: the best guess, and the interval that holds the true ratio with 95 % confidence."""

    middle: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``faster``, ``slower``, or ``cannot be told``."""
        return "faster" if self.high < 1.0 else "slower" if self.low > 1.0 else "cannot be told"


def paired(times: Sequence[float], base: Sequence[float]) -> Ratio:
    """The ratio where both were measured in turns: the median of the rounds' ratios, which whatever slowed both leaves alone."""
    ratios = np.asarray(times, np.float64) / np.asarray(base, np.float64)
    low, high = median_interval(ratios)
    return Ratio(float(np.median(ratios)), low, high)


def apart(times: Sequence[float], base: Sequence[float]) -> Ratio:
    """The ratio where they were measured one after the other: wider, and blind to whatever changed between the two."""
    (low, high), (base_low, base_high) = median_interval(times), median_interval(base)
    return Ratio(float(np.median(times) / np.median(base)), low / base_high, high / base_low)


def median_interval(values: "Union[Sequence[float], np.ndarray]") -> Tuple[float, float]:
    """The interval between two of the values that holds the true median with 95 % confidence, whatever they are like.

    Each lies below the median with probability one half, so the ranks are those of a binomial distribution (its normal
    approximation); all of the values where there are too few.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    count = len(ordered)
    below = int(np.floor((count - Z95 * np.sqrt(count)) / 2))
    return float(ordered[max(below, 0)]), float(ordered[min(count - 1 - below, count - 1)])
