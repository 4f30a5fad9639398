"""Batches: every sample gets the answer that it gets alone, in the order of the pictures, and few stages run half empty."""

from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.bundle import Bundle
from edgekit.errors import BackendError, InputError, OptionError
from edgekit.runtime.backends import Backend, Frame
from edgekit.runtime.batches import Pictures
from edgekit.runtime.clock import Clock
from edgekit.runtime.policies import Confidence, Policy, Reached
from edgekit.runtime.session import Session
from tests.toy_graphs import SIDE, exits_logits, exits_weights, write_exits

EXITS, CLASSES = 3, 5
THRESHOLDS = [0.7, 0.6, None]


def tensors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randn(count, 3, SIDE, SIDE).astype(np.float32)


@pytest.fixture(scope="module", params=[None, 4, 1], ids=["any", "four", "one"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Networks whose graphs take any number of pictures at once, four, or one."""
    return write_exits(str(tmp_path_factory.mktemp("batch") / "exits.edgekit"), EXITS, CLASSES, request.param)


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> Iterator[Session]:
    with Session.open(bundle.path, threads=1, policies=[Confidence(THRESHOLDS)]) as opened:
        yield opened


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(0, 90))
def test_every_sample_leaves_where_it_would_alone_with_the_answer_it_would_get_alone(
    session: Session, seed: int, count: int
) -> None:
    images = tensors(count, seed)
    logits = exits_logits(images, exits_weights(EXITS, CLASSES)) if count else np.zeros((EXITS, 0, CLASSES))
    results = session.infer_batch(images)
    assert len(results) == count
    for k, result in enumerate(results):
        own = logits[:, k]
        sure = [
            np.exp(one - one.max()).max() / np.exp(one - one.max()).sum() for one in own.astype(np.float64)
        ]
        if min(abs(sure[0] - 0.7), abs(sure[1] - 0.6)) < 1e-5:
            continue  # rounding decides
        leaves = 0 if sure[0] >= 0.7 else 1 if sure[1] >= 0.6 else 2
        assert result.stage == f"stage{leaves + 1}"
        assert result.reason == ("final" if leaves == 2 else "confident")
        assert result.output == pytest.approx(own[leaves], abs=1e-4)
        assert list(result.exits) == list(result.stage_ms) == [f"stage{j + 1}" for j in range(leaves + 1)]
        assert all(result.exits[f"stage{j + 1}"].shape == (1, CLASSES) for j in range(leaves + 1))
        assert result.elapsed_ms > 0 and not result.missed


def test_pictures_are_prepared_as_infer_prepares_them(tmp_path: Path) -> None:
    write_exits(str(tmp_path / "one.edgekit"), EXITS, CLASSES)
    random = np.random.RandomState(0)
    pictures = [random.randint(0, 256, (h, w, 3)).astype(np.uint8) for h, w in ((6, 6), (9, 12), (30, 5))]
    with Session.open(str(tmp_path / "one.edgekit"), threads=1) as session:
        together = session.infer_batch(pictures)
        for picture, result in zip(pictures, together):
            assert result.output == pytest.approx(session.infer(image=picture).output, abs=1e-5)


class Counting(Policy):
    """Lets the samples leave at stage1 whose first pixel is positive, and counts them."""

    def __init__(self, leaving: Mapping[bytes, bool]) -> None:
        self.leaving = leaving
        self.asked: List[str] = []

    def stop(self, reached: Reached) -> Optional[str]:
        self.asked.append(reached.exits[-1][0])
        return "left" if self.leaving.get(reached.exits[0][1].tobytes(), False) else None


def watched(session: Session, monkeypatch: pytest.MonkeyPatch) -> List[Tuple[str, int]]:
    """Every stage that the session's backend runs from now on, with the number of samples."""
    ran: List[Tuple[str, int]] = []
    start = session.backend.start

    def starting(inputs: Mapping[str, np.ndarray]) -> Frame:
        frame = start(inputs)
        run = frame.run

        def running(stage: str) -> None:
            ran.append((stage, len(next(iter(inputs.values())))))
            run(stage)

        monkeypatch.setattr(frame, "run", running)
        return frame

    monkeypatch.setattr(session.backend, "start", starting)
    return ran


def test_those_that_stay_are_packed_densely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_exits(str(tmp_path / "four.edgekit"), EXITS, CLASSES, batch=4)
    images = tensors(16)
    with Session.open(bundle.path, threads=1, policies=()) as every:
        first = [result.exits["stage1"].tobytes() for result in every.infer_batch(images)]
    leaving = Counting({logits: bool(k % 2) for k, logits in enumerate(first)})
    with Session.open(bundle.path, threads=1, policies=[leaving]) as session:
        ran = watched(session, monkeypatch)
        results = session.infer_batch(images)
    assert [result.stage for result in results] == ["stage3", "stage1"] * 8
    counts = {
        stage: [count for name, count in ran if name == stage] for stage in ("stage1", "stage2", "stage3")
    }
    assert counts == {"stage1": [4] * 4, "stage2": [4] * 2, "stage3": [4] * 2}  # and not half full ones
    assert ran.index(("stage3", 4)) < len(ran) - 3  # later stages do not wait for the last picture


def test_the_last_pack_of_a_graph_for_just_so_many_is_filled_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_exits(str(tmp_path / "four.edgekit"), EXITS, CLASSES, batch=4)
    with Session.open(bundle.path, threads=1) as session:
        ran = watched(session, monkeypatch)
        assert len(session.infer_batch(tensors(5))) == 5
    assert {count for _, count in ran} == {4}


def test_graphs_for_any_number_get_no_more_than_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_exits(str(tmp_path / "any.edgekit"), EXITS, CLASSES, batch=None)
    with Session.open(bundle.path, threads=1) as session:
        ran = watched(session, monkeypatch)
        session.infer_batch(tensors(37))
    assert sorted(ran) == sorted((f"stage{k}", count) for k in (1, 2, 3) for count in (32, 5))


class SlowClock(Clock):
    """A clock that a slowed backend sets."""

    def __init__(self) -> None:
        super().__init__()
        self.instant = 0.0

    def now(self) -> float:
        return self.instant


def slowed(session: Session, clock: SlowClock, ms: Dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    start = session.backend.start

    def starting(inputs: Mapping[str, np.ndarray]) -> Frame:
        frame = start(inputs)
        run = frame.run

        def running(stage: str) -> None:
            run(stage)
            clock.instant += ms[stage]

        monkeypatch.setattr(frame, "run", running)
        return frame

    monkeypatch.setattr(session.backend, "start", starting)


OpenSlowed = Callable[[Dict[str, float]], Session]


@pytest.fixture
def open_slowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenSlowed:
    """Open a network of four pictures at once, each of whose stages takes the given ms."""

    def opened(ms: Dict[str, float]) -> Session:
        bundle = write_exits(str(tmp_path / "four.edgekit"), EXITS, CLASSES, batch=4)
        clock = SlowClock()
        session = Session.open(bundle.path, threads=1, clock=clock, warmup=0)
        slowed(session, clock, ms, monkeypatch)
        for _ in range(40):
            session.infer_batch(tensors(4))
        return session

    return opened


def test_within_a_budget_every_sample_is_answered_before_any_is_answered_better(
    open_slowed: OpenSlowed,
) -> None:
    session = open_slowed({"stage1": 10.0, "stage2": 10.0, "stage3": 10.0})
    results = session.infer_batch(tensors(12), budget_ms=55)
    assert [result.stage for result in results] == ["stage2"] * 8 + ["stage1"] * 4
    assert {result.reason for result in results} == {"budget"}
    assert not any(result.missed for result in results)
    assert max(result.elapsed_ms for result in results) <= 55
    session.close()


def test_the_first_answers_come_even_if_they_are_late(open_slowed: OpenSlowed) -> None:
    session = open_slowed({"stage1": 10.0, "stage2": 10.0, "stage3": 10.0})
    results = session.infer_batch(tensors(12), budget_ms=15)
    assert [result.stage for result in results] == ["stage1"] * 12
    assert [result.missed for result in results] == [False] * 4 + [True] * 8
    session.close()


def test_a_stage_that_fails_leaves_the_answers_before_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session.open(bundle.path, threads=1) as session:
        _break(session.backend, "stage2", monkeypatch)
        results = session.infer_batch(tensors(6))
        assert {(one.stage, one.reason, one.error) for one in results} == {
            ("stage1", "error", "stage2 broke")
        }
        _break(session.backend, "stage1", monkeypatch)
        with pytest.raises(BackendError, match="stage1 broke"):
            session.infer_batch(tensors(6))


def _break(backend: Backend, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start = backend.start

    def starting(inputs: Mapping[str, np.ndarray]) -> Frame:
        frame = start(inputs)
        run = frame.run

        def running(name: str) -> None:
            if name == stage:
                raise BackendError(f"{stage} broke")
            run(name)

        monkeypatch.setattr(frame, "run", running)
        return frame

    monkeypatch.setattr(backend, "start", starting)


def test_tensors_may_come_in_one_array_or_in_a_list_of_any_form(session: Session) -> None:
    array = tensors(7)
    expected = [result.exits[result.stage or ""] for result in session.infer_batch(array)]
    forms: Tuple[Pictures, ...] = (
        list(array),
        [one[None] for one in array],
        array[:, None],
        array.astype(np.float64),
        array[::-1][::-1],
        [array[0], array[1][None].astype(np.float64), *array[2:]],
    )
    for form in forms:
        for result, logits in zip(session.infer_batch(form), expected):
            np.testing.assert_allclose(result.exits[result.stage or ""], logits, rtol=1e-5, atol=1e-6)


def test_a_picture_that_cannot_be_used_is_named(session: Session) -> None:
    with pytest.raises(InputError, match=r"picture 2 \(the first is 0\)"):
        session.infer_batch([*tensors(2), np.zeros((3, SIDE, SIDE), np.int64)])
    with pytest.raises(InputError, match=r"picture 0 .*cannot be read as an array"):
        session.infer_batch([[[1], [2, 3]]])
    with pytest.raises(InputError, match=r"picture 1 .*NaN"):
        session.infer_batch([tensors(1)[0], np.full((3, SIDE, SIDE), np.nan, np.float32)])


def test_a_network_of_several_inputs_is_refused(stereo_bundle: Bundle) -> None:
    with Session.open(stereo_bundle.path, threads=1) as session, pytest.raises(OptionError, match="several"):
        session.infer_batch([])
