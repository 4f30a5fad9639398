"""One frame's way through the stages: runs what the scheduler allows, and keeps what was reached for anyone to read."""

import logging
from typing import Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from edgekit.bundle import Manifest
from edgekit.errors import BackendError
from edgekit.runtime.backends import Frame, StageCancelled
from edgekit.runtime.clock import Clock
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.overhead import Overhead
from edgekit.runtime.postprocess import answer
from edgekit.runtime.preprocess import Placement
from edgekit.runtime.result import Result
from edgekit.runtime.scheduler import Decision, Scheduler

log = logging.getLogger("edgekit")


class Plan(NamedTuple):
    """What all frames of a session share: the network, who decides, and what is known of durations.

    ``stages`` predicts their durations, ``overhead`` that of making the answer from an exit.
    """

    manifest: Manifest
    scheduler: Scheduler
    stages: LatencyModel
    overhead: Overhead
    clock: Clock


class Call(NamedTuple):
    """What one caller asked for: instants in ms on the session's clock.

    ``ready`` is when the inputs were prepared; ``reserve_ms`` is what the stages must leave of the budget; ``confidence`` is
    how sure the scheduler must be that a stage fits, None for the latency model's own; ``cheapest_first``: of several
    networks, the cheapest is to answer first.
    """

    started: float
    ready: float
    budget_ms: Optional[float]
    reserve_ms: float
    placement: Optional[Placement]
    confidence: Optional[float] = None
    cheapest_first: bool = False

    @property
    def deadline(self) -> Optional[float]:
        """The instant by which the caller wants the answer."""
        return None if self.budget_ms is None else self.started + self.budget_ms

    @property
    def exit_by(self) -> Optional[float]:
        """The instant by which the last exit must be there for that."""
        return None if self.budget_ms is None else self.started + self.budget_ms - self.reserve_ms


class Progress(NamedTuple):
    """What has been reached; replaced as a whole, so that other threads see one consistent state.

    ``stages``: name, beginning and duration in ms of those that have run; ``cut``: the same of the one that was cancelled or
    failed; ``prepared``: the same of making ready what a stage reads. ``decisions``: every one, with its instant. ``reason`` is None while more are to come.
    """

    stages: Tuple[Tuple[str, float, float], ...] = ()
    decisions: Tuple[Tuple[float, Decision], ...] = ()
    exits: Tuple[Tuple[str, np.ndarray], ...] = ()
    reached: float = 0.0  # the instant of the last change
    reason: Optional[str] = None
    error: Optional[str] = None
    cut: Optional[Tuple[str, float, float]] = None
    prepared: Tuple[Tuple[str, float, float], ...] = ()


class Execution:
    """One frame. `step` until it says False; `progress` and `result` may be read by other threads meanwhile."""

    def __init__(self, plan: Plan, frame: Frame, call: Call, release: Callable[[], None]) -> None:
        self.call = call
        self.progress = Progress(reached=call.ready)
        self._plan = plan
        self._frame = frame
        self._release = release
        self._stopped: Optional[str] = None
        # Copies of exits, by stage, in the results of a frame that went on
        self._given: Dict[str, np.ndarray] = {}
        self._exits = {stage.name: stage.exit for stage in plan.manifest.stages}
        self._numbers = {name: number for number, name in enumerate(self._exits, 1)}

    def decide(self) -> Optional[str]:
        """The next stage; None, and the frame is over, if there is to be none."""
        plan, progress = self._plan, self.progress
        if progress.reason is not None:
            return None
        now = plan.clock.now()
        if not progress.decisions:
            plan.stages.begin(now)
        try:
            call = self.call
            finished = self._numbers[progress.stages[-1][0]] if progress.stages else 0
            decision = plan.scheduler.next(
                now, call.exit_by, finished, progress.exits, call.confidence, call.cheapest_first
            )
        except Exception as error:  # a policy may be the user's own
            self.end("error", f"a policy failed: {type(error).__name__}: {error}")
            return None
        self.progress = progress._replace(decisions=progress.decisions + ((now, decision),))
        if self._stopped is not None:
            self.end(self._stopped)
        elif not decision.run:
            self.end(decision.reason)
        else:
            return decision.stage
        return None

    def step(self, reached: Optional[Callable[[], object]] = None) -> bool:
        """Decide on the next stage and run it; False if the frame is over. ``reached`` is that of `run`."""
        stage = self.decide()
        if stage is not None:
            self.run(stage, reached)
        return self.progress.reason is None

    def finish(self) -> None:
        """Run all that is to be run."""
        while self.step():
            pass

    def run(self, stage: str, reached: Optional[Callable[[], object]] = None) -> None:
        """Run ``stage``, which `decide` named; the frame is over if it fails or is cancelled.

        ``reached`` is called as soon as its exit can be read, before anything is learnt from it.
        """
        plan = self._plan
        begun = plan.clock.now()
        try:
            if self._frame.prepare(stage):
                begun = self._prepared(stage, begun)
            self._frame.run(stage)
            exit_name = self._exits[stage]
            if not plan.scheduler.improves(stage, self.progress.exits):
                exit_name = None
            output = None if exit_name is None else self._frame.read(exit_name)
        except StageCancelled:
            self._cut(stage, begun)
            self.end(self._stopped or "cancelled")
            if self.progress.cut is not None:
                plan.stages.learn_at_least(stage, self.progress.cut[2])
        except Exception as error:  # whatever a backend raises, what was reached before is still an answer
            self._cut(stage, begun)
            self.end("error", str(error) or type(error).__name__)
        else:
            now = plan.clock.now()
            progress = self.progress
            self.progress = progress._replace(
                stages=progress.stages + ((stage, begun, now - begun),),
                exits=progress.exits if output is None else progress.exits + ((stage, output),),
                reached=now,
            )
            if reached is not None and output is not None:
                reached()
            plan.stages.learn(stage, now - begun)

    def stop(self, reason: str) -> None:
        """End the frame from another thread: its running stage is cancelled, and no other begins."""
        if self._stopped is None:
            self._stopped = reason
        self._frame.cancel()

    def end(self, reason: str, error: Optional[str] = None) -> None:
        """Declare the frame over, on the thread that steps it, and give its inputs back."""
        if self.progress.reason is None:
            now = self._plan.clock.now()
            self.progress = self.progress._replace(reason=reason, error=error, reached=now)
            if self.progress.decisions:  # else it never began
                self._plan.stages.end(now)
                self._tell_policies(now - self.call.started)
            # It knows this frame: neither is to keep the other alive
            release, self._release = self._release, _nothing
            release()
            self._frame.end()

    def result(self, reason: Optional[str] = None, at: Optional[float] = None) -> Result:
        """The answer so far.

        Args:
            reason: why there is no more, where the frame itself does not say so.
            at: the instant until which time is counted; now by default.

        Raises:
            BackendError: the first stage failed, so that there is nothing to answer with.
        """
        plan, call, progress = self._plan, self.call, self.progress
        if progress.error is not None and not progress.exits:
            raise BackendError(progress.error)
        began = plan.clock.now()
        exits = dict(progress.exits)
        # Later stages read them: what the caller does to his is his alone
        if progress.reason is None and reason is None:
            exits = {name: self._copied(name, array) for name, array in exits.items()}
        stage = progress.exits[-1][0] if progress.exits else None
        output = None if stage is None else answer(plan.manifest.task, exits[stage], call.placement)
        cut = progress.cut
        stage_ms = {name: duration for name, _, duration in progress.stages}
        begun_ms = {name: begun - call.started for name, begun, _ in progress.stages}
        predicted_ms = {
            decision.stage: decision.predicted_ms
            for _, decision in progress.decisions
            if decision.stage is not None
        }
        decisions = tuple((instant - call.started, decision) for instant, decision in progress.decisions)
        now = plan.clock.now()
        if output is not None:
            plan.overhead.learn(now - began)
        now = now if at is None else at
        return Result(
            output=output,
            exits=exits,
            stage=stage,
            elapsed_ms=now - call.started,
            slack_ms=None if call.budget_ms is None else call.budget_ms - (now - call.started),
            missed=call.deadline is not None and (now > call.deadline or output is None),
            reason=progress.reason or reason or "partial",
            stage_ms=stage_ms,
            predicted_ms=predicted_ms,
            preprocess_ms=call.ready - call.started + sum(duration for _, _, duration in progress.prepared),
            budget_ms=call.budget_ms,
            started=call.started,
            begun_ms=begun_ms,
            error=progress.error,
            decisions=decisions,
            reserve_ms=call.reserve_ms,
            cut=None if cut is None else (cut[0], cut[1] - call.started, cut[2]),
            network=None if stage is None else plan.manifest.network_of(stage),
        )

    def refreshed(self, drafted: Result) -> Optional[Result]:
        """``drafted`` as the answer of this instant; None if there is more to tell of the stages by now."""
        call, progress = self.call, self.progress
        if len(progress.decisions) != len(drafted.decisions) or len(progress.stages) != len(drafted.stage_ms):
            return None
        now = self._plan.clock.now()
        return drafted._replace(
            elapsed_ms=now - call.started,
            slack_ms=None if call.budget_ms is None else call.budget_ms - (now - call.started),
            missed=call.deadline is not None and now > call.deadline,
        )

    def _copied(self, stage: str, array: np.ndarray) -> np.ndarray:
        """An exit that a frame which goes on can give away; the last one is read by nobody else."""
        if self._numbers[stage] == len(self._numbers):
            return array
        if stage not in self._given:
            self._given[stage] = array.copy()
        return self._given[stage]

    def _prepared(self, stage: str, begun: float) -> float:
        now = self._plan.clock.now()
        self._plan.scheduler.prepared(stage, now - begun)
        span = stage, begun, now - begun
        self.progress = self.progress._replace(prepared=self.progress.prepared + (span,))
        return now

    def _tell_policies(self, elapsed_ms: float) -> None:
        for policy in self._plan.scheduler.policies:
            try:
                policy.over(elapsed_ms)
            except Exception:  # it may be the user's own, and the answer is there
                log.exception("%s.over raised", type(policy).__name__)

    def _cut(self, stage: str, begun: float) -> None:
        self.progress = self.progress._replace(cut=(stage, begun, self._plan.clock.now() - begun))


def _nothing() -> None:
    pass
