"""Where time comes from, so that every decision can be tested on a clock that only moves when it is told to.

Instants and durations are milliseconds. An instant is only meaningful on the clock that it came from.
"""

import threading
import time
from typing import Callable, Optional

LONGEST_WAIT = 86_400.0  # s; whoever waits looks at the clock afterwards and waits again


class Clock:
    """The system's monotonic clock."""

    # What a caller needs after the last look at it: a frame's memory is given back, and functions are left.
    leaving_ms = 0.05

    def now(self) -> float:
        """The present instant in ms since an arbitrary one."""
        return time.perf_counter() * 1e3

    def wait(self, condition: threading.Condition, until: Optional[float]) -> None:
        """Sleep on ``condition``, which the caller holds, until it is notified or the instant ``until`` has come."""
        seconds = None if until is None else min(max((until - self.now()) * 1e-3, 0.0), LONGEST_WAIT)
        condition.wait(seconds)

    def stay_awake(self, over: Callable[[], bool], until: float) -> None:
        """Wait until ``over()``, or the instant ``until``, without giving the processor away: nobody is woken at once."""
        while not over() and self.now() < until:
            time.sleep(0)  # lets other threads of Python go on

    def notify_all(self, condition: threading.Condition) -> None:
        """Wake whoever waits on ``condition``, which the caller holds."""
        condition.notify_all()

    def enter(self) -> None:
        """The calling thread begins to wait for this clock's instants; a clock that moves by itself need not know."""

    def leave(self) -> None:
        """The calling thread ends, or is going to wait for something else than this clock."""


class VirtualClock(Clock):
    """A clock for tests and simulations: it stands still until it is advanced."""

    leaving_ms = 0.0

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """The present instant in ms."""
        return self._now

    def advance(self, duration: float) -> None:
        """Let ``duration`` ms pass at once.

        Raises:
            ValueError: ``duration`` is negative: a monotonic clock does not go back.
        """
        if not duration >= 0:
            raise ValueError(f"cannot advance by {duration} ms")
        self._now += duration

    def wait(self, condition: threading.Condition, until: Optional[float]) -> None:
        """Sleep on ``condition`` until it is notified; with a deadline, let the time until then pass instead."""
        if until is None:
            condition.wait()
        else:
            self._now = max(self._now, until)

    def stay_awake(self, over: Callable[[], bool], until: float) -> None:
        """Nothing: whoever waits for this clock is woken at once."""
