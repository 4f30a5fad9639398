"""How long before his deadline a caller is to set out for it, learnt from how late those before him had their answers."""

import math
import threading
from typing import Optional

from edgekit.runtime.latency import Distribution

# The share of all answers that may be late, half of the thousandth that is promised; and how many ways back are remembered.
RARE, MEMORY = 0.0005, 1024
# Who is sent back from the middle of a stage can be late. Where one in ten is, ten times that share of his ways back may be longer
# than what is reserved for them, but never more than this; the last hundred frames or so say how many are, and until so many have,
# everybody is taken to be.
SELDOM, NEARLY, DOUBTED = 0.02, 100, 20
# Machines stall now and then, for ms: what that costs must not take the time of all frames. So that tail is only waited for up to
# this share of a budget, which costs about as much of what could be reached, or up to twice what is usual in all but one of
# twenty: of a hundred ways back, the longest may be a stall.
SPENT, AWAKE, MARGIN = 0.04, 0.95, 2.0
# Those whose answer came so many ms before they would have come back without it can be late too, if they take long; so may a part of
# that share, since a tail of few is shorter than that of many.
WITHIN, PART = 1.0, 1 / 8
# So many of them tell more of those to come than all others do.
SOME = 20
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
        # Of these, those who came back at their latest instant, from the middle of a stage
        self._closely = Distribution(MEMORY)
        self._close = 1.0  # their share; before anybody has shown it, everybody's
        self._near = 1.0  # the share of those whose answer came `WITHIN` before that instant
        self._guard = threading.Lock()

    def add(self, took_ms: float, left_ms: Optional[float] = None) -> None:
        """A caller had his answer so long after he was to come back, which was ``left_ms`` before the latest such instant.

        By default, it was that instant: a stage was still running.
        """
        close = left_ms is None
        near = left_ms is not None and left_ms < WITHIN
        with self._guard:
            self._took.add(max(took_ms, 0.0))
            if close:
                self._closely.add(max(took_ms, 0.0))
            newest = 1 / min(self._took.count + DOUBTED, NEARLY)
            self._close += (close - self._close) * newest
            self._near += (near - self._near) * newest

    def add_without(self, took_ms: float) -> None:
        """A caller who had waited for a first exit for as long as he could came back without one, after so long."""
        with self._guard:
            self._closely.add(max(took_ms, 0.0))

    @property
    def usual_ms(self) -> float:
        """What every other one stayed below; 0 before the first."""
        with self._guard:
            return self._took.quantile(0.5) or 0.0

    @property
    def seldom_ms(self) -> float:
        """What all but one of twenty stayed below who came back as late as they could; before some did, `usual_ms`."""
        with self._guard:
            ways, share = (self._closely, AWAKE) if self._closely.count >= SOME else (self._took, 0.5)
            return ways.quantile(share) or 0.0

    def reserve_ms(self, budget_ms: float) -> float:
        """How long before the end of a budget to come back; not bounded by `MOST_RESERVED` yet."""
        with self._guard:
            late = min(RARE / self._close, SELDOM)
            count, often = self._took.count, self._took.quantile(AWAKE) or 0.0
            most = max((MARGIN + max(0.0, 1 - count / FEW)) * often, self._spent * budget_ms)
            rare = self._took.quantile(1 - late) or 0.0
            usual, close = (ways.quantile(0.5) or 0.0 for ways in (self._took, self._closely))
            # They are few, and the longest of few says little of the rarest of many: by how much they are usually longer is known.
            if close > usual > 0:
                rare *= close / usual
            rare *= _farther(late, count)
            # Those from the middle of a stage may be shorter, if some have shown it.
            if self._closely.count >= SOME:
                few = self._closely.count
                rare = min(rare, (self._closely.quantile(1 - late) or 0.0) * _farther(late, few))
            rare = max(rare, self._for_those_before(rare, most))
        return min(rare * self._farther, most)

    def _for_those_before(self, least: float, most: float) -> float:
        """What is to be reserved, from ``least`` to ``most``, for answers that come a little before the latest instant.

        Whose answer came so long before it is late if he takes that much more than the reserve: as seldom as the mean of what is
        taken beyond it, times the share of answers that come in any ms.
        """
        allowed = RARE * PART * WITHIN / max(self._near, RARE) * self._took.count
        total = 0.0
        for number, took in enumerate(self._took.largest_first()):
            took = min(took, most)
            if took <= least or total - number * took > allowed:
                return max(least, (total - allowed) / number) if number else least
            total += took
        return least


def _farther(late: float, count: int) -> float:
    """How many times farther out than the longest of ``count`` ways the one is that a share ``late`` exceeds.

    Of few returns, none was as late as the latest of many: twice as far out, four times as few are expected.
    """
    return math.sqrt(max(1.0, min(1 / late, MEMORY) / max(count, 1)))
