"""Returning on time: a frame runs on the session's own thread while its caller waits, no longer than the budget allows."""

import math
import threading
from typing import Optional

from edgekit.runtime.clock import Clock
from edgekit.runtime.device.priority import Priority
from edgekit.runtime.execution import ANSWERING, Execution, Plan
from edgekit.runtime.job import Job, Worker
from edgekit.runtime.latency import Distribution
from edgekit.runtime.result import Result

# How long before his deadline a caller is to come back: what his way back stayed below in all but one of a thousand frames, the
# share of late answers that is allowed.
RARE, MEMORY = 0.999, 1024
# Machines stall now and then, for ms: what that costs must not take the time of all frames. So that tail is only waited for up to
# this share of a budget, which costs about as much of what could be reached, or up to twice what is usual in all but one of a
# hundred.
SPENT, AWAKE, MARGIN = 0.04, 0.99, 2.0
# Of the first returns, those of a warm-up, the latest says little about the latest of a hundred: as much again is added at
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
        self._returns = Distribution(MEMORY)  # ms from when a caller was to come back until he had his answer
        self._guard = threading.Lock()

    def reserve_ms(self, budget_ms: Optional[float], returning: bool) -> float:
        """What the stages must leave of a budget: for making the answer and, if the caller is ``returning``, for his way back."""
        if budget_ms is None:
            return 0.0
        reserve = self._on_the_way_ms(budget_ms) if returning else self._plan.overhead.predict(ANSWERING)
        return min(reserve or 0.0, MOST_RESERVED * budget_ms)

    def _on_the_way_ms(self, budget_ms: float) -> float:
        with self._guard:
            count, rare, often = (
                self._returns.count,
                self._returns.quantile(RARE) or 0.0,
                self._returns.quantile(AWAKE) or 0.0,
            )
        # Of few returns, none was as late as the latest of many: twice as far out, four times as few are expected.
        rare *= math.sqrt(MEMORY / max(count, 1))
        few = max(0.0, 1 - count / FEW)
        return min(rare, max((MARGIN + few) * often, SPENT * budget_ms))

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
        due = call.exit_by
        if job.wait(due):
            due = min(execution.progress.reached, due)
        elif not execution.progress.exits:
            due = call.deadline - min(self._usual_ms(), MOST_RESERVED * (call.deadline - call.started))
            if job.wait_for_exit(due):
                due = execution.progress.reached
        if not job.done():
            self.worker.withdraw(job, "budget")
        try:
            result = execution.result("budget")
        finally:
            job.taken()
        self._note(call.started + result.elapsed_ms - due)
        return result

    def _usual_ms(self) -> float:
        """From an exit to its caller's answer."""
        with self._guard:
            return self._returns.quantile(0.5) or 0.0

    def _note(self, late: float) -> None:
        with self._guard:
            self._returns.add(max(late, 0.0))
