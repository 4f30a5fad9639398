"""Accuracy against cost: of every exit by itself, and of early exits at every mean cost, on samples not used to set them."""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.runtime.calibration.budgeted_batch import PUBLISHED, geometric_shares, share_thresholds
from edgekit.runtime.calibration.costs import Costs
from edgekit.runtime.calibration.exit_path import find_path
from edgekit.runtime.calibration.exiting import Evidence, Outcome, outcome
from edgekit.runtime.intervals import wilson

POINTS = 25  # of the frontier, between the cost of the first exit and that of the last
FOLDS = 2


class Point(NamedTuple):
    """One way to answer.

    Attributes:
        goal: the mean cost, or the p, that the thresholds were set for; None for an exit by itself.
        cost: the mean of a sample.
        accuracy: 0 to 1, and ``interval``, which holds the true one with 95 % confidence.
        shares: of the samples by exit.
    """

    goal: Optional[float]
    cost: float
    accuracy: float
    interval: Tuple[float, float]
    shares: Tuple[float, ...]

    def to_json(self) -> Dict[str, object]:
        """The figures by name."""
        return dict(self._asdict(), interval=list(self.interval), shares=list(self.shares))


SetThresholds = Callable[[Evidence], Sequence[np.ndarray]]


def exit_points(evidence: Evidence, costs: Costs) -> List[Point]:
    """Every exit by itself, as if all samples left there."""
    found = []
    for k in range(evidence.exits):
        shares = tuple(float(j == k) for j in range(evidence.exits))
        hits = int(evidence.correct[k].sum())
        accuracy = hits / evidence.samples
        found.append(Point(None, costs.mean[k], accuracy, wilson(hits, evidence.samples), shares))
    return found


def path_points(evidence: Evidence, costs: Costs) -> List[Point]:
    """Early exits at mean costs from the first exit's to the last's; see `held_out`."""
    means = np.linspace(costs.mean[0], costs.mean[-1], POINTS)

    def thresholds(seen: Evidence) -> List[np.ndarray]:
        path = find_path(seen, costs.mean)
        return [path.thresholds(path.place_of_mean(seen, costs.mean, float(mean))) for mean in means]

    return _points(means.tolist(), held_out(evidence, thresholds), costs)


def geometric_points(evidence: Evidence, costs: Costs) -> List[Point]:
    """Early exits by the budgeted batch procedure, at the published p; see `held_out`."""

    def thresholds(seen: Evidence) -> List[np.ndarray]:
        return [share_thresholds(seen.confidence, geometric_shares(p, seen.exits)) for p in PUBLISHED]

    return _points(PUBLISHED, held_out(evidence, thresholds), costs)


def held_out(evidence: Evidence, set_thresholds: SetThresholds) -> List[Outcome]:
    """What thresholds make of samples that they were not found on: each half is judged by those of the other half."""
    order = np.random.RandomState(1).permutation(evidence.samples)
    taken: List[List[np.ndarray]] = []
    for fold in range(FOLDS):
        seen = np.delete(order, np.arange(fold, evidence.samples, FOLDS))
        unseen = evidence.part(order[fold::FOLDS])
        taken.append([outcome(unseen, one).taken for one in set_thresholds(evidence.part(seen))])
    found = []
    for parts in zip(*taken):
        exits = np.empty(evidence.samples, np.int64)
        for fold, part in enumerate(parts):
            exits[order[fold::FOLDS]] = part
        correct = evidence.correct[exits, np.arange(evidence.samples)]
        shares = np.bincount(exits, minlength=evidence.exits) / evidence.samples
        found.append(Outcome(exits, correct, shares))
    return found


def _points(goals: Sequence[float], outcomes: Sequence[Outcome], costs: Costs) -> List[Point]:
    return [point(goal, one, costs) for goal, one in zip(goals, outcomes)]


def point(goal: Optional[float], reached: Outcome, costs: Costs) -> Point:
    """The figures of one outcome."""
    hits, samples = int(reached.correct.sum()), len(reached.correct)
    return Point(
        goal,
        reached.mean(costs.mean),
        hits / samples,
        wilson(hits, samples),
        tuple(float(share) for share in reached.shares),
    )
