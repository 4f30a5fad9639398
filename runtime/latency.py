"""How long a stage will take: a streaming quantile per stage, times one slowdown that all stages share.

What slows a device down (a neighbour on the processor, a lower clock) slows every stage, so what one stage has just shown
is known of the next one before it runs; ALERT (Wan et al., arXiv 1911.00119, section 3.3) has the idea. Here the slowdown is
a short running median, which a single outlier does not move and a step moves within one frame.
"""

from bisect import bisect_left, insort
from collections import deque
from typing import Deque, Dict, Iterable, List, Optional, Sequence

# Runs that a stage's distribution remembers: 8 seconds at 30 frames a second, and enough for a 99th percentile that two
# outliers do not decide.
WINDOW = 256
# Stage runs whose median is the slowdown: a step shows after three of them, less than one frame of four stages.
RECENT = 5
# Until a stage has shown its own spread, its quantile lies at least this far above its median, fading over FEW runs.
ASSUMED_SPREAD = 0.25
FEW = 100
# How far one run moves a stage's median: slow, because the slowdown takes what is fast.
MEDIAN_STEP = 0.01


class LatencyModel:
    """Predicts durations of stages from those measured so far. Memory and time per call do not grow.

    Attributes:
        confidence: the share of runs that should not take longer than predicted.
    """

    def __init__(self, stages: Iterable[str], confidence: float = 0.99) -> None:
        self.confidence = confidence
        self._stages: Dict[str, _Distribution] = {name: _Distribution() for name in stages}
        self._recent: Deque[float] = deque([1.0] * RECENT, RECENT)
        self._slowdown = 1.0

    @property
    def slowdown(self) -> float:
        """How many times longer than in the measurements it started from everything takes now."""
        return self._slowdown

    def start(self, stage: str, durations: Sequence[float]) -> None:
        """Begin with ``durations`` in ms, measured before: the warm-up's, or a profile's."""
        distribution = self._stages[stage]
        distribution.median = sorted(durations)[len(durations) // 2]
        for duration in durations[-WINDOW:]:
            distribution.add(duration / distribution.median)

    def learn(self, stage: str, duration: float) -> None:
        """Take in that ``stage`` has just taken ``duration`` ms."""
        distribution = self._stages[stage]
        if not duration > 0:
            return
        if distribution.median is None:
            distribution.median = duration / self._slowdown
        distribution.add(duration / (distribution.median * self._slowdown))
        self._recent.append(duration / distribution.median)
        self._slowdown = sorted(self._recent)[RECENT // 2]
        distribution.median *= (
            1 + MEDIAN_STEP if duration > distribution.median * self._slowdown else 1 - MEDIAN_STEP
        )

    def predict(self, stage: str) -> Optional[float]:
        """The duration in ms that ``stage`` stays below with `confidence`; None if it was never seen."""
        distribution = self._stages[stage]
        if distribution.median is None:
            return None
        return distribution.median * self._slowdown * distribution.quantile(self.confidence)


class _Distribution:
    """The last durations of one stage, relative to what its median and the slowdown made expect."""

    def __init__(self) -> None:
        self.median: Optional[float] = None
        self._order: Deque[float] = deque(maxlen=WINDOW)
        self._sorted: List[float] = []

    def add(self, ratio: float) -> None:
        if len(self._order) == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._order[0])]
        self._order.append(ratio)
        insort(self._sorted, ratio)

    def quantile(self, confidence: float) -> float:
        count = len(self._sorted)
        assumed = 1 + ASSUMED_SPREAD * max(0.0, 1 - count / FEW)
        if not count:
            return assumed
        return max(self._sorted[min(int(confidence * count), count - 1)], assumed)
