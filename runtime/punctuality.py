"""How long before his deadline a caller is to set out for it, learnt from how late those before him had their answers."""

import math
import threading

from edgekit.runtime.latency import Distribution

# The share of all answers that may be late, half of the thousandth that is promised; and how many ways back are remembered.
RARE, MEMORY = 0.0005, 1024
# Only who comes back close to his deadline can be late. Where one in ten does, ten times that share of his ways back may be longer
# than what is reserved for them, but never more than this; the last hundred frames or so say how many do, and until so many have,
# everybody is taken to.
SELDOM, NEARLY, DOUBTED = 0.02, 100, 20
# Machines stall now and then, for ms: what that costs must not take the time of all frames. So that tail is only waited for up to
# this share of a budget, which costs about as much of what could be reached, or up to twice what is usual in all but one of
# twenty: of a hundred ways back, the longest may be a stall.
SPENT, AWAKE, MARGIN = 0.04, 0.95, 2.0
# Of the first returns, those of a warm-up, the latest says little about the latest of a hundred: as much again is added at
# first, fading over so many.
FEW = 50
# Of a budget, for what is not a stage: a machine that wakes threads late (by 6 ms and more, where others want all of its
# cores) must not keep frames from beginning at all.
MOST_RESERVED = 0.15


class WayBack:
    """Keeps how long callers took from when they were to come back until they had their answers. Threads may share it.

    Args:
        farther: how many times what its rarest returns took a caller is given for his.
        spent: the share of a budget that they may take for it.
    """

    def __init__(self, farther: float = 1.0, spent: float = SPENT) -> None:
        self._farther = farther
        self._spent = spent
        self._took = Distribution(MEMORY)
        # Of these, those close to a deadline: in the middle of a stage, they take longer
        self._closely = Distribution(MEMORY)
        self._close = 1.0  # their share; before anybody has shown it, everybody's
        self._guard = threading.Lock()

    def add(self, took_ms: float, close: bool = True) -> None:
        """A caller had his answer so long after the instant at which he was to come back; ``close``: to his deadline."""
        with self._guard:
            self._took.add(max(took_ms, 0.0))
            if close:
                self._closely.add(max(took_ms, 0.0))
            self._close += (close - self._close) / min(self._took.count + DOUBTED, NEARLY)

    @property
    def usual_ms(self) -> float:
        """What every other one stayed below; 0 before the first."""
        with self._guard:
            return self._took.quantile(0.5) or 0.0

    def reserve_ms(self, budget_ms: float) -> float:
        """How long before the end of a budget to come back; not bounded by `MOST_RESERVED` yet."""
        with self._guard:
            late = min(RARE / self._close, SELDOM)
            count, often = self._took.count, self._took.quantile(AWAKE) or 0.0
            rare = self._took.quantile(1 - late) or 0.0
            usual, close = (ways.quantile(0.5) or 0.0 for ways in (self._took, self._closely))
        # They are few, and the longest of few says little of the rarest of many: by how much they are usually longer is known.
        if close > usual > 0:
            rare *= close / usual
        # Of few returns, none was as late as the latest of many: twice as far out, four times as few are expected.
        rare *= self._farther * math.sqrt(max(1.0, min(1 / late, MEMORY) / max(count, 1)))
        few = max(0.0, 1 - count / FEW)
        return min(rare, max((MARGIN + few) * often, self._spent * budget_ms))
