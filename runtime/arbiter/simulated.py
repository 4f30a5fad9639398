"""The arbiter on a device that is not there, and the ways to share a budget that it is compared with, on the same frames.

As in `edgekit.runtime.simulation.simulate`, only durations are simulated: what decides and learns is what does it in a session.
Whoever asks takes what is there at the deadline; a stage that is cancelled then keeps the device busy a little longer.
"""

import itertools
import threading
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from edgekit.bundle import Manifest
from edgekit.runtime.alternatives import ladder, scheduler_of
from edgekit.runtime.arbiter.members import Inputs, Member, Terms
from edgekit.runtime.arbiter.pace import Pace
from edgekit.runtime.arbiter.planning import ROUNDING
from edgekit.runtime.arbiter.round import Round
from edgekit.runtime.arbiter.worth import utilities_of
from edgekit.runtime.backends import Frame, StageCancelled
from edgekit.runtime.execution import Call, Execution, Plan
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.overhead import Overhead
from edgekit.runtime.session import EVEN, SURE, TRIED
from edgekit.runtime.simulation.simulate import CANCEL_MS, START, answer_frame
from edgekit.runtime.simulation.simulated import NOTHING, SimulatedFrame, SteppedClock
from edgekit.runtime.simulation.workload import Workload


class SimulatedNetwork(NamedTuple):
    """One of the networks: what it is, what its stages really take, and on what terms it shares."""

    name: str
    manifest: Manifest
    workload: Workload
    terms: Terms = Terms()


class SharedOutcomes(NamedTuple):
    """What became of every frame; arrays (frames,).

    Attributes:
        utility: the sum of what the exits are worth that were there at the deadline.
        late: whether the answers came after it.
        exits: by network, number of the exit reached, 1 for the worst; 0 for none.
    """

    utility: np.ndarray
    late: np.ndarray
    exits: Mapping[str, np.ndarray]


def arbitrate(
    networks: Sequence[SimulatedNetwork],
    budget_ms: float,
    cancel_ms: float = CANCEL_MS,
    trying: float = TRIED,
) -> SharedOutcomes:
    """Let the arbiter answer all frames; ``trying`` is that of `edgekit.runtime.arbiter.members.Member`."""
    clock = SteppedClock(START)
    device = _Device(clock, cancel_ms)
    members = [_member(network, clock, trying, device) for network in networks]
    pace = Pace((one.name, one.plan.stages) for one in members)
    inputs: Dict[str, Inputs] = {one.name: {} for one in members}
    outcomes, free = _blank(networks), START
    for number, started in enumerate(_arrivals(networks)):
        for network in networks:
            device.durations[network.name] = network.workload.durations[number].tolist()
        clock.set(max(started, free))
        device.begin(Round(members, pace, inputs, clock, started, budget_ms))
        taken = device.finish()
        _note(outcomes, members, number, device.stages, taken > started + budget_ms)
        free = clock.now()
    return outcomes


def in_turns(
    networks: Sequence[SimulatedNetwork],
    budget_ms: float,
    halves: bool = True,
    cancel_ms: float = CANCEL_MS,
) -> SharedOutcomes:
    """Let each network's own session answer, one after the other.

    ``halves``: each has its share of the budget, all of the same size; else the first has all of it, and those after it what
    it leaves.
    """
    clock = SteppedClock(START)
    members = [_member(network, clock, EVEN, None) for network in networks]
    outcomes, free = _blank(networks), START
    for number, arrival in enumerate(_arrivals(networks)):
        stages: Dict[str, Optional[str]] = {}
        now, late = arrival, False
        for network, member in zip(networks, members):
            budget = budget_ms / len(networks) if halves else arrival + budget_ms - now
            stages[network.name] = None
            if budget <= 0:
                continue
            call = Call(now, now, budget, 0.0, None, TRIED)
            durations = dict(zip(_names(network), network.workload.durations[number].tolist()))
            frame = SimulatedFrame(clock, durations, call.exit_by, cancel_ms)
            execution = frame.execution = Execution(member.plan, frame, call, _nothing)
            result = answer_frame(clock, execution, frame, free)
            free, now = clock.now(), now + result.elapsed_ms
            stages[network.name] = result.stage
            late = late or now > arrival + budget_ms + ROUNDING
        _note(outcomes, members, number, stages, late)
    return outcomes


def best(networks: Sequence[SimulatedNetwork], budget_ms: float) -> np.ndarray:
    """The utility of somebody who knows every duration beforehand, on a device that is free (frames,): every set of exits is tried.

    It asks nobody who plans, so that it can tell whether a plan could have been worth more.
    """
    frames = len(_arrivals(networks))
    choices = []
    for network in networks:
        names, utilities = _names(network), utilities_of(network.manifest, network.terms.utilities)
        took = network.workload.durations
        choices.append([(np.zeros(frames), 0.0)])
        for way in ladder(network.manifest):
            columns = [names.index(stage) for stage in way.stages]
            choices[-1].append((took[:, columns].sum(1), network.terms.weight * utilities[way.exit]))
    reached = np.zeros(frames)
    for exits in itertools.product(*choices):
        fits = sum(each for each, _ in exits) <= budget_ms + ROUNDING
        reached = np.where(fits, np.maximum(reached, sum(worth for _, worth in exits)), reached)
    return reached


class _Device:
    """What runs the stages of all networks, and whoever waits for them until the deadline."""

    def __init__(self, clock: SteppedClock, cancel_ms: float) -> None:
        self.clock = clock
        self.cancel_ms = cancel_ms
        self.durations: Dict[str, List[float]] = {}
        self.stages: Dict[str, Optional[str]] = {}
        self._round: Optional[Round] = None
        self._taken: Optional[float] = None

    @property
    def until(self) -> Optional[float]:
        """The deadline, as long as it has not come."""
        assert self._round is not None
        return self._round.exit_by if self._taken is None else None

    def begin(self, frame: Round) -> None:
        """The frame that comes next."""
        self._round = frame
        self._taken = None

    def take(self, instant: float) -> None:
        """Take what there is, and cancel the rest."""
        assert self._round is not None
        self._taken = instant
        self.stages = {name: turn.exit for name, turn in self._round.turns.items()}
        self._round.stop("budget")

    def finish(self) -> float:
        """Let the frame run to its end; the instant at which its answers were taken."""
        assert self._round is not None
        while True:
            if self.until is not None and self.clock.now() >= self.until:
                self.take(max(self.until, self._round.started))
            if not self._round.step():
                break
        if self._taken is None:
            self.take(self.clock.now())
        assert self._taken is not None
        return self._taken


class _SharedFrame(Frame):
    """A frame of one network, of which every stage's duration is known."""

    def __init__(self, device: _Device, durations: Mapping[str, float]) -> None:
        self._device = device
        self._durations = durations

    def run(self, stage: str) -> None:
        """Let the stage's time pass; if the deadline comes meanwhile, it still needs some ms to notice."""
        device, clock = self._device, self._device.clock
        begun = clock.now()
        end, until = begun + self._durations[stage], device.until
        if until is None or end <= until:
            clock.set(end)
            return
        clock.set(max(begun, until))
        device.take(clock.now())
        stopped = clock.now() + device.cancel_ms
        clock.set(min(end, stopped))
        if end > stopped:
            raise StageCancelled(f"{stage} was cancelled")

    def read(self, name: str) -> np.ndarray:
        """The same for every exit."""
        return NOTHING

    def cancel(self) -> None:
        """Nothing: `run` knows."""


def _member(
    network: SimulatedNetwork, clock: SteppedClock, trying: float, device: Optional[_Device]
) -> Member:
    names = _names(network)
    model = LatencyModel(names, SURE)
    for name, durations in network.workload.measured.items():
        model.start(name, durations)
    scheduler = scheduler_of(network.manifest, model)
    own = Plan(network.manifest, scheduler, model, Overhead(), clock)

    def begin(started: float, budget: Optional[float], inputs: Inputs, told: Plan) -> Execution:
        assert device is not None
        durations = dict(zip(names, device.durations[network.name]))
        call = Call(started, clock.now(), budget, 0.0, None)
        return Execution(told, _SharedFrame(device, durations), call, _nothing)

    return Member(network.name, network.manifest, own, trying, begin, threading.Lock(), network.terms)


def _names(network: SimulatedNetwork) -> List[str]:
    return [name for name, _ in network.workload.stages]


def _arrivals(networks: Sequence[SimulatedNetwork]) -> List[float]:
    return (START + networks[0].workload.arrivals).tolist()  # type: ignore[no-any-return]


def _blank(networks: Sequence[SimulatedNetwork]) -> SharedOutcomes:
    frames = len(networks[0].workload.arrivals)
    return SharedOutcomes(
        np.zeros(frames), np.zeros(frames, bool), {one.name: np.zeros(frames, int) for one in networks}
    )


def _note(
    outcomes: SharedOutcomes,
    members: Sequence[Member],
    number: int,
    stages: Mapping[str, Optional[str]],
    late: bool,
) -> None:
    for member in members:
        stage = stages[member.name]
        if stage is not None:
            outcomes.utility[number] += member.utilities[stage]
            outcomes.exits[member.name][number] = [way.exit for way in member.ways].index(stage) + 1
    outcomes.late[number] = late


def _nothing() -> None:
    pass
