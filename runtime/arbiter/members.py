"""The networks among which a budget is shared: what each may claim in a frame, and how a stage of it is run when it is told to."""

import threading
from numbers import Integral, Real
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Manifest
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.alternatives import ladder
from edgekit.runtime.arbiter.ordering import EVEN, SURE
from edgekit.runtime.arbiter.planning import Claim, Option
from edgekit.runtime.arbiter.worth import Utilities, check_minimum, utilities_of
from edgekit.runtime.execution import Execution, Plan
from edgekit.runtime.latency import Distribution
from edgekit.runtime.policies import Reached
from edgekit.runtime.result import Result
from edgekit.runtime.scheduler import Decision, Scheduler

# How much less sure to be with every frame that a network is left out of, down to an even chance: one that was slow a few times
# and does not run any more would never be seen to be faster.
FADING = 0.004
# What is left, frame by frame, of what making inputs ready was seen to take, while a network does not get to do it. The first
# time takes long, and a network that was left out for that would never be seen to take less. What is half forgotten is not
# counted any more once there is something newer.
REMEMBERED = 0.97

Inputs = Mapping[str, object]
# Starts a frame of a network: the instant of the call, its budget, its inputs, and the plan to run it by.
Begin = Callable[[float, Optional[float], Inputs, Plan], Execution]


class Terms(NamedTuple):
    """What the networks were put together with; see `edgekit.runtime.arbiter.Share`."""

    weight: float = 1.0
    priority: int = 0
    minimum: Optional[str] = None
    utilities: Utilities = None


class Told(Scheduler):
    """Stands in for a session's own scheduler, and decides what it was told; the policies stay the session's."""

    def __init__(self, own: Scheduler) -> None:
        self.policies = own.policies
        self._own = own
        self._decision = Decision(False, None, None, "final")

    def tell(self, decision: Decision) -> None:
        """What the next decision is to be."""
        self._decision = decision

    def improves(self, stage: str, exits: Sequence[Tuple[str, np.ndarray]]) -> bool:
        """See `Scheduler.improves`."""
        return self._own.improves(stage, exits)

    def prepared(self, stage: str, duration: float) -> None:
        """See `Scheduler.prepared`."""
        self._own.prepared(stage, duration)

    def next(
        self,
        now: float,
        deadline: Optional[float],
        finished: int,
        exits: Sequence[Tuple[str, np.ndarray]] = (),
        confidence: Optional[float] = None,
        cheapest_first: bool = False,
    ) -> Decision:
        """See `tell`."""
        return self._decision


class Member:
    """One network among several, for as long as they share budgets.

    Args:
        name: what it is called among them.
        manifest: of the network.
        plan: its session's.
        trying: how sure its session is that a stage fits which it tries.
        begin: starts a frame.
        turn: to be held while a stage runs.
        terms: what was agreed.

    Raises:
        OptionError: the terms name an exit that there is not, or are no numbers.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        plan: Plan,
        trying: float,
        begin: Begin,
        turn: threading.Lock,
        terms: Terms,
    ) -> None:
        weight: object = terms.weight  # what a user gave, whatever it should be
        priority: object = terms.priority
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 < terms.weight < float("inf"):
            raise OptionError(f"weight={weight!r} of {name}: must be a number above 0")
        if not isinstance(priority, Integral):
            raise OptionError(f"priority={priority!r} of {name}: must be a whole number; higher comes first")
        check_minimum(manifest, terms.minimum)
        self.name = name
        self.manifest = manifest
        self.plan = plan
        self.spare = trying
        self.bold = max(trying, EVEN)  # who is bolder takes time from others
        self.trying = max(trying, SURE)
        self.begin = begin
        self.turn = turn
        self.terms = terms
        self.ways = ladder(manifest)
        worth = utilities_of(manifest, terms.utilities)
        self.utilities = {exit_name: terms.weight * value for exit_name, value in worth.items()}
        exits = [way.exit for way in self.ways]
        self.enough = set(exits if terms.minimum is None else exits[exits.index(terms.minimum) :])
        self._preparing = Distribution()
        self._left_out = 0  # frames since a stage of it ran

    @property
    def preparing_ms(self) -> float:
        """What making the inputs ready takes at most; 0 as long as nobody knows."""
        known = self._preparing.quantile(self.trying) or 0.0
        return known * REMEMBERED**self._left_out

    @property
    def answering_ms(self) -> float:
        """What making the answer from an exit takes at most; 0 as long as nobody knows."""
        return self.plan.overhead.predict() or 0.0

    def lacks(self, reached: Optional[str]) -> bool:
        """Whether the exit of the stage ``reached``, or none, is less than it must have."""
        return self.terms.minimum is not None and reached not in self.enough

    def prepared(self, took: float) -> None:
        """Take in how long making the inputs ready has just taken."""
        if REMEMBERED**self._left_out < 0.5:
            self._preparing = Distribution()
        self._preparing.add(took)

    def ran(self) -> None:
        """A stage of it has just run."""
        self._left_out = 0

    def passed_over(self) -> None:
        """A frame in which it had inputs is over, and nothing of it ran."""
        self._left_out += 1

    def stage_ms(self, stage: str, often: float = 1.0) -> Optional[float]:
        """What ``stage`` takes in that share of frames, or as sure as stages of this network need be, if that is less.

        None if it never ran.
        """
        sure = max(self.trying - FADING * self._left_out, EVEN)
        return self.plan.stages.predict(stage, min(often, sure))


class Turn:
    """One frame of one member: not begun, running, or over."""

    def __init__(self, member: Member, started: float, budget_ms: Optional[float], inputs: Inputs) -> None:
        self.member = member
        self.execution: Optional[Execution] = None
        self._told = Told(member.plan.scheduler)
        self._plan = member.plan._replace(scheduler=self._told)
        self._frame = started, budget_ms, inputs
        self._stopped: Optional[str] = None

    @property
    def exit(self) -> Optional[str]:
        """The stage of the best exit reached."""
        exits = self.execution.progress.exits if self.execution is not None else ()
        return exits[-1][0] if exits else None

    @property
    def over(self) -> bool:
        """Whether no stage of it can run any more."""
        return self.execution is not None and self.execution.progress.reason is not None

    @property
    def utility(self) -> float:
        """Of the exit reached."""
        return self.member.utilities[self.exit] if self.exit is not None else 0.0

    @property
    def lacking(self) -> bool:
        """Whether it has not reached what it must at least."""
        return self.member.lacks(self.exit)

    @property
    def last_ms(self) -> float:
        """What its last stage took by itself; 0 before the first one that ran to its end."""
        ran = () if self.execution is None else self.execution.progress.stages
        return ran[-1][2] if ran else 0.0

    def claim(self, pace: float = 1.0, often: float = 1.0, beside_ms: float = 0.0) -> Claim:
        """What it could still reach, and what that takes, where its stages take ``pace`` times what its own model says.

        ``often`` is that of `Member.stage_ms`; ``beside_ms`` is what every stage takes besides.
        """
        member, utility, lacking = self.member, self.utility, self.lacking
        options: List[Option] = []
        if not self.over:
            ran = [] if self.execution is None else [name for name, _, _ in self.execution.progress.stages]
            extra = member.preparing_ms if self.execution is None else 0.0
            durations: Dict[str, Optional[float]] = {}
            for way in member.ways:
                enough = way.exit in member.enough
                if member.utilities[way.exit] <= utility and not (lacking and enough):
                    continue
                left = tuple(stage for stage in way.stages if stage not in ran)
                took: Optional[float] = extra
                for stage in left:
                    if stage not in durations:
                        durations[stage] = member.stage_ms(stage, often)
                    known = durations[stage]
                    took = None if took is None or known is None else took + pace * known + beside_ms
                if left:
                    options.append(Option(way.exit, left, took, member.utilities[way.exit], enough))
        return Claim(
            member.name, member.terms.priority, utility, lacking, tuple(options), self.exit is not None
        )

    def prepare(self) -> None:
        """Make the inputs ready; the frame is begun.

        Raises:
            InputError: they cannot be used.
            EdgekitError: the session is closed.
        """
        clock = self.member.plan.clock
        begun = clock.now()
        started, budget_ms, inputs = self._frame
        execution = self.member.begin(started, budget_ms, inputs, self._plan)
        self.member.prepared(clock.now() - begun)
        self.execution = execution
        if self._stopped is not None:  # while the inputs were made ready
            execution.stop(self._stopped)

    def run(self, stage: str, reason: str, ended: Callable[[], object]) -> bool:
        """Run ``stage``; whether that led to an exit. ``ended`` is called at once where it did, or was cancelled."""
        assert self.execution is not None
        before = len(self.execution.progress.exits)
        with self.member.turn:
            self._told.tell(Decision(True, stage, self.member.stage_ms(stage), reason))
            if self.execution.decide() == stage:
                self.execution.run(stage, ended)
                self.member.ran()
        reached = len(self.execution.progress.exits) > before
        if not reached:
            ended()
        else:
            self._ask_policies()
        return reached

    def stop(self, reason: str) -> None:
        """Cancel the stage that runs, from another thread, and let no other begin."""
        self._stopped = reason
        if self.execution is not None:
            self.execution.stop(reason)

    def end(self, reason: str) -> None:
        """No more stages of it run in this frame."""
        if self.execution is not None and not self.over:
            self._told.tell(Decision(False, None, None, reason))
            self.execution.decide()

    def result(self, now: float, reason: str) -> Result:
        """What it has reached by now; a network that failed before its first exit says so in ``error``."""
        started, budget_ms, _ = self._frame
        error = None
        if self.execution is not None:
            try:
                return self.execution.result(reason)
            except BackendError as failure:
                error, reason = str(failure), "error"
        elapsed = now - started
        slack = None if budget_ms is None else budget_ms - elapsed
        return Result(
            None, {}, None, elapsed, slack, True, reason, {}, {}, 0.0, budget_ms, started, {}, error=error
        )

    def _ask_policies(self) -> None:
        """An answer that is good enough ends the frame of this network, and what it leaves is the others'."""
        execution = self.execution
        assert execution is not None
        reached = Reached(self._plan.clock.now(), execution.call.exit_by, execution.progress.exits)
        for policy in self._told.policies:
            try:
                enough = policy.stop(reached)
            except Exception as error:  # a policy may be the user's own
                execution.end("error", f"a policy failed: {type(error).__name__}: {error}")
                return
            if enough is not None:
                self.end(enough)
                return
