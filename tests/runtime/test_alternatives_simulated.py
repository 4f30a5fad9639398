"""Several networks on a device that is not there: the same decisions as a session's, against an oracle, and replayed."""

import json
import threading
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest

from edgekit.bundle import Bundle, read_bundle
from edgekit.cli import main
from edgekit.runtime.alternatives import ladder, scheduler_of
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.recording import Recorder, read_recording, write_recording
from edgekit.runtime.simulation.simulate import possible_exits, replay, simulate
from edgekit.runtime.simulation.strategies import EDGEKIT, MEAN, ORACLE, answer_all, compare, strategies
from edgekit.runtime.simulation.workload import Workload, modelled
from edgekit.runtime.trace import of_result, trace
from tests.runtime.virtual import FakeBackend, JumpingClock
from tests.toy_graphs import write_alternatives

TAKES = {"stage1": 5.0, "stage2": 8.0, "stage3": 8.0, "stage4": 40.0}
STAGES = tuple((name, True) for name in TAKES)
PICTURE = np.zeros((12, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_alternatives(str(tmp_path_factory.mktemp("bundles") / "choice.edgekit"))


def workload(frames: int, spread: float = 0.1, seed: int = 1) -> Workload:
    random = np.random.RandomState(seed)
    measured = {name: list(usual * random.lognormal(0.0, spread, 200)) for name, usual in TAKES.items()}
    return modelled(STAGES, measured, frames, 1.0, seed)


@pytest.mark.parametrize("budget", [4.0, 12.0, 30.0, 60.0])
def test_a_session_with_these_durations_answers_as_the_simulation_does(bundle: Bundle, budget: float) -> None:
    clock = JumpingClock()
    session = Session(
        bundle, FakeBackend(clock, lambda stage, frame: TAKES[stage], 3.0), clock=clock, warmup=3
    )
    try:
        session.submit(image=PICTURE, budget_ms=1).result()
        model = LatencyModel(TAKES)
        for name, usual in TAKES.items():
            model.start(name, [usual] * 2)
        work = Workload(STAGES, np.arange(4) * 1000.0, np.zeros(4), np.array([list(TAKES.values())] * 4), {})
        expected = simulate(
            session.manifest, work, budget, scheduler_of(session.manifest, model), model, "return", 3.0, 0.5
        )
        for frame in range(4):
            result = session.infer(budget_ms=budget, image=PICTURE)
            number = 0 if result.stage is None else expected.exits.index(result.stage) + 1
            assert (number, result.missed) == (expected.exit[frame], expected.missed[frame])
            pause = threading.Condition()
            with pause:
                clock.wait(pause, clock.now() + 1000.0)
    finally:
        clock.leave()
        session.close()


def test_the_oracle_reaches_what_the_durations_allow_and_nobody_reaches_more(bundle: Bundle) -> None:
    work = workload(300)
    for budget in (6.0, 14.0, 18.0, 42.0, 80.0):
        found = {
            name: answer_all(bundle.manifest, work, budget, strategy)
            for name, strategy in strategies(STAGES, "return", None, bundle.manifest).items()
        }
        best = found[ORACLE]
        np.testing.assert_array_equal(best.exit, best.possible)
        np.testing.assert_array_equal(best.possible, possible_exits(work, budget, ladder(bundle.manifest)))
        for outcomes in found.values():
            assert (np.where(outcomes.missed, 0, outcomes.exit) <= best.exit).all()


def test_choosing_beats_every_network_alone_over_the_budgets(bundle: Bundle) -> None:
    totals: Dict[str, float] = {}
    late: Dict[str, float] = {}
    for budget in (8.0, 14.0, 20.0, 30.0, 45.0, 60.0):
        for name, figures in compare(bundle.manifest, workload(400), budget).items():
            totals[name] = totals.get(name, 0.0) + (figures.accuracy or 0.0)
            late[name] = late.get(name, 0.0) + figures.late_share
    assert {"always small", "always medium", "always large"} < set(totals)
    alone = max(value for name, value in totals.items() if name.startswith("always"))
    assert totals[EDGEKIT] > 1.1 * alone
    assert totals[EDGEKIT] > 0.95 * totals[ORACLE]
    assert 5 * late[EDGEKIT] < late[MEAN]


def test_recorded_frames_are_decided_the_same_way_again(bundle: Bundle, tmp_path: Path) -> None:
    with Session.open(bundle.path, threads=1, warmup=0) as session:
        recorder = Recorder(session)
        for budget in (None, 50.0, 0.3, 0.05):
            for _ in range(4):
                session.infer(budget_ms=budget, image=PICTURE)
                list(session.anytime(budget_ms=budget, image=PICTURE))
                session.submit(budget_ms=budget, image=PICTURE).result()
        recording = recorder.recording({})
    path = str(tmp_path / "run.jsonl")
    write_recording(path, recording)
    assert read_recording(path) == recording
    assert any(frame.cheapest_first for frame in recording.frames)
    assert replay(bundle.manifest, read_recording(path)) == []


def test_the_timeline_names_the_networks(bundle: Bundle) -> None:
    with Session.open(bundle.path, threads=1) as session:
        result = session.infer(image=PICTURE)
    networks = {stage: network.name for network in bundle.manifest.networks for stage in network.stages}
    events = trace([of_result(result)], list(TAKES), {}, networks)["traceEvents"]
    assert isinstance(events, list)
    assert "stage4 (large)" in [event["name"] for event in events]


def test_the_verb_compares_the_networks(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "profile.json"
    stages = {name: {"variant": "plain", "durations_ms": [usual]} for name, usual in TAKES.items()}
    profile.write_text(json.dumps({"stages": stages}), encoding="utf-8")
    words = [
        "simulate",
        bundle.path,
        "--profile",
        str(profile),
        "--deadline",
        "20",
        "--frames",
        "50",
        "--json",
    ]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    names: List[str] = list(document["budgets"][0]["strategies"])
    assert "always medium" in names
    assert read_bundle(bundle.path).manifest.networks
