"""Of several networks, the best that fits answers: over random networks, durations and deadlines, and in a session."""

from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bundle import Bundle, ExitSpec, Manifest, NetworkSpec, StageSpec, TensorSpec
from edgekit.errors import InputError, OptionError
from edgekit.runtime.alternatives import Alternatives, ladder, scheduler_of
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.policies import FixedStage
from edgekit.runtime.scheduler import Decision, Scheduler
from edgekit.runtime.session import Session
from tests.runtime.virtual import FakeBackend, JumpingClock
from tests.toy_graphs import (
    alternatives_files,
    alternatives_manifest,
    stereo_files,
    stereo_manifest,
    write_alternatives,
)

# --- Decisions --------------------------------------------------------------------------------------------------------

durations = st.floats(min_value=0.01, max_value=100)
# Of a stage: whether it has an exit, its multiply-adds, what it was measured at, and what it really takes.
stages = st.tuples(st.booleans(), st.integers(min_value=1, max_value=100), durations, durations)
drawn_networks = st.lists(st.lists(stages, min_size=1, max_size=4), min_size=2, max_size=4)
budgets = st.floats(min_value=0.01, max_value=500)
Drawn = List[List[Tuple[bool, int, float, float]]]


class Choice(NamedTuple):
    manifest: Manifest
    real: Dict[str, float]
    measured: Dict[str, float]
    model: LatencyModel
    scheduler: Scheduler


def choice(drawn: Drawn, confidence: float = 0.99, exact: bool = False) -> Choice:
    """Networks whose last stages have an exit; ``exact``: every stage takes what it was measured at."""
    specs, networks = [], []
    real, measured = {}, {}
    for number, network in enumerate(drawn):
        names = []
        for k, (has_exit, macs, before, now) in enumerate(network):
            name = f"stage{len(specs) + 1}"
            has_exit = has_exit or k == len(network) - 1
            outputs = (TensorSpec(name + "out", "float32", (1, 3), "NC"),)
            specs.append(StageSpec(name, (), name + "out" if has_exit else None, outputs, macs, 0, (), {}))
            names.append(name)
            measured[name], real[name] = before, before if exact else now
        networks.append(NetworkSpec(f"network{number}", tuple(names)))
    whole = alternatives_manifest(alternatives_files())
    whole = whole._replace(stages=tuple(specs), networks=tuple(networks), exits={})
    model = LatencyModel(measured, confidence)
    for name, before in measured.items():
        model.start(name, [before] * 3)
    return Choice(whole, real, measured, model, scheduler_of(whole, model))


class Walk(NamedTuple):
    """The decisions of one frame that starts at 0, the stages that ran, and the exits that counted with their instants."""

    decisions: List[Decision]
    ran: List[str]
    exits: List[Tuple[str, float]]
    end: float


def walk(one: Choice, budget: Optional[float], cheapest_first: bool = False) -> Walk:
    names = [stage.name for stage in one.manifest.stages]
    has_exit = {stage.name for stage in one.manifest.stages if stage.exit is not None}
    found = Walk([], [], [], 0.0)
    now, nothing = 0.0, np.zeros((1, 3), np.float32)
    while True:
        last = names.index(found.ran[-1]) + 1 if found.ran else 0
        exits = [(name, nothing) for name, _ in found.exits]
        decision = one.scheduler.next(now, budget, last, exits, None, cheapest_first)
        found.decisions.append(decision)
        if not decision.run:
            return found._replace(end=now)
        assert decision.stage is not None
        now += one.real[decision.stage]
        found.ran.append(decision.stage)
        if decision.stage in has_exit and one.scheduler.improves(decision.stage, exits):
            found.exits.append((decision.stage, now))
        assert len(found.ran) < 50, "never ends"


def ranks(one: Choice) -> Dict[str, int]:
    return {way.exit: rank for rank, way in enumerate(ladder(one.manifest))}


def soonest(one: Choice) -> List[str]:
    """The exits whose ways are expected to take the least time: one, but for ties."""
    rank, expected = ranks(one), {}
    for network in one.manifest.networks:
        now = 0.0
        for name in network.stages:
            predicted = one.model.predict(name)
            assert predicted is not None
            now += predicted
            if name in rank:
                expected[name] = now
    return [name for name, at in expected.items() if at == min(expected.values())]


@given(drawn_networks, st.one_of(st.none(), budgets), st.booleans())
def test_an_exit_is_never_followed_by_a_worse_one(
    drawn: Drawn, budget: Optional[float], cheapest_first: bool
) -> None:
    one = choice(drawn)
    rank = ranks(one)
    reached = [rank[name] for name, _ in walk(one, budget, cheapest_first).exits]
    assert reached == sorted(set(reached))
    assert reached


@given(drawn_networks, budgets)
def test_when_durations_are_known_exactly_the_best_answer_that_there_can_be_is_given(
    drawn: Drawn, budget: float
) -> None:
    one = choice(drawn, confidence=0.5, exact=True)
    rank = ranks(one)
    # Every way to an exit, added up by hand.
    in_time = []
    for network in one.manifest.networks:
        now = 0.0
        for name in network.stages:
            now += one.real[name]
            if name in rank and now <= budget:
                in_time.append(rank[name])
    found = walk(one, budget)
    if in_time:
        assert rank[found.exits[-1][0]] == max(in_time)
        assert found.end <= budget
    else:
        assert found.exits[-1][0] in soonest(one)


@given(drawn_networks, budgets, budgets)
def test_more_time_never_gives_a_worse_answer(drawn: Drawn, first: float, second: float) -> None:
    one = choice(drawn, confidence=0.5, exact=True)
    rank = ranks(one)
    less, more = (walk(one, budget).exits[-1][0] for budget in sorted((first, second)))
    assert rank[less] <= rank[more]


@given(drawn_networks, st.one_of(st.none(), budgets))
def test_two_networks_are_never_run_where_durations_are_as_predicted(
    drawn: Drawn, budget: Optional[float]
) -> None:
    one = choice(drawn, confidence=0.5, exact=True)
    assert len({one.manifest.network_of(stage) for stage in walk(one, budget).ran}) == 1


@given(drawn_networks, budgets, st.booleans())
def test_after_the_first_answer_nothing_is_begun_that_is_not_expected_in_time(
    drawn: Drawn, budget: float, cheapest_first: bool
) -> None:
    one = choice(drawn)
    found = walk(one, budget, cheapest_first)
    now, answered = 0.0, False
    exits = {name for name, _ in found.exits}
    for name in found.ran:
        predicted = one.model.predict(name)
        assert predicted is not None
        assert not answered or now + predicted <= budget
        now += one.real[name]
        answered = answered or name in exits


@given(drawn_networks, st.one_of(st.none(), budgets))
def test_whoever_looks_at_every_answer_gets_the_quickest_one_first(
    drawn: Drawn, budget: Optional[float]
) -> None:
    one = choice(drawn)
    found = walk(one, budget, cheapest_first=True)
    assert found.exits[0][0] in soonest(one)
    if budget is None:
        assert found.exits[-1][0] == ladder(one.manifest)[-1].exit


@given(drawn_networks)
def test_without_a_deadline_only_the_best_network_runs(drawn: Drawn) -> None:
    one = choice(drawn)
    found = walk(one, None)
    best = ladder(one.manifest)[-1]
    assert found.exits[-1][0] == best.exit
    assert {one.manifest.network_of(name) for name in found.ran} == {one.manifest.networks[best.network].name}
    assert found.decisions[-1].reason == "final"


def test_a_network_that_may_leave_the_frame_without_an_answer_must_be_sure_to_fit() -> None:
    one = choice([[(True, 1, 5.0, 5.0)], [(True, 9, 20.0, 20.0)]])
    for _ in range(200):
        one.model.learn("stage2", 20.0)
    one.model.start("stage2", [20.0] * 90 + [30.0] * 10)  # fits into 25 ms nine times of ten
    assert one.scheduler.next(0.0, 25.0, 0, (), 0.5).stage == "stage1"
    assert one.scheduler.next(0.0, 31.0, 0, (), 0.5).stage == "stage2"
    answered = [("stage1", np.zeros((1, 3), np.float32))]
    assert one.scheduler.next(5.0, 30.0, 1, answered, 0.5) == Decision(True, "stage2", 20.0, "fits")
    assert one.scheduler.next(5.0, 24.0, 1, answered, 0.5) == Decision(False, "stage2", 20.0, "budget")


def test_a_network_of_unknown_duration_waits_for_a_frame_without_a_deadline() -> None:
    manifest = alternatives_manifest(alternatives_files())
    scheduler = scheduler_of(manifest, LatencyModel(stage.name for stage in manifest.stages))
    assert scheduler.next(0.0, 1000.0, 0).stage == "stage1"
    assert scheduler.next(0.0, None, 0).stage == "stage4"


def test_exits_are_ranked_by_accuracy_where_all_are_known_and_else_by_their_work() -> None:
    manifest = alternatives_manifest(alternatives_files())
    assert [way.exit for way in ladder(manifest)] == ["stage2", "stage1", "stage3", "stage4"]
    unknown = manifest._replace(exits={"stage4": ExitSpec(None, 0.1)})
    assert [(way.network, way.stages) for way in ladder(unknown)] == [
        (0, ("stage1",)),
        (1, ("stage2",)),
        (1, ("stage2", "stage3")),
        (2, ("stage4",)),
    ]


def test_a_later_exit_of_one_network_counts_as_better_whatever_its_accuracy() -> None:
    manifest = alternatives_manifest(alternatives_files())
    exits = dict(manifest.exits, stage2=ExitSpec(None, 0.75))
    assert [way.exit for way in ladder(manifest._replace(exits=exits))] == [
        "stage1",
        "stage2",
        "stage3",
        "stage4",
    ]


def test_one_network_is_scheduled_as_ever() -> None:
    manifest = stereo_manifest(stereo_files())
    scheduler = scheduler_of(manifest, LatencyModel(stage.name for stage in manifest.stages))
    assert type(scheduler) is Scheduler
    assert [way.exit for way in ladder(manifest)] == ["stage1", "stage2", "stage4"]


# --- Sessions ---------------------------------------------------------------------------------------------------------

TAKES = {"stage1": 5.0, "stage2": 8.0, "stage3": 8.0, "stage4": 40.0}
PICTURE = np.random.RandomState(5).randint(0, 255, (24, 40, 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Networks small (stage1), medium (stage2, stage3) and large (stage4, of larger pictures); shared."""
    return write_alternatives(str(tmp_path_factory.mktemp("bundles") / "choice.edgekit"))


@pytest.fixture
def make(bundle: Bundle) -> Iterator[Callable[..., Session]]:
    """Make a session whose stages take the given ms of a virtual clock in frames after the warm-up, else `TAKES`."""
    opened: List[Session] = []

    def make_(later: Optional[Dict[str, float]] = None, network: Optional[str] = None) -> Session:
        clock, changed = JumpingClock(), dict(TAKES, **(later or {}))
        warm = 3 * (1 if network else 3) + 1  # three frames a network, and the first one submitted
        backend = FakeBackend(clock, lambda stage, frame: (changed if frame > warm else TAKES)[stage])
        session = Session(bundle, backend, clock=clock, warmup=3, network=network)
        opened.append(session)
        picture = PICTURE if network is None else session.golden()[0]["image"]
        session.submit(image=picture, budget_ms=1).result()
        backend.begun.clear()
        return session

    yield make_
    for session in opened:
        assert isinstance(session.clock, JumpingClock)
        session.clock.leave()
        session.close()


@pytest.mark.parametrize(
    "budget, network, ran",
    [
        (4, None, ["stage1"]),
        (12, "small", ["stage1"]),
        (30, "medium", ["stage2", "stage3"]),
        (90, "large", ["stage4"]),
        (None, "large", ["stage4"]),
    ],
)
def test_the_budget_decides_which_network_answers(
    make: Callable[..., Session], budget: Optional[float], network: Optional[str], ran: List[str]
) -> None:
    session = make()
    result = session.infer(budget_ms=budget, image=PICTURE)
    assert result.network == network
    assert session.backend.begun == ran  # type: ignore[attr-defined]


def test_anytime_yields_the_cheapest_answer_and_then_the_best_that_fits(make: Callable[..., Session]) -> None:
    session = make()
    assert [one.network for one in session.anytime(image=PICTURE)] == ["small", "large"]
    assert [(one.network, one.stage) for one in session.anytime(budget_ms=30, image=PICTURE)] == [
        ("small", "stage1"),
        ("medium", "stage3"),
    ]
    results = list(session.anytime(budget_ms=12, image=PICTURE))
    assert [(one.network, one.reason) for one in results] == [("small", "budget")]


def test_a_worse_exit_on_the_way_to_a_better_one_is_not_given(make: Callable[..., Session]) -> None:
    # stage2 is less accurate than small's stage1, which has answered before.
    result = list(make().anytime(budget_ms=30, image=PICTURE))[-1]
    assert list(result.exits) == ["stage1", "stage3"]
    assert list(result.stage_ms) == ["stage1", "stage2", "stage3"]


def test_a_network_that_overruns_is_cancelled_at_the_deadline_and_said_to_be_missed(
    make: Callable[..., Session],
) -> None:
    session = make(later={"stage4": 500.0})
    result = session.infer(budget_ms=90, image=PICTURE)
    assert (result.output, result.network, result.missed, result.reason) == (None, None, True, "budget")
    assert result.elapsed_ms == pytest.approx(90, abs=1)
    assert session.infer(budget_ms=89, image=PICTURE).network == "medium"  # it is known now not to fit


def test_a_network_that_makes_it_in_three_frames_of_ten_is_not_chosen(make: Callable[..., Session]) -> None:
    session = make()
    session.latency.start("stage3", [60.0] * 7 + [5.0] * 3)
    assert session.infer(budget_ms=30, image=PICTURE).network == "small"
    session.latency.start("stage3", [60.0] * 3 + [5.0] * 7)
    assert session.infer(budget_ms=30, image=PICTURE).network == "medium"


def test_an_overrun_that_is_waited_for_gives_the_late_answer(make: Callable[..., Session]) -> None:
    result = make(later={"stage4": 500.0}).infer(budget_ms=90, overrun="finish", image=PICTURE)
    assert (result.network, result.missed) == ("large", True)
    assert result.elapsed_ms == pytest.approx(500, abs=1)


def test_time_that_is_left_is_used_for_a_better_network(make: Callable[..., Session]) -> None:
    # After the frames before, all seem ten times as slow; the frame itself shows that they are not any more.
    session = make()
    for _ in range(5):
        session.latency.learn("stage1", 50.0)
    result = session.infer(budget_ms=70, overrun="finish", image=PICTURE)
    assert next(iter(result.stage_ms)) == "stage1"
    assert not result.missed


def test_a_submitted_frame_has_the_cheapest_answer_early(make: Callable[..., Session]) -> None:
    session = make()
    seen: List[Optional[str]] = []
    job = session.submit(image=PICTURE, on_exit=lambda result: seen.append(result.network))
    assert job.result().network == "large"
    assert seen == ["small", "large"]


def test_a_policy_ends_the_frame_and_not_only_its_network(
    make: Callable[..., Session], bundle: Bundle
) -> None:
    session = make()
    policy = FixedStage("stage1")
    policy.check(session.manifest)
    scheduler = Alternatives(bundle.manifest, session.latency, [policy])
    reached = [("stage1", np.zeros((1, 3), np.float32))]
    assert scheduler.next(5.0, None, 1, reached, None, True).reason == "fixed"


def test_a_network_is_loaded_alone_by_its_name(make: Callable[..., Session]) -> None:
    session = make(network="medium")
    inputs = session.golden()[0]
    assert [stage.name for stage in session.stages] == ["stage2", "stage3"]
    assert set(session.variants) == {"stage2", "stage3"}
    assert session.infer(budget_ms=1000, **inputs).stage == "stage3"
    assert session.infer(budget_ms=12, **inputs).stage == "stage2"
    assert session.infer(**inputs).network is None  # there is only one


def test_a_network_that_is_not_there_is_refused(bundle: Bundle) -> None:
    with pytest.raises(OptionError, match=r"choice has no network 'larg' \(did you mean large\?\)"):
        Session.open(bundle.path, network="larg")


@pytest.mark.parametrize("network", ["small", "medium", "large"])
def test_every_network_sees_the_picture_in_its_own_size(bundle: Bundle, network: str) -> None:
    with Session.open(bundle.path, threads=1) as every, Session.open(
        bundle.path, threads=1, network=network
    ) as one:
        wanted = one.infer(image=PICTURE)
        last = one.stages[-1].name
        results = {
            name: array for result in every.anytime(image=PICTURE) for name, array in result.exits.items()
        }
        assert wanted.stage == last
        if last in results:
            np.testing.assert_array_equal(results[last], wanted.exits[last])
        tensor, exits = one.golden()
        np.testing.assert_allclose(one.infer(**tensor).exits[last], exits[last], atol=1e-6)


def test_tensors_fit_only_one_of_networks_of_different_sizes(bundle: Bundle) -> None:
    with Session.open(bundle.path, threads=1) as session:
        with pytest.raises(InputError, match="see pictures in different sizes; give a uint8 picture"):
            session.infer(**session.golden()[0])
        with pytest.raises(InputError, match="image is missing"):
            session.infer()


def test_the_picture_of_a_submitted_frame_may_be_overwritten_at_once(bundle: Bundle) -> None:
    with Session.open(bundle.path, threads=1) as session:
        wanted = session.infer(image=PICTURE)
        scratch = PICTURE.copy()
        job = session.submit(image=scratch)
        scratch[...] = 0
        result = job.result()
        assert result.output is not None
        np.testing.assert_array_equal(result.output, wanted.output)


def test_the_bundle_itself_needs_nothing_installed_to_choose(bundle: Bundle, tmp_path: Path) -> None:
    assert "edgekit/runtime/alternatives.py" in _inside(Path(bundle.path, "runtime.zip"))


def _inside(path: Path) -> List[str]:
    import zipfile

    with zipfile.ZipFile(str(path)) as archive:
        return archive.namelist()


def test_what_preparing_takes_counts_against_the_budget_and_is_no_stage_s_time(bundle: Bundle) -> None:
    model = LatencyModel(stage.name for stage in bundle.manifest.stages)
    for name, usual in TAKES.items():
        model.start(name, [usual] * 200)
    scheduler = scheduler_of(bundle.manifest, model)
    assert scheduler.next(0.0, 45.0, 0).stage == "stage4"
    scheduler.prepared("stage1", 10.0)  # large's own is not known yet, so small's stands for it
    assert scheduler.next(0.0, 45.0, 0).stage == "stage2"
    for _ in range(200):
        scheduler.prepared("stage4", 3.0)
    assert scheduler.next(0.0, 45.0, 0).stage == "stage4"


def test_only_the_network_that_runs_has_its_picture_prepared(bundle: Bundle) -> None:
    with Session.open(bundle.path, threads=1) as session:
        frames: List[Tuple[str, ...]] = []
        session.observe(
            lambda execution: frames.append(tuple(name for name, _, _ in execution.progress.prepared))
        )
        alone = session.infer(image=PICTURE)
        # One or two: which of these toys is the quickest is measured
        ran = {result.network for result in session.anytime(image=PICTURE)}
        assert frames[0] == ("stage4",)
        assert len(frames[1]) == len(ran)
        assert 0 < alone.preprocess_ms < alone.elapsed_ms
        assert alone.begun_ms["stage4"] >= alone.preprocess_ms
