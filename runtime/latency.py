"""How long a stage will take: a streaming quantile per stage, times one slowdown that all stages share.

What slows a device down (a neighbour on the processor, a lower clock) slows every stage, so what one stage has just shown
is known of the next one before it runs; ALERT (Wan et al., arXiv 1911.00119, section 3.3) has the idea. Here the stages vote
on the slowdown with their last few runs: a single outlier, or one stage that alone has changed, is outvoted, and a step that
all of them show is followed within one frame. What the very last runs differ from the slowdown is noise on one device and
the pace of this frame on another: every stage learns how much of it it shares.
"""

import math
import threading
from bisect import bisect_left, insort
from collections import deque
from typing import Deque, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

# Runs that a stage's distribution remembers: 8 seconds at 30 frames a second, and enough for a 99th percentile that two
# outliers do not decide.
WINDOW = 256
# The last runs of any stage, which decide the slowdown; a step shows after three of them.
RECENT = 5
# Half a millisecond more or less says nothing about the device, only about what else was scheduled just then; without this
# floor, the shortest stages would decide the slowdown of the longest.
GRAIN = 0.5
# That floor makes a slowdown look nearer to 1 than it is, and what is predicted from it too long or too short, for as long as it
# lasts. So this share of it, as an exponent, goes over into what is remembered: what lasts becomes what is usual.
SETTLES = 0.1
# A device that has done nothing for so many ms may have clocked down, and its caches are somebody else's.
IDLE = 300.0
# Of the runs before a stage, the last ones tell most about this frame's pace: their shares in it, the last one first. An outlier
# among them counts as this many standard deviations of what is usual, and a step is for the slowdown to follow.
LAST = (0.6, 0.3, 0.1)
FARTHEST = 5.0
# Of what is known of how a stage follows that pace, so much is what its newest run showed.
NEWEST = 0.02
# Until a stage has shown its own spread, its largest quantiles lie at least this far above its median, fading over FEW runs.
ASSUMED_SPREAD = 0.25
FEW = 100
# A stage that is not run shows nothing, so what keeps it from being run would keep it for ever. Once in so many frames without
# it, its largest duration is forgotten, if it is farther above the median than is assumed of a stage that has shown nothing: one
# that has really become slower is then found late once in as many frames, as often as a confidence of 99 % allows.
FORGET = 100
# Runs that are taken in together unless somebody asks before: one at a time costs a short stage 28 us, many in a row a third.
TOGETHER = 16
# A stage that was cancelled later than all its runs were over would have taken longer; by how much nobody knows, but the same time
# must not suffice next time.
LONGER = 1.1


class LatencyModel:
    """Predicts durations of stages from those measured so far. Memory and time per call do not grow; threads may share it.

    Attributes:
        confidence: the share of runs that should not take longer than predicted.
    """

    def __init__(self, stages: Iterable[str], confidence: float = 0.99) -> None:
        self.confidence = confidence
        self._stages: Dict[str, Distribution] = {name: Distribution() for name in stages}
        self._following: Dict[str, Following] = {name: Following() for name in self._stages}
        self._recent: Deque[Tuple[str, float]] = deque(maxlen=RECENT)
        self._slowdown = 1.0
        self._drifted: Optional[float] = 0.0  # None: to be computed anew
        # Frames since a stage ran, or since it forgot.
        self._without: Dict[str, int] = dict.fromkeys(self._stages, 0)
        self._guard = threading.Lock()
        self._active: Optional[float] = None  # the last instant at which a frame began or ended
        self._before_pause: Optional[Tuple[Deque[Tuple[str, float]], float]] = None
        self._after_pauses: Deque[float] = deque(maxlen=RECENT)
        self._shown: List[Tuple[str, float]] = []  # runs that were not taken in yet
        self._told: Dict[
            Tuple[str, Optional[float]], Optional[float]
        ] = {}  # predictions since the last that were

    @property
    def slowdown(self) -> float:
        """How many times longer than in the measurements it started from everything takes now."""
        with self._guard:
            self._catch_up()
            return self._slowdown

    def begin(self, now: float) -> None:
        """A frame begins at the instant ``now``, in ms. After a pause, expect what the frames after earlier pauses showed."""
        with self._guard:
            if self._active is not None and now - self._active > IDLE:
                self._catch_up()
                self._before_pause = self._recent, self._slowdown
                self._recent, self._drifted = deque(maxlen=RECENT), None
                if self._after_pauses:
                    usual = sorted(self._after_pauses)[len(self._after_pauses) // 2]
                    self._slowdown = max(self._slowdown, usual)
                self._told.clear()
            self._active = now

    def end(self, now: float) -> None:
        """A frame is over; if it was the first after a pause, the next is expected to be as those before the pause."""
        with self._guard:
            if self._before_pause is not None:
                self._catch_up()
                if self._recent:
                    self._after_pauses.append(self._slowdown)
                self._recent, self._slowdown = self._before_pause
                self._drifted = None
                self._before_pause = None
            for stage, frames in self._without.items():
                self._without[stage] = frames + 1
                if frames >= FORGET:
                    self._catch_up()
                    self._without[stage] = 0
                    self._stages[stage].forget_outlier()
            self._active = now

    def rest(self) -> None:
        """A frame has passed in which none of the stages ran: by how much the last runs were beside the slowdown is of a frame long over."""
        with self._guard:
            self._catch_up()
            self._drifted = 0.0
            self._told.clear()

    def start(self, stage: str, durations: Sequence[float]) -> None:
        """Begin anew with ``durations`` in ms, measured before: the warm-up's, or a profile's."""
        fresh = Distribution()
        for duration in durations[-WINDOW:]:
            fresh.add(duration)
        with self._guard:
            self._catch_up()
            self._stages[stage] = fresh
            self._told.clear()

    def learn(self, stage: str, duration: float) -> None:
        """Take in that ``stage`` has just taken ``duration`` ms, or keep it until somebody asks."""
        with self._guard:
            self._without[stage] = 0
            self._shown.append((stage, duration))
            if len(self._shown) >= TOGETHER:
                self._catch_up()

    def _catch_up(self) -> None:
        """Take in what was kept."""
        if self._shown:
            shown, self._shown = self._shown, []
            self._told.clear()
            for stage, duration in shown:
                self._take_in(stage, duration)

    def _take_in(self, stage: str, duration: float) -> None:
        distribution = self._stages[stage]
        usual = distribution.quantile(0.5)
        pace = self._slowdown
        if usual is not None:
            ratio = (duration + GRAIN) / (usual + GRAIN)
            drift, following = self._drift(), self._following[stage]
            expected = pace * math.exp(following.expect(drift))
            following.learn(drift, math.log(ratio / pace))
            self._recent.append((stage, ratio))
            pace, self._drifted = _vote(self._recent), None
            self._slowdown = pace
            # What the pace explained before the run, or the vote does after it, is not the stage's own.
            if abs(math.log(ratio / expected)) <= abs(math.log(ratio / pace)):
                pace = expected
        distribution.add(duration / pace ** (1 - SETTLES))

    def learn_at_least(self, stage: str, duration: float) -> None:
        """Take in that ``stage`` was cancelled after ``duration`` ms, so that it would have taken longer.

        As long as most of the runs that did, or a little more than ``duration`` if none is remembered.
        """
        with self._guard:
            self._catch_up()
            distribution = self._stages[stage]
            longer = distribution.median_above(duration / self._pace(stage))
            if longer is not None:
                distribution.add(longer)
                self._told.clear()
        if longer is None:
            self.learn(stage, LONGER * duration)

    def predict(self, stage: str, confidence: Optional[float] = None) -> Optional[float]:
        """The duration in ms that ``stage`` stays below with ``confidence``, by default the model's own.

        None if it was never seen.
        """
        with self._guard:
            self._catch_up()
            return self._predict(stage, confidence)

    def predicted(self, stage: str, confidence: Optional[float] = None) -> Optional[float]:
        """`predict` as of at most `TOGETHER` runs ago, for who reports it and decides nothing by it."""
        with self._guard:
            asked = stage, confidence
            if asked not in self._told:
                self._told[asked] = self._predict(stage, confidence)
            return self._told[asked]

    def _predict(self, stage: str, confidence: Optional[float]) -> Optional[float]:
        share = self.confidence if confidence is None else confidence
        distribution = self._stages[stage]
        quantile, usual = distribution.quantile(share), distribution.quantile(0.5)
        if quantile is None or usual is None:
            return None
        if share > 0.5:
            few = max(0.0, 1 - distribution.count / FEW)
            quantile = max(quantile, usual * (1 + ASSUMED_SPREAD * few * (2 * share - 1)))
        return quantile * self._pace(stage)

    def _pace(self, stage: str) -> float:
        """How many times longer than in the measurements it started from ``stage`` is expected to take if it runs next."""
        return self._slowdown * math.exp(self._following[stage].expect(self._drift()))

    def _drift(self) -> float:
        """How far the last runs were above the slowdown, as a logarithm."""
        if self._drifted is None:
            self._drifted = self._mean_drift()
        return self._drifted

    def _mean_drift(self) -> float:
        if not self._recent:
            return 0.0
        total = shares = 0.0
        for share, (_, ratio) in zip(LAST, reversed(self._recent)):
            total += share * math.log(ratio)
            shares += share
        return total / shares - math.log(self._slowdown)


def _vote(recent: Sequence[Tuple[str, float]]) -> float:
    """The median over stages of the median of each one's last three ratios.

    Between two middle stages the lower one counts: if the other is right, its own distribution will show it.
    """
    if len({stage for stage, _ in recent}) == len(recent):  # as in networks of as many stages and more
        votes = sorted([ratio for _, ratio in recent])
        return votes[(len(votes) - 1) // 2]
    ratios: Dict[str, List[float]] = {}
    for stage, ratio in recent:
        ratios.setdefault(stage, []).append(ratio)
    votes = sorted(sorted(own[-3:])[min(len(own), 3) // 2] for own in ratios.values())
    return votes[(len(votes) - 1) // 2]


class Following:
    """How much of the drift of the runs before it a stage shares: the slope of its own on theirs, from 0 to 1."""

    def __init__(self) -> None:
        self._together, self._squared = 0.01, 0.02  # at first, half of it

    def expect(self, drift: float) -> float:
        """The stage's own drift, after that of the runs before it."""
        share = self._together / self._squared
        if share <= 0.0:
            return 0.0
        return (share if share < 1.0 else 1.0) * self._bounded(drift)

    def learn(self, drift: float, own: float) -> None:
        """Take in what it was."""
        drift, own = self._bounded(drift), self._bounded(own)
        self._together += NEWEST * (drift * own - self._together)
        self._squared += NEWEST * (drift * drift - self._squared)

    def _bounded(self, drift: float) -> float:
        farthest = FARTHEST * math.sqrt(self._squared)
        if drift > farthest:
            return farthest
        return drift if drift > -farthest else -farthest


class Distribution:
    """The last ``window`` durations of one stage, as they would have been at the pace of the measurements it started from."""

    def __init__(self, window: int = WINDOW) -> None:
        self._order: Deque[float] = deque(maxlen=window)
        self._sorted: List[float] = []

    @property
    def count(self) -> int:
        return len(self._sorted)

    def add(self, duration: float) -> None:
        if len(self._order) == self._order.maxlen:
            del self._sorted[bisect_left(self._sorted, self._order[0])]
        self._order.append(duration)
        insort(self._sorted, duration)

    def forget_outlier(self) -> None:
        """Drop the largest duration, if it is farther above the median than is assumed of a stage that has shown nothing."""
        usual = self.quantile(0.5)
        if usual is not None and self._sorted[-1] > (1 + ASSUMED_SPREAD) * usual:
            self._order.remove(self._sorted.pop())

    def median_above(self, duration: float) -> Optional[float]:
        """The median of those remembered that are at least ``duration``; None if there are none."""
        first, count = bisect_left(self._sorted, duration), len(self._sorted)
        return self._sorted[(first + count) // 2] if first < count else None

    def largest_first(self) -> Iterator[float]:
        """What is remembered, in falling order."""
        return reversed(self._sorted)

    def quantile(self, share: float) -> Optional[float]:
        count = len(self._sorted)
        return self._sorted[min(int(share * count), count - 1)] if count else None
