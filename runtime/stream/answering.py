"""Who answers a stream's frames: a session, or whatever else can be asked as one, such as several sessions in turns."""

import threading
from abc import ABC, abstractmethod
from typing import Callable, List, Mapping, Optional, Tuple, Union

import numpy as np

from edgekit.runtime.clock import Clock
from edgekit.runtime.job import Job
from edgekit.runtime.latency import Distribution
from edgekit.runtime.punctuality import MOST_RESERVED
from edgekit.runtime.result import Result
from edgekit.runtime.session import Session

# Takes an exit's result and, where there are several networks, the name of the one whose it is.
Tell = Callable[..., object]

# A frame whose time is up before it begins still gets its first exit, and a session wants a budget above 0.
LEAST_MS = 1e-3
# The share of cancelled stages that should have ended by the deadline.
USUALLY = 0.9


class Answerer(ABC):
    """Answers one frame after the other.

    Attributes:
        clock: what its deadlines are instants of.
        exits: the stages that may answer, in rising order; () if that is not known. By network, where there are several.
    """

    clock: Clock
    exits: Union[Tuple[str, ...], Mapping[str, Tuple[str, ...]]] = ()

    @abstractmethod
    def answer(
        self, inputs: Mapping[str, np.ndarray], deadline: Optional[float], tell: Tell
    ) -> Union[Result, Mapping[str, Result]]:
        """Answer a frame and return once nothing of it runs any more; how it ended is the result, or that of every network.

        Args:
            inputs: by name.
            deadline: no stage should run longer; but a frame without an answer gets its first one, however late.
            tell: to be called with every exit's result as soon as it is there, from any thread; quick, and raises nothing.
                A ``reason`` of "partial" says that a better one may come.

        Raises:
            EdgekitError: there is no answer to this frame; the next one may be given.
        """

    @abstractmethod
    def stop(self) -> None:
        """Let the frame that runs, and those that are given later, end as soon as they can. From any thread."""


class SessionAnswerer(Answerer):
    """One session, whose frames run on its own thread while the stream's waits for their deadlines."""

    def __init__(self, session: Session) -> None:
        self.clock = session.clock
        self.exits = tuple(stage.name for stage in session.stages if stage.exit is not None)
        self._session = session
        self._guard = threading.Lock()
        self._job: Optional[Job] = None
        self._stopped = False
        self._overrun = Overrun()

    def answer(self, inputs: Mapping[str, np.ndarray], deadline: Optional[float], tell: Tell) -> Result:
        """See `Answerer.answer`."""
        told: List[Result] = []
        until = None if deadline is None else self._overrun.earlier(deadline, self.clock.now())

        def on_exit(result: Result) -> None:
            told.append(against(result, deadline))
            tell(told[-1])
            # The first exit may come so late that nothing else should begin.
            if until is not None and self.clock.now() >= until:
                self._end("budget")

        budget = None if until is None else max(until - self.clock.now(), LEAST_MS)
        # A stage that does not make it costs no answer, for it is cancelled in time.
        sure = None if until is None else self._session.trying
        with self._session.priority.waiting():
            job = self._session.submit(
                budget_ms=budget, latest=False, on_exit=on_exit, confidence=sure, **inputs
            )
            with self._guard:
                self._job = job
            if self._stopped:
                job.cancel()
            if not job.wait(until):
                assert until is not None  # else the end would have come first
                cancelled = bool(told)
                if cancelled:
                    job.stop("budget")
                job.wait(None)
                if cancelled:
                    self._overrun.add(self.clock.now() - until)
        with self._guard:
            self._job = None
        if not told or job.ended is None:
            return against(job.result(), deadline)
        # What was told is not made again, which takes a while for a big picture, and was there when it was told.
        reason, error = job.ended
        return told[-1]._replace(reason=reason, error=error)

    def stop(self) -> None:
        """See `Answerer.stop`."""
        self._stopped = True
        self._end("cancelled")

    def _end(self, reason: str) -> None:
        with self._guard:
            if self._job is not None:
                self._job.stop(reason)


class Overrun:
    """How much earlier than the deadline a stage is to be cancelled, from how long those that were took to end.

    Until whoever waits is woken, and the stage has come to the end of an operator, the next frame cannot begin.
    """

    def __init__(self) -> None:
        self._took = Distribution()

    def add(self, took_ms: float) -> None:
        """One that was cancelled ended so long after the instant at which it was to be."""
        self._took.add(max(took_ms, 0.0))

    def earlier(self, deadline: float, now: float) -> float:
        """The instant at which a frame with this deadline is to be ended."""
        left = deadline - now
        return deadline - max(min(self._took.quantile(USUALLY) or 0.0, MOST_RESERVED * left), 0.0)


def against(result: Result, deadline: Optional[float]) -> Result:
    """The result as seen from the frame's deadline, which is later than what the session was told."""
    if deadline is None:
        return result
    slack = deadline - result.started - result.elapsed_ms
    missed = slack < 0 or result.output is None
    return result._replace(budget_ms=deadline - result.started, slack_ms=slack, missed=missed)
