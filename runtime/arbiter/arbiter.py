"""Several sessions, one budget a frame: it is spent where the next stage gains most, and the answers are there in time."""

import threading
from collections import deque
from typing import Callable, Deque, Mapping, NamedTuple, Optional, Sequence, Union

from edgekit.errors import EdgekitError, InputError, OptionError
from edgekit.runtime.arbiter.members import Inputs, Member, Terms
from edgekit.runtime.arbiter.pace import Pace
from edgekit.runtime.arbiter.round import LEAST_MS, OnExit, Round
from edgekit.runtime.arbiter.shared import SharedResult
from edgekit.runtime.arbiter.worth import Utilities
from edgekit.runtime.budget import check_budget, check_deadline
from edgekit.runtime.clock import Clock
from edgekit.runtime.closing import Closing
from edgekit.runtime.device.priority import Priority
from edgekit.runtime.device.turns import ask_for_short_turns
from edgekit.runtime.errands import GONE_MS, Errands
from edgekit.runtime.execution import Execution, Plan
from edgekit.runtime.job import TAKING_S
from edgekit.runtime.punctuality import MOST_RESERVED, WayBack
from edgekit.runtime.session import Session

# An arbiter is to be late in no frame: its callers are given twice what the rarest way back took, as long as that is not more than
# this share of a budget. In real time, long ways are stalls of the machine, which must not take the time of all frames. At normal
# priority a kernel leaves a caller waiting behind the very stage that he is to cancel, until its next tick: every third one,
# for up to 4 ms where that comes 250 times a second.
FARTHER, SPENT = 2.0, {"realtime": 0.08, "normal": 0.25}


class Share(NamedTuple):
    """A session, and how it shares the budget.

    Attributes:
        session: stays its owner's: the arbiter does not close it.
        weight: what its best exit is worth.
        priority: nothing of a session of lower priority costs one of higher priority an exit; equal ones share.
        minimum: the stage whose exit must be reached, if it fits, before anything else runs.
        utilities: of its exits, by stage or in order, at most 1 by habit; see `edgekit.runtime.arbiter.worth.utilities_of`.
    """

    session: Session
    weight: float = 1.0
    priority: int = 0
    minimum: Optional[str] = None
    utilities: Utilities = None


class Arbiter(Closing):
    """Answers frames with several networks at once. Frames from several threads take turns.

    Args:
        shares: sessions, or sessions with their terms, by the names that results and inputs have.
        priority: ``realtime`` as in `edgekit.load`.

    Raises:
        OptionError: there are none, or their terms or clocks do not fit together.
    """

    def __init__(self, shares: Mapping[str, Union[Session, Share]], priority: str = "normal") -> None:
        if not isinstance(shares, Mapping) or not shares:
            raise OptionError("an arbiter needs sessions by name: Arbiter({'depth': session, ...})")
        agreed = {name: one if isinstance(one, Share) else Share(one) for name, one in shares.items()}
        for name, one in agreed.items():
            if not isinstance(one.session, Session):
                raise OptionError(
                    f"{name}: {one.session!r:.80} is no session; load one with edgekit.load(path)"
                )
        sessions = [one.session for one in agreed.values()]
        if len({id(session) for session in sessions}) < len(sessions):
            raise OptionError("an arbiter's sessions must be different ones: load the bundle twice")
        if len({id(one.clock) if type(one.clock) is not Clock else 0 for one in sessions}) > 1:
            raise OptionError("an arbiter's sessions must be on one clock: load them with the same clock=")
        self.clock = sessions[0].clock
        self.members = tuple(_member(name, one) for name, one in agreed.items())
        self._pace = Pace((one.name, one.plan.stages) for one in self.members)
        self._priority = Priority(priority)
        # At normal priority, who has to cancel a stage is late in some frames: none is begun that most likely must be.
        self._tries = priority == "realtime"
        self._returns = WayBack(FARTHER, SPENT[priority])
        self._most_reserved = max(MOST_RESERVED, SPENT[priority])
        self._changed = threading.Condition()
        self._waiting: Deque[_Asked] = deque()
        self._current: Optional[_Asked] = None
        self._errands = Errands()
        self._thread: Optional[threading.Thread] = None
        self._closed = False

    def infer(
        self,
        budget_ms: Optional[float] = None,
        on_exit: Optional[OnExit] = None,
        **inputs: Inputs,
    ) -> SharedResult:
        """The best answers to one frame that the budget allows, all networks together.

        Args:
            budget_ms: from this call to its return, preprocessing included; None runs every stage that gains anything.
            on_exit: called with the network's name and a `Result` for every exit, on the arbiter's thread: be quick.
            inputs: by network, what its session's `infer` takes: ``depth={"left": ..., "right": ...}``. A network that is
                given none is left out of this frame.

        Raises:
            InputError: an input cannot be used.
            OptionError: the budget is not a positive number, or there is no such network.
            EdgekitError: the arbiter or a session is closed.
        """
        started = self.clock.now()
        return self._infer(started, check_budget(budget_ms), on_exit, inputs)

    def infer_by(self, deadline: float, on_exit: Optional[OnExit] = None, **inputs: Inputs) -> SharedResult:
        """`infer` by an instant of the sessions' clock, such as ``arbiter.clock.now() + 30``.

        Raises:
            OptionError: the deadline is no number, or of another clock.
            InputError, EdgekitError: as `infer`.
        """
        started = self.clock.now()
        return self._infer(started, check_deadline(deadline, started), on_exit, inputs)

    def answer_by(
        self, deadline: Optional[float], on_exit: Optional[OnExit] = None, **inputs: Inputs
    ) -> SharedResult:
        """`infer_by` for a stream of frames: without any answer at the deadline, the first one is waited for.

        At the return, nothing of the frame runs any more. The deadline may have passed; None is without one.

        Raises:
            OptionError, InputError, EdgekitError: as `infer_by`.
        """
        started = self.clock.now()
        left = None if deadline is None else max(check_deadline(deadline, started), LEAST_MS)
        return self._infer(started, left, on_exit, inputs, lasting=True)

    def cancel(self) -> None:
        """End the frames that run and those that wait; whoever asked gets what they have reached. From any thread."""
        with self._changed:
            for asked in list(self._waiting) + ([] if self._current is None else [self._current]):
                asked.round.stop("cancelled")

    def close(self) -> None:
        """Cancel what runs and join the thread; the sessions stay open. May be called twice."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self.cancel()
            self.clock.notify_all(self._changed)
        if thread is not None:
            thread.join()

    def _infer(
        self,
        started: float,
        budget_ms: Optional[float],
        on_exit: Optional[OnExit],
        inputs: Mapping[str, Inputs],
        lasting: bool = False,
    ) -> SharedResult:
        known = [member.name for member in self.members]
        for name in inputs:
            if name not in known:
                raise OptionError(f"there is no network {name!r}; there are {', '.join(known)}")
            if not isinstance(inputs[name], Mapping):
                raise InputError(
                    f"{name}: give its inputs by name, as in {name}={{'left': left, 'right': right}}"
                )
        if on_exit is not None and not callable(on_exit):
            raise OptionError(
                f"on_exit={on_exit!r:.80}: must be a function of a network's name and a Result, or None"
            )
        members = [member for member in self.members if member.name in inputs]
        if not members:
            raise OptionError(f"no inputs were given; give those of {', '.join(known)}, each as a dictionary")
        reserve = self._reserve_ms(budget_ms, members)
        frame = Round(
            members,
            self._pace,
            inputs,
            self.clock,
            started,
            budget_ms,
            reserve,
            on_exit,
            lasting,
            self._tries,
        )
        asked = _Asked(frame, lasting)
        ask_for_short_turns()
        with self._priority.waiting() as raised:
            raised.lower_later(self._call_soon)
            try:
                self._run(asked)
                if asked.error is not None:
                    raise asked.error
                shared = _shared(asked.round, self.clock)
            finally:
                asked.gone.set()
            if asked.due is not None and not lasting:
                self._returns.add(self.clock.now() + self.clock.leaving_ms - asked.due)
            return shared

    def _run(self, asked: "_Asked") -> None:
        """Have the frame run until it is over, or its time is up.

        As long as there is no answer at all, nothing is lost by waiting for one to the very deadline.
        """
        frame = asked.round
        with self._changed:
            if self._closed:
                raise EdgekitError("the arbiter is closed; make another one")
            self._waiting.append(asked)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="edgekit-arbiter", daemon=True)
                self._thread.start()
            self.clock.notify_all(self._changed)
            until = frame.exit_by
            self._wait(asked, until)
            if until is not None and not asked.over and not frame.answered and frame.budget_ms is not None:
                back = min(self._returns.seldom_ms, self._most_reserved * frame.budget_ms)
                until = None if asked.lasting else frame.started + frame.budget_ms - back
                asked.watched = True
                self._wait(asked, until, answered=True)
            if until is not None:
                asked.due = min(frame.reached, until) if asked.over else min(asked.ready or until, until)
                if asked.lasting:  # he was told of every answer: all that he waits for is the end
                    self._returns.add(self.clock.now() - asked.due)
            if asked in self._waiting:
                self._waiting.remove(asked)
            if not asked.over:
                frame.stop("budget")
                if asked.lasting:
                    self._wait(asked, None)

    def _wait(self, asked: "_Asked", until: Optional[float], answered: bool = False) -> None:
        while not asked.over and not (answered and asked.round.answered):
            if until is not None and self.clock.now() >= until:
                return
            self.clock.wait(self._changed, until)

    def _reserve_ms(self, budget_ms: Optional[float], members: Sequence[Member]) -> float:
        if budget_ms is None:
            return 0.0
        answering = sum(member.answering_ms for member in members)
        return min(max(self._returns.reserve_ms(budget_ms), answering), self._most_reserved * budget_ms)

    def _call_soon(self, what: Callable[[], object]) -> None:
        with self._changed:
            if not self._closed:
                if self._errands.add(what, self.clock.now() + GONE_MS) and self._current is None:
                    self.clock.notify_all(self._changed)
                return
        what()

    def _work(self) -> None:
        with self._priority.working():
            while True:
                with self._changed:
                    self._errands.frame_over(self.clock.now())
                    while not self._waiting and not self._closed:
                        self.clock.wait(self._changed, self._errands.sleep_until(self.clock.now()))
                    if not self._waiting:
                        self._errands.run(None)
                        return
                    asked = self._current = self._waiting.popleft()
                self._work_on(asked)

    def _work_on(self, asked: "_Asked") -> None:
        try:
            while asked.round.step(lambda: self._let_go(asked)):
                pass
        except Exception as error:  # the caller's: an input that cannot be used, a callback that raises
            asked.error = error
            asked.round.end("error")
        finally:
            with self._changed:
                asked.over = True
                self._current = None
                self.clock.notify_all(self._changed)

    def _let_go(self, asked: "_Asked") -> None:
        """If the time of whoever waits is up, keep still until he has his answers: of two threads, Python runs one at a time.

        Called as soon as a stage has ended, before anything is learnt from it.
        """
        if asked.watched and asked.round.answered and asked.ready is None:
            with self._changed:
                asked.ready = self.clock.now()
                self.clock.notify_all(self._changed)
        elif asked.round.exit_by is None or self.clock.now() < asked.round.exit_by:
            return
        if not asked.lasting:
            asked.gone.wait(TAKING_S)


class _Asked:
    """A frame that somebody waits for."""

    def __init__(self, frame: Round, lasting: bool) -> None:
        self.round = frame
        # Its caller needs an answer however late, and returns when nothing runs any more
        self.lasting = lasting
        self.over = False
        self.watched = False  # its caller waits for the first answer, whatever network's
        self.ready: Optional[float] = None  # when that was there
        self.due: Optional[float] = None  # when its caller was to be on his way
        self.gone = threading.Event()  # he has his answers
        self.error: Optional[Exception] = None


def _member(name: str, share: Share) -> Member:
    session = share.session

    def begin(started: float, budget_ms: Optional[float], inputs: Inputs, plan: Plan) -> Execution:
        return session.begin(started, budget_ms, inputs, plan=plan)

    terms = Terms(share.weight, share.priority, share.minimum, share.utilities)
    return Member(name, session.manifest, session.plan, session.trying, begin, session.turn, terms)


def _shared(frame: Round, clock: Clock) -> SharedResult:
    results = frame.results(frame.reason or "budget")
    members = {name: turn.member for name, turn in frame.turns.items()}
    reached = {name: result.stage for name, result in results.items()}
    utility = sum(members[name].utilities[stage] for name, stage in reached.items() if stage is not None)
    lacking = tuple(name for name, one in members.items() if one.lacks(reached[name]))
    failed = all(result.reason == "error" and result.stage is None for result in results.values())
    reason = "error" if failed else frame.reason or "budget"
    elapsed = clock.now() - frame.started
    slack = None if frame.budget_ms is None else frame.budget_ms - elapsed
    return SharedResult(
        results,
        utility,
        lacking,
        elapsed,
        slack,
        slack is not None and slack < 0,
        reason,
        frame.made,
        frame.budget_ms,
        frame.started,
    )
