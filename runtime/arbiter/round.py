"""One frame of several networks: chooses, runs what was chosen, and keeps what was reached and why for anyone to read."""

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from edgekit.runtime.arbiter.choosing import Choice, Next, choose
from edgekit.runtime.arbiter.members import Inputs, Member, Turn
from edgekit.runtime.arbiter.pace import Pace
from edgekit.runtime.arbiter.planning import Claim
from edgekit.runtime.clock import Clock
from edgekit.runtime.result import Result

OnExit = Callable[[str, Result], object]

# What is left for a first answer that is needed however late.
LEAST_MS = 1e-3
# A stage that takes at most such a share of what is left follows the one before it as it was planned, unless that was late by the
# other share: to choose would take as long.
SHORT, LATE = 0.15, 0.05
# What is run before a network's first stage, by its name in the records.
INPUTS = "inputs"


class Made(NamedTuple):
    """A choice, when it was made (ms after the call), what was run (`INPUTS`, a stage or nothing), and how long it took."""

    at_ms: float
    choice: Choice
    ran: Optional[str]
    took_ms: float


class Round:
    """`step` until it says False; `stop` and `results` may be called by other threads meanwhile.

    Args:
        members: the networks.
        pace: compares their models; it belongs to all frames of theirs.
        inputs: of each, by name.
        started: the instant of the call, in ms on ``clock``.
        budget_ms: from then on; None runs every stage that gains anything.
        reserve_ms: what of the budget the stages must leave, for waking whoever waits and for making the answers.
        on_exit: called with a network's name and its result, at every exit.
        lasting: without any answer, the time for one is never up.
        tries: time that nothing else can use is spent on what is seldom in time.
    """

    def __init__(
        self,
        members: Sequence[Member],
        pace: Pace,
        inputs: Mapping[str, Inputs],
        clock: Clock,
        started: float,
        budget_ms: Optional[float],
        reserve_ms: float = 0.0,
        on_exit: Optional[OnExit] = None,
        lasting: bool = False,
        tries: bool = True,
    ) -> None:
        self.started = started
        self.budget_ms = budget_ms
        self.exit_by = None if budget_ms is None else started + budget_ms - reserve_ms
        self.reason: Optional[str] = None
        self.reached = started  # the instant of the last change
        self.turns = {one.name: Turn(one, started, budget_ms, inputs[one.name]) for one in members}
        self.made: Tuple[Made, ...] = ()
        self._clock = clock
        self._pace = pace
        self._on_exit = on_exit
        self._lasting = lasting
        self._tries = tries
        self._stopped: Optional[str] = None
        # What was planned right after the last stage, if that took no longer than expected
        self._then: Tuple[Next, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether any network has an answer."""
        return any(turn.exit is not None for turn in self.turns.values())

    def step(self, ended: Callable[[], object] = lambda: None) -> bool:
        """Choose a stage and run it; False if the frame is over.

        Args:
            ended: called as soon as the stage has ended, before anything is learnt from it.

        Raises:
            InputError: the inputs of the network that was chosen cannot be used.
        """
        now = self._clock.now()
        if not self.made:
            for turn in self.turns.values():
                turn.member.plan.stages.begin(now)
        if self._stopped is not None:
            self.end(self._stopped)
            return False
        spare = self._spare if self._tries else None
        choice = self._following(now) or choose(self._claims(), self._left(now), self._bold, spare)
        if choice.network is None or choice.stage is None:
            self._note(now, choice, None)
            self.end(choice.reason)
            return False
        turn = self.turns[choice.network]
        if turn.execution is None:
            expected, begun = turn.member.preparing_ms, self._clock.now()
            turn.prepare()
            self._note(now, choice, INPUTS)
            if self._stopped is not None or self._clock.now() - begun > expected:
                return True  # choose again
            now = self._clock.now()
        begun = self._clock.now()
        reached = turn.run(choice.stage, choice.reason, ended)
        after = self._clock.now()
        if reached:
            self._pace.beside(after - now - turn.last_ms)
        late = after - begun - (choice.predicted_ms or 0.0)
        soon = reached and not turn.over and late <= LATE * (self._left(after) or 0.0)
        self._then = choice.then if soon else ()
        self._pace.ran(choice.network)
        self._note(now, choice, choice.stage)
        if reached and self._on_exit is not None:
            assert turn.execution is not None
            self._on_exit(choice.network, turn.execution.result())
        return True

    def stop(self, reason: str) -> None:
        """End the frame from another thread: the stage that runs is cancelled, and no other begins."""
        self._stopped = reason
        for turn in self.turns.values():
            turn.stop(reason)

    def end(self, reason: str) -> None:
        """Declare the frame over, on the thread that steps it, and give all inputs back."""
        if self.reason is None:
            for turn in self.turns.values():
                turn.end(reason)
            now = self._clock.now()
            for turn in self.turns.values():
                if turn.execution is None:
                    turn.member.plan.stages.end(now)
                    turn.member.plan.stages.rest()
                    turn.member.passed_over()
            self._pace.over()
            self.reason, self.reached = reason, now

    def results(self, reason: str) -> Dict[str, Result]:
        """What every network has reached; ``reason`` for those that could have gone on."""
        return {name: turn.result(self._clock.now(), reason) for name, turn in self.turns.items()}

    def _following(self, now: float) -> Optional[Choice]:
        """The next stage of the same network, if it was planned and is short."""
        left = self._left(now)
        if not self._then or left is None or self._then[0].ms > SHORT * left:
            return None
        after, last = self._then[0], self.made[-1].choice
        return last._replace(
            stage=after.stage, exit=after.stage, predicted_ms=after.ms, gain=after.gain, left_ms=left,
            candidates=(), then=self._then[1:],
        )  # fmt: skip

    def _claims(self) -> List[Claim]:
        return [self._claim(turn) for turn in self.turns.values()]

    def _bold(self) -> List[Claim]:
        return [self._claim(turn, turn.member.bold) for turn in self.turns.values()]

    def _spare(self) -> List[Claim]:
        return [self._claim(turn, turn.member.spare) for turn in self.turns.values()]

    def _claim(self, turn: Turn, often: float = 1.0) -> Claim:
        return turn.claim(self._pace.factor(turn.member.name), often, self._pace.beside_ms)

    def _left(self, now: float) -> Optional[float]:
        if self.exit_by is None:
            return None
        left = self.exit_by - now
        return max(left, LEAST_MS) if self._lasting and not self.answered else left

    def _note(self, now: float, choice: Choice, ran: Optional[str]) -> None:
        after = self._clock.now()
        self.made += (Made(now - self.started, choice, ran, after - now),)
        self.reached = after
