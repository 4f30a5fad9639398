"""A device that is not there: a clock that is set to instants, and frames whose stages do nothing but take time."""

from typing import Mapping, Optional, Tuple

import numpy as np

from edgekit.errors import BackendError
from edgekit.runtime.backends import Frame, StageCancelled
from edgekit.runtime.clock import Clock
from edgekit.runtime.execution import Execution
from edgekit.runtime.result import Result

NOTHING = np.zeros((1, 1, 1, 1), np.float32)  # any exit: decisions do not look into answers


class SteppedClock(Clock):
    """A clock at whatever instant it was set to, backwards too: caller and worker are at different instants of one run."""

    def __init__(self, start: float) -> None:
        self._now = start
        self._then: Optional[float] = None

    def now(self) -> float:
        """The present instant in ms."""
        now = self._now
        if self._then is not None:
            self._now, self._then = self._then, None
        return now

    def set(self, instant: float, then: Optional[float] = None) -> None:
        """Be at ``instant``; ``then``: at that one as soon as the time has been read once."""
        self._now, self._then = instant, then


class SimulatedFrame(Frame):
    """A frame of which every stage's duration is known; at ``until`` its caller takes what is there and cancels the rest.

    Attributes:
        until: that instant; None if the caller waits for the end.
        taken: what the caller took at ``until``; None if the frame was over before.
    """

    def __init__(
        self, clock: SteppedClock, durations: Mapping[str, float], until: Optional[float], cancel_ms: float
    ) -> None:
        self.execution: Optional[Execution] = None
        self.taken: Optional[Result] = None
        self._clock = clock
        self._durations = durations
        self.until = until
        self._cancel_ms = cancel_ms

    def run(self, stage: str) -> None:
        """Let the stage's time pass; if the caller cancels it, it still needs some ms to notice."""
        begun = self._clock.now()
        end = begun + self._durations[stage]
        until = self.until
        if until is None or end <= until or self.execution is None:
            self._clock.set(end)
            return
        self._clock.set(max(begun, until))
        self.execution.stop("budget")
        self.taken = self.execution.result("budget")
        stopped = self._clock.now() + self._cancel_ms
        self._clock.set(min(end, stopped))
        if end > stopped:
            raise StageCancelled(f"{stage} was cancelled")

    def read(self, name: str) -> np.ndarray:
        """The same for every exit."""
        return NOTHING

    def cancel(self) -> None:
        """Nothing: `run` knows."""


class ReplayedFrame(Frame):
    """A frame whose next stage ends at a given instant, as it did when it was recorded."""

    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock
        self._next: Tuple[float, float, Optional[BackendError]] = (0.0, 0.0, None)
        self._ready: Optional[float] = None

    def set_ready(self, instant: Optional[float]) -> None:
        """What the next stage reads is made ready by that instant; None: there is nothing to do."""
        self._ready = instant

    def prepare(self, stage: str) -> bool:
        """Let the time pass until then."""
        if self._ready is None:
            return False
        self._clock.set(self._ready)
        return True

    def set_next(self, ended: float, over: float, error: Optional[BackendError]) -> None:
        """The next stage ends at the instant ``ended``, with ``error`` if it was cut; the frame is over at ``over`` then."""
        self._next = (ended, over, error)

    def run(self, stage: str) -> None:
        """Let the time pass until the recorded end."""
        ended, over, error = self._next
        self._clock.set(ended, None if error is None else over)
        if error is not None:
            raise error

    def read(self, name: str) -> np.ndarray:
        """The same for every exit."""
        return NOTHING

    def cancel(self) -> None:
        """Nothing: what was cancelled is recorded."""
