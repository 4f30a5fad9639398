"""The figures of a run, simulated or live: how many answers were late, how good they were, and what an oracle would have had."""

from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.runtime.intervals import wilson
from edgekit.runtime.simulation.simulate import Outcomes


class Figures(NamedTuple):
    """One strategy at one budget.

    Attributes:
        frames: that came.
        dropped: that were overtaken by a newer one before the strategy looked at them.
        answerable: those looked at whose budget allows the first exit at all.
        late: of these, answered late or not at all.
        late_share: the same as a share, and ``late_interval``, which holds the true share with 95 % confidence (Wilson).
        mean_exit: number of the exit answered with, over all frames looked at; 0 for no answer.
        utility: of every frame that came, its exit's number in shares of the last one's, 0 for an answer that is late.
        accuracy: the same with the exits' accuracies; None if the bundle does not know them.
        of_oracle: utility in shares of the oracle's; ``regret`` is what is missing.
        accuracy_of_oracle: accuracy in shares of the oracle's.
        overshoot_p99_ms, overshoot_max_ms: how long after the deadline answers came; 0 for those in time.
        goodput: answers in time per second.
        quality: the best exit's share that was there, averaged over the time from call to deadline.
    """

    frames: int
    dropped: int
    answerable: int
    late: int
    late_share: float
    late_interval: Tuple[float, float]
    mean_exit: float
    utility: float
    accuracy: Optional[float]
    of_oracle: float
    accuracy_of_oracle: Optional[float]
    overshoot_p99_ms: float
    overshoot_max_ms: float
    goodput: float
    quality: float

    @property
    def regret(self) -> float:
        """The share of the oracle's utility that was not reached."""
        return 1.0 - self.of_oracle

    def to_json(self) -> Dict[str, object]:
        """The figures by name."""
        return dict(self._asdict(), late_interval=list(self.late_interval), regret=self.regret)


def figures(outcomes: Outcomes, oracle: Outcomes, accuracies: Optional[Sequence[float]] = None) -> Figures:
    """Sum up ``outcomes``; ``oracle`` is what it made of the same frames, ``accuracies`` are the exits'."""
    looked_at = outcomes.looked_at
    answerable = looked_at & (outcomes.possible > 0)
    late = int((answerable & outcomes.missed).sum())
    count = int(answerable.sum())
    overshoot = np.maximum(outcomes.elapsed_ms[looked_at] - outcomes.budget_ms, 0.0)
    shares = [(k + 1) / len(outcomes.exits) for k in range(len(outcomes.exits))]
    utility, best = _value(outcomes, shares), _value(oracle, shares)
    accuracy = known = None
    if accuracies is not None:
        accuracy, known = _value(outcomes, accuracies), _value(oracle, accuracies)
    p99, worst = np.percentile(overshoot, (99.0, 100.0)) if len(overshoot) else (0.0, 0.0)
    return Figures(
        frames=len(looked_at),
        dropped=int((~looked_at).sum()),
        answerable=count,
        late=late,
        late_share=late / count if count else 0.0,
        late_interval=wilson(late, count),
        mean_exit=float(outcomes.exit[looked_at].mean()) if looked_at.any() else 0.0,
        utility=utility,
        accuracy=accuracy,
        of_oracle=utility / best if best else 1.0,
        accuracy_of_oracle=accuracy / known if accuracy is not None and known else None,
        overshoot_p99_ms=float(p99),
        overshoot_max_ms=float(worst),
        goodput=float((~outcomes.missed).sum()) / outcomes.seconds,
        quality=_quality(outcomes, shares),
    )


def recovery_beside(
    outcomes: Outcomes, twin: Outcomes, step: int, end: int, steady: int = 3
) -> Optional[int]:
    """How many frames after ``step`` the answers are, and stay for ``steady`` frames, as good as those of ``twin``.

    That is what the same strategy answered the same frames with, if nothing had ever been otherwise. None if that does not come
    before ``end``.
    """
    ours, theirs = (np.where(one.missed, 0, one.exit)[step:end] for one in (outcomes, twin))
    fine = ours >= theirs
    for frame in range(len(fine) - steady + 1):
        if fine[frame : frame + steady].all():
            return frame
    return None


def _value(outcomes: Outcomes, values: Sequence[float]) -> float:
    of_exit = np.concatenate([[0.0], np.asarray(values, np.float64)])
    return float(np.where(outcomes.missed, 0.0, of_exit[outcomes.exit]).mean())


def _quality(outcomes: Outcomes, shares: Sequence[float]) -> float:
    left = np.clip(outcomes.budget_ms - outcomes.reached_ms, 0.0, None) / outcomes.budget_ms
    return float((left * np.diff([0.0, *shares])).sum(axis=1).mean())
