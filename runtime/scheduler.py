"""Whether the next stage runs: pure decisions from instants it is given; it reads no clock and touches no device."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.policies import Policy, Reached


class Decision(NamedTuple):
    """What to do next.

    Attributes:
        run: whether ``stage`` is to run.
        stage: the stage that was decided on; None after the last.
        predicted_ms: how long ``stage`` will take at most, with the confidence asked for; None if unknown.
        reason: of running: ``fits``, ``unlimited`` (no deadline) or ``first`` (no answer yet, so one is worked for even
            if it comes late); of stopping: ``final`` (every stage has run), ``budget`` (the next answer would be late), or
            what a policy said.
    """

    run: bool
    stage: Optional[str]
    predicted_ms: Optional[float]
    reason: str


class Scheduler:
    """Runs a stage only if the next answer will be there before the deadline.

    Args:
        stages: name, and whether it has an exit, in the order in which they run.
        model: predicts their durations.
        policies: asked at every exit, in this order, whether its answer is good enough. None of them can make a stage run
            that does not fit.
    """

    def __init__(
        self, stages: Sequence[Tuple[str, bool]], model: LatencyModel, policies: Sequence[Policy] = ()
    ) -> None:
        self.policies = tuple(policies)
        self._has_exit = [has_exit for _, has_exit in stages]
        self._names = [name for name, _ in stages]
        self._model = model
        # For the k-th stage: the stages up to the next answer. One that has no exit is only worth running with those
        # that follow it, so all of them have to fit.
        self._until_exit: List[List[str]] = []
        for k in range(len(stages)):
            end = next((j for j in range(k, len(stages)) if stages[j][1]), None)
            self._until_exit.append([] if end is None else self._names[k : end + 1])
        self._first_exit = next((k for k, (_, has_exit) in enumerate(stages) if has_exit), len(stages))

    def improves(self, stage: str, exits: Sequence[Tuple[str, np.ndarray]]) -> bool:
        """Whether the exit of ``stage`` is a better answer than ``exits``: a later one always is."""
        return True

    def prepared(self, stage: str, duration: float) -> None:
        """Hear that the inputs of the network that ``stage`` begins were made ready in ``duration`` ms."""

    def next(
        self,
        now: float,
        deadline: Optional[float],
        finished: int,
        exits: Sequence[Tuple[str, np.ndarray]] = (),
        confidence: Optional[float] = None,
        cheapest_first: bool = False,
    ) -> Decision:
        """Decide on the stage after the ``finished`` first ones.

        Args:
            now, deadline: instants in ms on one clock; a deadline of None never comes.
            finished: how many stages of this frame have run.
            exits: stage and raw output of those that were reached, for the policies.
            confidence: how sure it must be that a stage fits; by default the model's.
            cheapest_first: where there are several networks, answer with the cheapest at once; see
                `edgekit.runtime.alternatives.Alternatives`.
        """
        if finished >= len(self._names) or not self._until_exit[finished]:
            return Decision(False, None, None, "final")
        stage = self._names[finished]
        foretell = self._model.predicted if deadline is None else self._model.predict
        predicted = foretell(stage, confidence)
        if self.policies and exits and self._has_exit[finished - 1]:
            reached = Reached(now, deadline, exits)
            for policy in self.policies:
                enough = policy.stop(reached)
                if enough is not None:
                    return Decision(False, stage, predicted, enough)
        if deadline is None:
            return Decision(True, stage, predicted, "unlimited")
        if finished <= self._first_exit:
            return Decision(True, stage, predicted, "first")
        needed = 0.0
        for name in self._until_exit[finished]:
            duration = self._model.predict(name, confidence)
            if duration is None:
                return Decision(False, stage, None, "budget")
            needed += duration
        fits = now + needed <= deadline
        return Decision(fits, stage, predicted, "fits" if fits else "budget")
