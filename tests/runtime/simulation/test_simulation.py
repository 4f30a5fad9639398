"""The simulation: what it promises over random networks, that it is the session's own code, and that replays are exact."""

import threading
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgekit.bundle import Manifest, StageSpec, TensorSpec
from edgekit.runtime.clock import VirtualClock
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.scheduler import Scheduler
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.outcomes import figures, recovery_beside
from edgekit.runtime.simulation.recording import Recorder, Recording
from edgekit.runtime.simulation.simulate import Outcomes, replay, simulate
from edgekit.runtime.simulation.strategies import EDGEKIT, FULL, MEAN, ORACLE, answer_all, compare, strategies
from edgekit.runtime.simulation.workload import Conditions, Every, Slowdown, Workload, modelled

MakeSession = Callable[..., Session]
Drawn = List[Tuple[bool, float, List[float]]]

FRAMES = 4
durations = st.floats(min_value=0.01, max_value=100)
# Per stage: whether it has an exit, what it was measured at, and what it takes in every frame.
networks = st.lists(
    st.tuples(st.booleans(), durations, st.lists(durations, min_size=FRAMES, max_size=FRAMES)),
    min_size=1,
    max_size=6,
)
budgets = st.floats(min_value=0.01, max_value=500)
cancels = st.floats(min_value=0.0, max_value=20)
fast = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def manifest(stages: List[Tuple[str, bool]]) -> Manifest:
    specs = tuple(
        StageSpec(name, (), "exit" if has_exit else None, (TensorSpec("exit", "float32", (1, 1, 1, 1), "NCHW"),),
                  1, 1, (), {})
        for name, has_exit in stages
    )  # fmt: skip
    return Manifest("net", "toy", "stereo", {}, "cpu", {}, (), specs, {})


def drawn_workload(drawn: Drawn, gap: float = 1000.0) -> Workload:
    stages = [(f"stage{k + 1}", has_exit) for k, (has_exit, _, _) in enumerate(drawn)]
    stages[-1] = (stages[-1][0], True)
    table = np.array([took for _, _, took in drawn]).T
    measured = {name: (usual,) * 3 for (name, _), (_, usual, _) in zip(stages, drawn)}
    return Workload(tuple(stages), np.arange(FRAMES) * gap, np.zeros(FRAMES), table, measured)


def run(
    work: Workload,
    budget: float,
    overrun: str,
    name: str = EDGEKIT,
    cancel_ms: float = 3.0,
    confidence: Optional[float] = None,
) -> Outcomes:
    strategy = strategies(work.stages, overrun, confidence)[name]
    return answer_all(manifest(list(work.stages)), work, budget, strategy, cancel_ms)


# --- What holds for every network -------------------------------------------------------------------------------------


@fast
@given(networks, budgets, cancels, st.floats(min_value=1, max_value=200))
def test_in_return_mode_no_answer_ever_comes_after_the_deadline(
    drawn: Drawn, budget: float, cancel_ms: float, gap: float
) -> None:
    outcomes = run(drawn_workload(drawn, gap), budget, "return", cancel_ms=cancel_ms)
    assert (outcomes.elapsed_ms <= budget + 1e-6).all()


@fast
@given(networks, budgets, st.sampled_from(["return", "finish"]))
def test_a_better_exit_never_comes_before_a_worse_one(drawn: Drawn, budget: float, overrun: str) -> None:
    outcomes = run(drawn_workload(drawn), budget, overrun)
    reached = np.where(np.isinf(outcomes.reached_ms), 1e12, outcomes.reached_ms)
    assert (np.diff(reached, axis=1) >= 0).all()


@fast
@given(networks, budgets, budgets)
def test_what_is_answered_in_time_is_monotone_in_the_budget_when_stages_take_what_they_were_measured_at(
    drawn: Drawn, one: float, other: float
) -> None:
    steady = [(has_exit, usual, [usual] * FRAMES) for has_exit, usual, _ in drawn]
    less, more = sorted((one, other))
    work = drawn_workload(steady)
    first, second = (np.where(o.missed, 0, o.exit) for o in (run(work, b, "return") for b in (less, more)))
    assert (first <= second).all()


@fast
@given(networks, budgets, st.sampled_from(["return", "finish"]))
def test_nobody_reaches_more_than_the_oracle(drawn: Drawn, budget: float, overrun: str) -> None:
    work = drawn_workload(drawn)
    assume((abs(np.cumsum(work.durations, axis=1) - budget) > 1e-6).all())  # or the sums' rounding decides
    best = run(work, budget, "return", ORACLE)
    assert not (best.missed & (best.possible > 0)).any()
    assert (best.exit == best.possible).all()
    for name in (EDGEKIT, MEAN, FULL):
        found = run(work, budget, overrun, name)
        assert (np.where(found.missed, 0, found.exit) <= best.exit).all()


@fast
@given(networks, budgets)
def test_the_two_overrun_modes_agree_where_nothing_overruns(drawn: Drawn, budget: float) -> None:
    steady = [(has_exit, usual, [usual] * FRAMES) for has_exit, usual, _ in drawn]
    work = drawn_workload(steady)
    returned, finished = (run(work, budget, overrun, confidence=0.9) for overrun in ("return", "finish"))
    in_time = ~finished.missed
    assert (returned.exit[in_time] == finished.exit[in_time]).all()
    np.testing.assert_allclose(returned.elapsed_ms[in_time], finished.elapsed_ms[in_time])


# --- It is the session ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrun", ["return", "finish"])
@pytest.mark.parametrize("budget", [4.0, 30.0, 44.0, 60.0, 200.0])
def test_a_session_with_these_durations_answers_as_the_simulation_does(
    virtual: MakeSession, overrun: str, budget: float
) -> None:
    usual = {"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0}
    slower = {"stage2": 28.0}
    session = virtual(usual, later=slower, cancel_ms=3.0)
    inputs = dict(session.golden()[0])
    stages = tuple((stage.name, stage.exit is not None) for stage in session.stages)
    model = LatencyModel(usual)
    for name in usual:
        model.start(name, [10.0] * 2)
        model.learn(name, 10.0)
    table = np.array([[slower.get(name, usual[name]) for name in usual]] * 5)
    work = Workload(stages, np.arange(5) * 1000.0, np.zeros(5), table, {})
    trying = 0.2 if overrun == "return" else None
    expected = simulate(session.manifest, work, budget, Scheduler(stages, model), model, overrun, 3.0, trying)
    for frame in range(5):
        result = session.infer(budget_ms=budget, overrun=overrun, **inputs)
        exit_number = 0 if result.stage is None else expected.exits.index(result.stage) + 1
        assert (exit_number, result.missed) == (expected.exit[frame], expected.missed[frame])
        assert result.elapsed_ms == pytest.approx(expected.elapsed_ms[frame])
        pause = threading.Condition()
        with pause:
            session.clock.wait(pause, session.clock.now() + 1000.0)


# --- Replays ----------------------------------------------------------------------------------------------------------


def record(session: Session, budget_ms: Optional[float], frames: int) -> Recording:
    recorder = Recorder(session)
    inputs = dict(session.golden()[0])
    for _ in range(frames):
        session.infer(**inputs)
    for overrun in ("return", "finish"):
        for _ in range(frames):
            session.infer(budget_ms=budget_ms, overrun=overrun, **inputs)
    for _ in session.anytime(budget_ms=budget_ms, **inputs):
        pass
    return recorder.recording({})


@pytest.mark.parametrize("share", [0.3, 0.8, 1.5, 3.0])
def test_replaying_what_a_real_session_did_reproduces_its_decisions_exactly(
    stereo_bundle, share: float
) -> None:
    with Session.open(stereo_bundle.path, threads=1, warmup=0) as session:
        inputs = dict(session.golden()[0])
        usual = float(np.median([session.infer(**inputs).elapsed_ms for _ in range(5)]))
    with Session.open(stereo_bundle.path, threads=1, warmup=0) as session:
        recording = record(session, usual * share, 20)
    # On a busy machine cancelled frames may still wait to end, and a frame whose time was up before its turn decides nothing.
    assert sum(bool(frame.decisions) for frame in recording.frames) >= 41
    assert replay(stereo_bundle.manifest, recording) == []


def test_a_stage_that_was_decided_on_twice_because_its_caller_took_his_time_is_replayed(
    virtual: MakeSession,
) -> None:
    session = virtual({"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0})
    recorder = Recorder(session)
    for result in session.anytime(budget_ms=60.0, **dict(session.golden()[0])):
        if result.stage == "stage2":
            assert isinstance(session.clock, VirtualClock)
            session.clock.advance(30.0)
    (frame,) = recorder.recording({}).frames
    assert [(decision.run, decision.stage) for _, decision in frame.decisions][-2:] == [
        (True, "stage3"),
        (False, "stage3"),
    ]
    warmed = {name: [10.0] * 3 for name in session.variants}
    recording = recorder.recording({})._replace(measured=warmed)
    assert replay(session.manifest, recording) == []


def test_a_recording_that_was_tampered_with_is_not_reproduced(stereo_bundle) -> None:
    with Session.open(stereo_bundle.path, threads=1, warmup=0) as session:
        recording = record(session, 1000.0, 3)
    frame = recording.frames[-1]
    changed = frame._replace(budget_ms=1e-3)
    found = replay(stereo_bundle.manifest, recording._replace(frames=recording.frames[:-1] + (changed,)))
    assert found[0].frame == len(recording.frames) - 1
    assert found[0].recorded.run
    assert not found[0].replayed.run


# --- Under conditions -------------------------------------------------------------------------------------------------

STAGES = (("stage1", True), ("stage2", True), ("stage3", True), ("stage4", True))
BASES = {"stage1": 7.0, "stage2": 4.2, "stage3": 9.5, "stage4": 5.9}


def measured(spread: float, runs: int = 200) -> Dict[str, List[float]]:
    random = np.random.RandomState(5)
    return {name: list(base * random.lognormal(0, spread, runs)) for name, base in BASES.items()}


def network(conditions: Conditions, frames: int = 1500, spread: float = 0.03) -> Workload:
    return modelled(STAGES, measured(spread), frames, 30.0, 0, conditions)


@pytest.mark.parametrize("budget", [10.0, 15.0, 25.0, 40.0])
def test_on_a_quiet_device_almost_nothing_is_late_and_almost_all_of_the_oracles_exits_are_reached(
    budget: float,
) -> None:
    for overrun in ("return", "finish"):
        found = compare(manifest(list(STAGES)), network(Conditions()), budget, overrun)[EDGEKIT]
        assert found.late_share <= 0.001
        assert found.of_oracle >= 0.97


def test_with_a_neighbour_a_mean_based_predictor_is_late_at_least_five_times_as_often() -> None:
    work = network(Conditions(neighbour=Every(1.8, 50)))
    found = [compare(manifest(list(STAGES)), work, budget, "finish") for budget in (18.0, 24.0, 32.0)]
    ours, theirs = (sum(one[name].late for one in found) for name in (EDGEKIT, MEAN))
    assert theirs >= 5 * ours


@pytest.mark.parametrize("overrun", ["return", "finish"])
def test_a_slowdown_and_its_end_are_followed_within_five_frames(overrun: str) -> None:
    stepped, always, never = (
        run(network(Conditions(slowdowns=slowdowns), 300), 30.0, overrun)
        for slowdowns in ((Slowdown(2.0, 100, 200),), (Slowdown(2.0, 0, None),), ())
    )
    for twin, step, end in ((always, 100, 200), (never, 200, 300)):
        took = recovery_beside(stepped, twin, step, end)
        assert took is not None
        assert took <= 5


def test_the_same_seed_gives_the_same_figures_and_another_one_others() -> None:
    conditions = Conditions(neighbour=Every(1.8, 50), outliers=Every(5.0, 0.01), idle=Every(1.5, 100))
    net = manifest(list(STAGES))
    runs = [
        compare(net, modelled(STAGES, measured(0.1), 300, 30.0, seed, conditions), 20.0) for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_frame_that_comes_while_another_is_worked_on_gives_way_to_a_newer_one() -> None:
    work = Workload(
        (("stage1", True),), np.arange(6) * 10.0, np.zeros(6), np.full((6, 1), 25.0), {"stage1": (25.0,)}
    )
    outcomes = run(work, 30.0, "finish")
    assert list(outcomes.looked_at) == [True, False, True, False, False, True]
    assert figures(outcomes, outcomes).dropped == 3


def test_a_cancelled_stage_keeps_the_device_busy_and_the_next_frame_pays_for_it() -> None:
    # stage2 never makes it; the next frame is there as soon as the caller is free.
    table = np.array([[10.0, 500.0]] * 2)
    work = Workload((("stage1", True), ("stage2", True)), np.array([0.0, 20.0]), np.zeros(2), table,
                    {"stage1": (10.0,) * 100, "stage2": (5.0,) * 100})  # fmt: skip
    outcomes = run(work, 20.0, "return", cancel_ms=12.0)
    assert list(outcomes.exit) == [1, 0]
    assert list(outcomes.elapsed_ms) == [20.0, 20.0]


def test_preparing_that_takes_longer_than_the_budget_makes_an_answer_late_not_an_error() -> None:
    work = Workload((("stage1", True),), np.zeros(1), np.array([50.0]), np.ones((1, 1)), {"stage1": (1.0,)})
    outcomes = run(work, 30.0, "return")
    assert list(outcomes.missed) == [True]
    assert list(outcomes.elapsed_ms) == [50.0]
