"""Who answers a stream's frames: a session, or whatever else can be asked as one, such as several sessions in turns."""

import threading
from abc import ABC, abstractmethod
from typing import Callable, List, Mapping, Optional, Tuple

import numpy as np

from edgekit.runtime.clock import Clock
from edgekit.runtime.job import Job
from edgekit.runtime.latency import Distribution
from edgekit.runtime.result import Result
from edgekit.runtime.returning import AWAKE, MARGIN, MOST_RESERVED
from edgekit.runtime.session import Session

Tell = Callable[[Result], object]

# A frame whose time is up before it begins still gets its first exit, and a session wants a budget above 0.
LEAST_MS = 1e-3


class Answerer(ABC):
    """Answers one frame after the other.

    Attributes:
        clock: what its deadlines are instants of.
        exits: the stages that may answer, in rising order; () if that is not known.
    """

    clock: Clock
    exits: Tuple[str, ...] = ()

    @abstractmethod
    def answer(self, inputs: Mapping[str, np.ndarray], deadline: Optional[float], tell: Tell) -> Result:
        """Answer a frame and return once nothing of it runs any more; how it ended is the result.

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
        self._waking = Distribution()  # how late, where the deadline came first

    def answer(self, inputs: Mapping[str, np.ndarray], deadline: Optional[float], tell: Tell) -> Result:
        """See `Answerer.answer`."""
        told: List[Result] = []
        until = None if deadline is None else deadline - self._reserve_ms(deadline - self.clock.now())

        def on_exit(result: Result) -> None:
            told.append(_against(result, deadline))
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
                assert until is not None  # else only the end ends the waiting
                late = self.clock.now() - until
                if told:
                    job.stop("budget")
                    self._waking.add(max(late, 0.0))
                job.wait(None)
        with self._guard:
            self._job = None
        # Making the answer of a big picture takes a while: what was told is not made again.
        return told[-1] if told and told[-1].reason != "partial" else _against(job.result(), deadline)

    def stop(self) -> None:
        """See `Answerer.stop`."""
        self._stopped = True
        self._end("cancelled")

    def _reserve_ms(self, left: float) -> float:
        """How much earlier than the deadline this thread must be woken, so that it cancels a stage by then."""
        late = self._waking.quantile(AWAKE) or 0.0
        return max(min(MARGIN * late, MOST_RESERVED * left), 0.0)

    def _end(self, reason: str) -> None:
        with self._guard:
            if self._job is not None:
                self._job.stop(reason)


def _against(result: Result, deadline: Optional[float]) -> Result:
    """The result as seen from the frame's deadline, which is later than what the session was told."""
    if deadline is None:
        return result
    slack = deadline - result.started - result.elapsed_ms
    missed = slack < 0 or result.output is None
    return result._replace(budget_ms=deadline - result.started, slack_ms=slack, missed=missed)
