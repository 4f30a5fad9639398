"""What waiting for stages could reach at most on measured frames: a predictor that was fitted, in hindsight, to these very frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.runtime.simulation.workload import Workload

ALLOWED = 0.001  # late answers
RUNS = 8  # of any stage, before the one that is predicted
OWN = (5, 30)  # its own last runs, whose means it is predicted from as well
FIRST = max(OWN) + 1  # frame that has as many behind it
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.999)


@dataclass(frozen=True)
class Ceiling:
    """A linear regression on all that had happened before, the same confidence at all budgets.

    Attributes:
        condition: what the frames were measured or simulated under.
        of_oracle: exits reached in time, in shares of the oracle's, with the best confidence that is late no more than `ALLOWED`.
        late_share: of the answerable frames, with that confidence.
        late_at_bar: the smallest share of late answers with which ``bar`` of the oracle is reached; None if with none.
        bar: that share.
    """

    condition: str
    of_oracle: float
    late_share: float
    late_at_bar: float | None
    bar: float


def ceiling(condition: str, work: Workload, budgets: Sequence[float], bar: float) -> Ceiling:
    """The ceiling of the frames of ``work`` within ``budgets`` in ms, whose stages must all have an exit."""
    fitted = _regression(np.log(work.durations))
    tried = [_answer(work, budgets, *fitted, confidence) for confidence in CONFIDENCES]
    allowed = [one for one in tried if one[1] <= ALLOWED] or [min(tried, key=lambda one: one[1])]
    of_oracle, late = max(allowed)
    reaching = [late_share for share, late_share in tried if share >= bar]
    return Ceiling(condition, of_oracle, late, min(reaching, default=None), bar)


def _regression(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected logarithms of durations and what they really differed by, both (frames, stages); nothing before `FIRST`."""
    frames, stages = logs.shape
    numbers, runs = np.arange(FIRST, frames), logs.ravel()
    expected, rest = np.zeros_like(logs), np.zeros_like(logs)
    for stage in range(stages):
        at = numbers * stages + stage
        columns = [runs[at - back] for back in range(1, RUNS + 1)]
        columns += [np.mean([runs[at - stages * back] for back in range(1, own + 1)], axis=0) for own in OWN]
        known = np.stack([*columns, np.ones(len(numbers))], axis=1)
        took = logs[numbers, stage]
        usual = np.clip(took, *np.quantile(took, (0.005, 0.995)))  # outliers are not to bend the line
        expected[numbers, stage] = known @ np.linalg.lstsq(known, usual, rcond=None)[0]
        rest[numbers, stage] = took - expected[numbers, stage]
    return expected, rest


def _answer(
    work: Workload, budgets: Sequence[float], expected: np.ndarray, rest: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Exits in time in shares of the oracle's, as the mean over budgets, and the share of late answers."""
    durations, ready = work.durations[FIRST:], work.ready_ms[FIRST:]
    predicted = np.exp(expected + np.quantile(rest[FIRST:], confidence, axis=0))[FIRST:]
    shares, late, answerable = [], 0, 0
    for budget in budgets:
        possible = (ready[:, None] + np.cumsum(durations, axis=1) <= budget).sum(axis=1)
        now = ready + durations[:, 0]
        running, reached, overran = now <= budget, np.ones(len(now), int), np.zeros(len(now), bool)
        for stage in range(1, durations.shape[1]):
            running = running & (now + predicted[:, stage] <= budget)
            now = np.where(running, now + durations[:, stage], now)
            reached = np.where(running, stage + 1, reached)
            overran |= running & (now > budget)
        answered = possible > 0
        shares.append(float(reached[answered & ~overran].sum() / max(possible.sum(), 1)))
        late, answerable = late + int((answered & overran).sum()), answerable + int(answered.sum())
    return float(np.mean(shares)), late / max(answerable, 1)
