"""The way from "nobody leaves early" to "everybody leaves at the first exit", along which accuracy is lost as late as possible.

At a price per unit of cost, a set of thresholds is worth the answers that it gets right less the price of what they cost.
For every exit in turn, from the last to the first, the threshold of the largest worth follows from a sorted list of the
samples, the other thresholds being what they are; a few rounds of that find the best of all. The price rises from nothing to
more than any answer is worth, and thresholds may only fall meanwhile: so along the way every sample leaves earlier and
earlier, the mean cost falls steadily, and the thresholds for a lower cost are never above those for a higher one.
"""

import math
from typing import Callable, List, Sequence

import numpy as np

from edgekit.errors import InputError
from edgekit.runtime.calibration.exiting import Evidence, outcome

PRICES = 48
ROUNDS = 4
HALVINGS = 40


class ExitPath:
    """Thresholds by their place on the way, from 0 (nobody leaves early) to 1 (everybody leaves at the first exit).

    Args:
        ranks: int (knots, exits - 1): how many of the samples, the surest first, reach each exit's threshold.
        ordered: float (exits - 1, samples): the exits' confidences, falling.
    """

    def __init__(self, ranks: np.ndarray, ordered: np.ndarray) -> None:
        self._ranks = ranks
        self._ordered = ordered

    def thresholds(self, place: float) -> np.ndarray:
        """Thresholds (exits,) at ``place``; infinite where nobody leaves, and minus infinity at the last exit."""
        at = min(max(place, 0.0), 1.0) * (len(self._ranks) - 1)
        knot = min(int(at), len(self._ranks) - 2)
        before, after = self._ranks[knot], self._ranks[knot + 1]
        ranks = (before + (at - knot) * (after - before)).astype(np.int64)
        found = [_threshold(ordered, rank) for ordered, rank in zip(self._ordered, ranks)]
        return np.asarray([*found, -math.inf])

    def place_where(self, enough: Callable[[np.ndarray], bool]) -> float:
        """The first place whose thresholds are ``enough``, where all later ones are too; 1 if none is."""
        low, high = 0.0, 1.0
        if enough(self.thresholds(low)):
            return low
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if enough(self.thresholds(middle)) else (middle, high)
        return high

    def place_of_mean(self, evidence: Evidence, costs: Sequence[float], mean: float) -> float:
        """The first place at which a sample of ``evidence`` costs ``mean`` at most; 1 if it costs more everywhere."""
        most = mean * (1 + 1e-12)  # a sum of shares is not always 1 to the last bit
        return self.place_where(lambda thresholds: outcome(evidence, thresholds).mean(costs) <= most)


def find_path(evidence: Evidence, costs: Sequence[float]) -> ExitPath:
    """The way for these samples, ``costs`` being those of leaving at each exit.

    Raises:
        InputError: an exit does not cost more than the one before.
    """
    cost = np.asarray(costs, np.float64)
    steps = np.diff(cost)
    if not (steps > 0).all():
        raise InputError(
            f"the exits cost {', '.join(f'{one:.4g}' for one in costs)}: each must cost more than the one before"
        )
    exits, samples = evidence.exits, evidence.samples
    order = np.argsort(-evidence.confidence[:-1], axis=1, kind="stable")
    ordered = np.take_along_axis(evidence.confidence[:-1], order, axis=1)
    # Where one answer is worth as much as the whole way for all samples, and where the shortest step costs two answers.
    prices = (
        np.geomspace(0.5 / samples / (cost[-1] - cost[0]), 2.0 / steps.min(), PRICES) if exits > 1 else ()
    )
    ranks = np.zeros(exits - 1, np.int64)
    knots: List[np.ndarray] = [ranks]
    for price in prices:
        worth = evidence.correct - price * cost[:, None]
        ranks = _best_ranks(evidence.confidence, worth, order, ordered, ranks)
        knots.append(ranks)
    knots.append(np.maximum(ranks, np.where(np.arange(exits - 1) == 0, samples, 0)))
    return ExitPath(np.asarray(knots), ordered)


def _best_ranks(
    confidence: np.ndarray, worth: np.ndarray, order: np.ndarray, ordered: np.ndarray, lowest: np.ndarray
) -> np.ndarray:
    """The ranks of the largest worth (exits, samples) that are nowhere below ``lowest``."""
    ranks = lowest.copy()
    samples = confidence.shape[1]
    # A threshold cannot lie between samples that are equally sure.
    apart = np.ones((len(ordered), samples + 1), bool)
    apart[:, 1:-1] = ordered[:, 1:] != ordered[:, :-1]
    leaves = np.asarray([confidence[k] >= _threshold(ordered[k], rank) for k, rank in enumerate(ranks)], bool)
    for _ in range(ROUNDS):
        known = ranks.copy()
        gone = np.logical_or.accumulate(leaves, axis=0)
        value = worth[-1]
        for k in range(len(ranks) - 1, -1, -1):
            gain = worth[k] - value
            if k:
                gain = np.where(gone[k - 1], 0.0, gain)
            total = np.concatenate(([0.0], np.cumsum(gain[order[k]])))
            total[~apart[k]] = -math.inf
            total[: lowest[k]] = -math.inf
            ranks[k] = int(total.argmax())
            leaves[k] = confidence[k] >= _threshold(ordered[k], ranks[k])
            value = np.where(leaves[k], worth[k], value)
        if (ranks == known).all():
            break
    return ranks


def _threshold(ordered: np.ndarray, rank: int) -> float:
    """Between the last of the first ``rank`` confidences and the next one."""
    if rank == 0:
        return math.inf
    if rank == len(ordered):
        return 0.0
    return float((ordered[rank - 1] + ordered[rank]) / 2)
