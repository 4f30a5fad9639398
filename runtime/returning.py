"""Returning on time: a frame runs on the session's own thread while its caller waits, no longer than the budget allows."""

import threading
from typing import Optional

from edgekit.runtime.clock import Clock
from edgekit.runtime.execution import ANSWERING, Execution, Plan
from edgekit.runtime.job import Job, Worker
from edgekit.runtime.latency import Distribution
from edgekit.runtime.priority import Priority
from edgekit.runtime.result import Result

# How long before his deadline a caller wants to be woken: what his waking stayed below in all but one of a hundred frames,
# and half as much again, since few frames are waited for to the very end, and each that is and wakes late answers late.
AWAKE, MARGIN = 0.99, 1.5
# Of the first wakings, those of a warm-up, the latest says little about the latest of a hundred: as much again is added at
# first, fading over so many.
FEW = 50
# Of a budget, for what is not a stage: a machine that wakes threads late (by 6 ms and more, where others want all of its
# cores) must not keep frames from beginning at all.
MOST_RESERVED = 0.15


class Returning:
    """Runs the frames of one session in the background, and knows how much earlier than his deadline a caller must be woken.

    Attributes:
        worker: the thread, which takes submitted frames as well.
    """

    def __init__(self, plan: Plan, name: str, turn: threading.Lock, priority: Priority) -> None:
        self.worker = Worker(name, turn, plan.clock, priority)
        self._plan = plan
        self._priority = priority
        self._clock: Clock = plan.clock
        self._waking = Distribution()
        self._guard = threading.Lock()

    def reserve_ms(self, budget_ms: Optional[float], returning: bool) -> float:
        """What the stages must leave of a budget: for making the answer and, if the caller is ``returning``, for waking him."""
        if budget_ms is None:
            return 0.0
        reserve = self._plan.overhead.predict(ANSWERING) or 0.0
        if returning:
            with self._guard:
                late, few = self._waking.quantile(AWAKE), max(0.0, 1 - self._waking.count / FEW)
            reserve += (MARGIN + few) * (late or 0.0)
        return min(reserve, MOST_RESERVED * budget_ms)

    def warm_up(self, execution: Execution) -> None:
        """Run a frame that nobody hurries for as those are run that somebody does: then it is known how late a caller wakes."""
        with self._priority.waiting():
            job = Job(execution, self._clock)
            self.worker.add(job)
            job.wait(None)
            self._note(self._clock.now() - execution.progress.reached)

    def run(self, execution: Execution) -> Result:
        """The answer of a frame that is run until it is over, or its time is up: then a stage that still runs is cancelled.

        Without any answer yet, nothing is lost by waiting for one as long as it can still be in time.
        """
        call = execution.call
        assert call.deadline is not None and call.exit_by is not None
        job = Job(execution, self._clock)
        self.worker.add(job)
        until = call.exit_by
        over = job.wait(until)
        if not over and not execution.progress.exits:
            until = call.deadline - min(self._usual_ms(), MOST_RESERVED * (call.deadline - call.started))
            over = job.wait_for_exit(until)
        late = self._clock.now() - (min(execution.progress.reached, until) if over else until)
        if not job.done():
            self.worker.withdraw(job, "budget")
        self._note(late)
        result = execution.result("budget")
        job.taken()
        return result

    def _usual_ms(self) -> float:
        """From an exit to its caller's answer."""
        with self._guard:
            waking = self._waking.quantile(0.5) or 0.0
        return waking + (self._plan.overhead.predict(ANSWERING, 0.5) or 0.0)

    def _note(self, late: float) -> None:
        with self._guard:
            self._waking.add(max(late, 0.0))
