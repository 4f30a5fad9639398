"""How sure a share that was counted on some samples is: intervals for one share, and for what two answers differ by."""

import math
from typing import Tuple

Z95 = 1.959963984540054  # of the normal distribution, for an interval that holds the truth in 95 % of runs


def wilson(hits: int, trials: int) -> Tuple[float, float]:
    """The interval that holds the true share of hits with 95 % confidence (Wilson 1927); all of it without trials."""
    if not trials:
        return 0.0, 1.0
    share, square = hits / trials, Z95 * Z95
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = (
        Z95 * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials)) / (1 + square / trials)
    )
    return (max(middle - half, 0.0) if hits else 0.0), (min(middle + half, 1.0) if hits < trials else 1.0)


def quantile_of_normal(share: float) -> float:
    """Below which value ``share`` of a standard normal distribution lies, 0 < share < 1."""
    low, high = -40.0, 40.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < share else (low, middle)
    return (low + high) / 2


def largest_loss(lost: int, won: int, samples: int, confidence: float) -> float:
    """The loss of accuracy that is exceeded with a probability of at most 1 - ``confidence``.

    Two answers to the same samples are compared: ``lost`` of them only the old one has right, ``won`` only the new one. The
    score bound of Tango (1998) holds where few answers differ, and where none does.
    """
    z = quantile_of_normal(confidence)
    low, high = max((lost - won) / samples, 0.0), 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _score(lost, won, samples, middle) > -z else (low, middle)
    return high


def samples_needed(loss: float, confidence: float) -> int:
    """How many samples are needed to tell that accuracy is lost by at most ``loss``, even if no answer changes."""
    square = quantile_of_normal(confidence) ** 2
    return math.ceil(square * (1 - loss) / loss)


def _score(lost: int, won: int, samples: int, loss: float) -> float:
    """By how many standard errors fewer answers were lost than a true ``loss`` would have; Tango 1998, equations 8 to 10."""
    linear = -lost - won + (2 * samples - lost + won) * loss
    constant = -won * loss * (1 - loss)
    likeliest = (math.sqrt(max(linear * linear - 8 * samples * constant, 0.0)) - linear) / (4 * samples)
    variance = samples * (2 * likeliest + loss * (1 - loss))
    return (lost - won - samples * loss) / math.sqrt(variance) if variance > 0 else math.inf
