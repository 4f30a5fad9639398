"""Returning on time: a frame runs on the session's own thread while its caller waits, no longer than the budget allows."""

import threading
from typing import Callable, Optional, Tuple

from edgekit.runtime.clock import Clock
from edgekit.runtime.device.priority import Priority, Raised
from edgekit.runtime.device.system import usable_cores
from edgekit.runtime.errands import GONE_MS
from edgekit.runtime.execution import Execution, Plan
from edgekit.runtime.job import Job, Worker
from edgekit.runtime.punctuality import MOST_RESERVED, WITHIN, WayBack
from edgekit.runtime.result import Result

# How long before he sets out a caller makes the answer that he has so far, in ms: several times what that takes. He stays awake
# from then on where a stage has a processor left: to be woken takes 0.1 ms in the median, and 0.3 in one case of fifty.
AHEAD = 0.3


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
        self._returns = WayBack()

    def reserve_ms(self, budget_ms: Optional[float], returning: bool) -> float:
        """What the stages must leave of a budget: for making the answer and, if the caller is ``returning``, for his way back."""
        if budget_ms is None:
            return 0.0
        reserve = self._returns.reserve_ms(budget_ms) if returning else self._plan.overhead.predict()
        return min(reserve or 0.0, MOST_RESERVED * budget_ms)

    def warm_up(self, execution: Execution) -> None:
        """Run a frame that nobody hurries for as those are run that somebody does: then it is known how late a caller wakes."""
        with self._priority.waiting():
            job = Job(execution, self._clock)
            self.worker.add(job)
            job.wait(None)
            self._returns.add(self._clock.now() - execution.progress.reached)

    def run(self, execution: Execution, raised: Raised) -> Tuple[Result, Callable[[], None]]:
        """The answer of a frame that is run until it is over, or its time is up: then a stage that still runs is cancelled.

        Its caller stays ``raised`` until `GONE_MS` after he has gone, to use his answer. The last thing that he does is to call what
        is returned beside it, so that it is known how long his way back was.

        Without any answer yet, nothing is lost by waiting for one as long as it can still be in time.
        """
        call = execution.call
        assert call.deadline is not None and call.exit_by is not None
        job = Job(execution, self._clock)
        self.worker.add(job)
        due = call.exit_by
        came: Optional[float] = None
        first = False
        draft = self._draft(job, execution, due - AHEAD)
        if job.wait(due, awake=draft is not None and usable_cores() > 1):
            came = min(execution.progress.reached, due)
        elif not execution.progress.exits:
            first = True
            due = call.deadline - min(self._returns.seldom_ms, MOST_RESERVED * (call.deadline - call.started))
            if job.wait_for_exit(due):
                came = execution.progress.reached
        if not job.done():
            self.worker.withdraw(job, "budget")
        try:
            result = (draft and execution.refreshed(draft)) or execution.result("budget")
        finally:
            job.taken()
        raised.lower_later(lambda lower: self.worker.call(lower, self._clock.now() + GONE_MS))
        return result, lambda: self._gone(due, came, first)

    def _gone(self, due: float, came: Optional[float], first: bool) -> None:
        """A caller goes on who was to set out at ``due``, or when the answer ``came``; ``first``: there was none before."""
        now = self._clock.now() + self._clock.leaving_ms
        if came is not None:
            # Who waits for a first answer is late by what he takes, whatever is reserved
            self._returns.add(now - came, WITHIN if first else due - came)
        elif first:
            self._returns.add_without(now - due)
        else:
            self._returns.add(now - due)

    def _draft(self, job: Job, execution: Execution, at: float) -> Optional[Result]:
        """The answer as it is at the instant ``at``, so that there is nothing left to make when the caller sets out.

        None if there is none, or the frame is over by then.
        """
        if job.wait(at, goes=False) or not execution.progress.exits:
            return None
        return execution.result("budget")
