"""What a stream counts: frames that came, were dropped, answered and late, and how old answers were, in memory that never grows."""

import threading
from typing import Dict, Mapping, NamedTuple, Optional

import numpy as np

from edgekit.runtime.stream.frame import Answer, Frame

# Ages are kept in bins of 1 %, from a hundredth of a ms to a thousand seconds.
SMALLEST, LARGEST, STEP = 1e-2, 1e6, 1.01
EDGES = SMALLEST * STEP ** np.arange(int(np.ceil(np.log(LARGEST / SMALLEST) / np.log(STEP))) + 1)


class Spread(NamedTuple):
    """A distribution of ages in ms, quantiles to within 1 %; all None where there was nothing."""

    number: int
    p50: Optional[float]
    p99: Optional[float]
    max: Optional[float]


class Ages:
    """A distribution that is added to one age after the other."""

    def __init__(self) -> None:
        self._bins = np.zeros(len(EDGES) + 1, np.int64)
        self._count = 0
        self._max: Optional[float] = None

    def add(self, age_ms: float) -> None:
        """Add one."""
        self._bins[int(np.searchsorted(EDGES, age_ms))] += 1
        self._count += 1
        self._max = age_ms if self._max is None else max(self._max, age_ms)

    def spread(self) -> Spread:
        """What was added so far."""
        return Spread(self._count, self._quantile(0.5), self._quantile(0.99), self._max)

    def _quantile(self, share: float) -> Optional[float]:
        if self._max is None:
            return None
        found = int(np.searchsorted(np.cumsum(self._bins), share * self._count))
        return min(float(EDGES[min(found, len(EDGES) - 1)]), self._max)


class Counts(NamedTuple):
    """What a stream has done so far.

    Attributes:
        seconds: since it was started, until now or until it was stopped.
        captured: frames that came from the source.
        thinned: of those, passed over because a lower rate was wanted.
        disordered: of those, older than one that came before, and passed over.
        dropped: of those, replaced by a newer one before it was their turn.
        answered: frames with an answer.
        missed: of those, with the first answer after the deadline.
        failed: frames that could not be answered.
        absent: instants at which the rate wanted a frame and there was none.
        vanished: times that the source went away.
        exits: by stage (of several networks, such as ``depth stage4``), the frames whose best answer was its.
        first_ages, best_ages: how old a frame was when its first and its best answer were handed on.
        renewed_ages: how old the newest answer had become when that of a newer frame was handed on, or no more came.
        behind: whenever a frame came, how many frames back the newest answered one was, and how often.
        skipped: by subscriber, the answers it did not get because newer ones came before it was ready.
        trouble: what went wrong last; None if nothing did.
    """

    seconds: float = 0.0
    captured: int = 0
    thinned: int = 0
    disordered: int = 0
    dropped: int = 0
    answered: int = 0
    missed: int = 0
    failed: int = 0
    absent: int = 0
    vanished: int = 0
    exits: Mapping[str, int] = {}
    first_ages: Spread = Spread(0, None, None, None)
    best_ages: Spread = Spread(0, None, None, None)
    renewed_ages: Spread = Spread(0, None, None, None)
    behind: Mapping[int, int] = {}
    skipped: Mapping[str, int] = {}
    trouble: Optional[str] = None


class Tally:
    """Counts for one stream; its threads share it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._numbers: Dict[str, int] = dict.fromkeys(
            (
                "captured",
                "thinned",
                "disordered",
                "dropped",
                "answered",
                "missed",
                "failed",
                "absent",
                "vanished",
            ),
            0,
        )
        self._exits: Dict[str, int] = {}
        self._behind: Dict[int, int] = {}
        self._first, self._best, self._renewed = Ages(), Ages(), Ages()
        self._newest: Optional[Frame] = None  # that has an answer

    def add(self, name: str, number: int = 1) -> None:
        """Count ``number`` more of ``name``, one of the whole numbers of `Counts`."""
        with self._guard:
            self._numbers[name] += number

    def came(self, frame: Frame) -> None:
        """A frame is handed to whoever answers."""
        with self._guard:
            if self._newest is not None:
                behind = frame.number - self._newest.number
                self._behind[behind] = self._behind.get(behind, 0) + 1

    def first(self, answer: Answer, missed: bool) -> None:
        """A frame has its first answer."""
        with self._guard:
            self._numbers["answered"] += 1
            self._numbers["missed"] += missed
            self._first.add(answer.age_ms)
            if self._newest is not None:
                self._renewed.add(answer.published - self._newest.stamp)
            self._newest = answer.frame

    def over(self, best: Answer, network: Optional[str] = None) -> None:
        """A frame will have no better answer than this one; of several networks, from that one."""
        with self._guard:
            self._best.add(best.age_ms)
            stage = best.stage or "none"
            if network is not None:
                stage = f"{network} {stage}"
            self._exits[stage] = self._exits.get(stage, 0) + 1

    def counts(self, seconds: float, skipped: Mapping[str, int], trouble: Optional[str]) -> Counts:
        """All of it, as it is now."""
        with self._guard:
            return Counts(
                seconds=seconds,
                exits=dict(self._exits),
                first_ages=self._first.spread(),
                best_ages=self._best.spread(),
                renewed_ages=self._renewed.spread(),
                behind=dict(self._behind),
                skipped=dict(skipped),
                trouble=trouble,
                **self._numbers,
            )
