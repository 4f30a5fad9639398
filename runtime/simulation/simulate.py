"""The scheduler on a device that is not there: `Execution` and all that it decides with, on a clock that is set.

Only durations are simulated. What a session does around them is followed here: a caller asks for the newest frame whenever it
is free; with ``overrun="return"`` it takes what is there at the deadline, and the stage that is cancelled then keeps the
device busy a little longer. Making an answer and waking the caller take no time.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Manifest
from edgekit.errors import BackendError
from edgekit.runtime.alternatives import Way, ladder, scheduler_of
from edgekit.runtime.backends import StageCancelled
from edgekit.runtime.execution import Call, Execution, Plan
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.overhead import Overhead
from edgekit.runtime.result import Result
from edgekit.runtime.scheduler import Decision, Scheduler
from edgekit.runtime.simulation.comparators import ChoosingOracle, Oracle
from edgekit.runtime.simulation.recording import Recording
from edgekit.runtime.simulation.simulated import ReplayedFrame, SimulatedFrame, SteppedClock
from edgekit.runtime.simulation.workload import Workload

# Far from zero, as a real clock is, so that differences of instants are exact.
START = 2.0**23
# How long a cancelled stage runs on: ONNX Runtime's terminate flag stops between operators, 3 ms after it in the median.
CANCEL_MS = 3.0


class Outcomes(NamedTuple):
    """What became of every frame that came; arrays (frames,).

    Attributes:
        exits: the exits' stages, the worst first.
        budget_ms: of every frame.
        seconds: from the first frame to the last one's deadline.
        looked_at: whether the frame was begun; one that came while another was worked on and was overtaken was not.
        exit: number of the exit that was answered with, 1 for the first; 0 for none.
        elapsed_ms: from the call to the answer.
        missed: whether the answer was late, or there was none.
        possible: number of the best exit that the frame's durations allow on a device that is free.
        reached_ms: when every exit was reached, from the call; infinite if it was not (frames, exits).
    """

    exits: Tuple[str, ...]
    budget_ms: float
    seconds: float
    looked_at: np.ndarray
    exit: np.ndarray
    elapsed_ms: np.ndarray
    missed: np.ndarray
    possible: np.ndarray
    reached_ms: np.ndarray


class Difference(NamedTuple):
    """Where a replay decided otherwise: the frame's number, and both decisions."""

    frame: int
    recorded: Decision
    replayed: Decision


def simulate(
    manifest: Manifest,
    workload: Workload,
    budget_ms: float,
    scheduler: Scheduler,
    model: LatencyModel,
    overrun: str = "return",
    cancel_ms: float = CANCEL_MS,
    confidence: Optional[float] = None,
) -> Outcomes:
    """Let ``scheduler`` and ``model``, which it asks and which learns, answer all frames of ``workload``.

    Args:
        manifest: of the network that the workload is of.
        budget_ms: of every frame, from the call.
        overrun: ``return`` or ``finish``, as in `edgekit.runtime.session.Session.infer`.
        cancel_ms: how long a cancelled stage runs on.
        confidence: how sure ``scheduler`` must be that a stage fits; None for the model's own.
    """
    clock = SteppedClock(START)
    plan = Plan(manifest, scheduler, model, Overhead(), clock)
    names = [name for name, _ in workload.stages]
    outcomes = _blank(workload, ladder(manifest), budget_ms)
    arrivals = (START + workload.arrivals).tolist()
    table, ready_ms = workload.durations.tolist(), workload.ready_ms.tolist()
    caller = device = START  # when either is free
    number, frames = 0, len(arrivals)
    while number < frames:
        started = max(arrivals[number], caller)
        while number + 1 < frames and arrivals[number + 1] <= started:
            number += 1
        durations = table[number]
        if isinstance(scheduler, (Oracle, ChoosingOracle)):
            scheduler.foresee(durations)
        call = Call(started, started + ready_ms[number], budget_ms, 0.0, None, confidence)
        until = call.exit_by if overrun == "return" else None
        frame = SimulatedFrame(clock, dict(zip(names, durations)), until, cancel_ms)
        execution = frame.execution = Execution(plan, frame, call, _nothing)
        result = answer_frame(clock, execution, frame, device)
        device, caller = clock.now(), started + result.elapsed_ms
        _note(outcomes, number, result)
        number += 1
    return outcomes


def possible_exits(workload: Workload, budget_ms: float, ways: Optional[Sequence[Way]] = None) -> np.ndarray:
    """Number of the best exit that every frame's durations allow within the budget, on a device that is free (frames,).

    ``ways`` lead to the exits, the worst first; by default those of one network.
    """
    names = [name for name, _ in workload.stages]
    if ways is None:
        ways = [Way(0, tuple(names[: k + 1])) for k, (_, has_exit) in enumerate(workload.stages) if has_exit]
    possible = np.zeros(len(workload.durations), int)
    for number, way in enumerate(ways, 1):
        columns = [names.index(name) for name in way.stages]
        # An exit is there when its stage and all before it have run.
        ends = workload.ready_ms + np.cumsum(workload.durations[:, columns], axis=1)[:, -1]
        possible[ends <= budget_ms] = number
    return possible


def replay(manifest: Manifest, recording: Recording) -> List[Difference]:
    """Run the frames of ``recording`` at their recorded instants; where the decisions of this edgekit are other ones."""
    names = [name for name, _ in recording.stages]
    model = LatencyModel(names, recording.confidence)
    for name, durations in recording.measured.items():
        model.start(name, durations)
    clock = SteppedClock(START)
    scheduler = scheduler_of(manifest, model)
    plan = Plan(manifest, scheduler, model, Overhead(), clock)
    differences = []
    for number, recorded in enumerate(recording.frames):
        call = Call(
            recorded.started,
            recorded.ready,
            recorded.budget_ms,
            recorded.reserve_ms,
            None,
            recorded.confidence,
            recorded.cheapest_first,
        )
        frame = ReplayedFrame(clock)
        execution = Execution(plan, frame, call, _nothing)
        spans = {name: (begun, took, False) for name, begun, took in recorded.stages}
        if recorded.cut is not None:
            spans[recorded.cut[0]] = (recorded.cut[1], recorded.cut[2], True)
        for index, (instant, decision) in enumerate(recorded.decisions):
            later = [one.stage for _, one in recorded.decisions[index + 1 :]]
            # A caller that looked at an exit before it went on had the same stage decided on again.
            ran = decision.run and decision.stage in spans and decision.stage not in later[:1]
            if decision.run and not ran and not later:
                execution.stop(recorded.reason)
            clock.set(instant, None if later or ran else recorded.ended)
            execution.decide()
            made = execution.progress.decisions[-1:]
            if len(execution.progress.decisions) != index + 1 or made[0][1] != decision:
                replayed = made[0][1] if made else Decision(False, None, None, recorded.reason)
                differences.append(Difference(number, decision, replayed))
            if ran and decision.stage is not None:
                begun, took, cut = spans[decision.stage]
                error = StageCancelled("") if recorded.reason != "error" else BackendError("")
                frame.set_next(begun + took, recorded.ended, error if cut else None)
                before = next((one for name, one, _ in recorded.prepared if name == decision.stage), None)
                frame.set_ready(None if before is None else begun)
                clock.set(begun if before is None else before)
                execution.run(decision.stage)
        clock.set(recorded.ended)
        execution.end(recorded.reason)
    return differences


def answer_frame(clock: SteppedClock, execution: Execution, frame: SimulatedFrame, device: float) -> Result:
    """What the caller gets; the clock is left at the instant when the device is free again."""
    call = execution.call
    begin = max(call.ready, device)
    if frame.until is not None and begin >= frame.until:
        # The frame before keeps the device beyond the deadline, or preparing took longer than the budget.
        clock.set(max(call.ready, frame.until))
        execution.stop("budget")
        result = execution.result("budget")
        clock.set(begin)
        execution.end("budget")
        return result
    clock.set(begin)
    while execution.step():
        pass
    return frame.taken or execution.result("budget")


def _blank(workload: Workload, ways: Sequence[Way], budget_ms: float) -> Outcomes:
    frames = len(workload.arrivals)
    return Outcomes(
        exits=tuple(way.exit for way in ways),
        budget_ms=budget_ms,
        seconds=float(workload.arrivals[-1] - workload.arrivals[0] + budget_ms) * 1e-3,
        looked_at=np.zeros(frames, bool),
        exit=np.zeros(frames, int),
        elapsed_ms=np.zeros(frames),
        missed=np.ones(frames, bool),
        possible=possible_exits(workload, budget_ms, ways),
        reached_ms=np.full((frames, len(ways)), np.inf),
    )


def _note(outcomes: Outcomes, number: int, result: Result) -> None:
    outcomes.looked_at[number] = True
    outcomes.elapsed_ms[number] = result.elapsed_ms
    outcomes.missed[number] = result.missed
    if result.stage is not None:
        outcomes.exit[number] = outcomes.exits.index(result.stage) + 1
    for k, stage in enumerate(outcomes.exits):
        if stage in result.exits:
            outcomes.reached_ms[number, k] = result.begun_ms[stage] + result.stage_ms[stage]


def _nothing() -> None:
    pass
