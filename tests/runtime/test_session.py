"""What a session promises its user: the best answer in time, whatever the stages do. On a virtual clock, and for real."""

import threading
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgekit
from edgekit.bundle import Bundle
from edgekit.errors import BackendError, EdgekitError, InputError, OptionError
from edgekit.runtime.clock import Clock
from edgekit.runtime.policies import FixedStage, Policy, Reached
from edgekit.runtime.result import Result
from edgekit.runtime.session import Session
from tests.runtime.virtual import FakeBackend, JumpingClock
from tests.toy_graphs import stereo_exits

MakeSession = Callable[..., Session]
MS = {"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0}


def golden(session: Session) -> Dict[str, object]:
    return dict(session.golden()[0])


# --- The answer -------------------------------------------------------------------------------------------------------


def test_without_a_budget_every_stage_runs_and_the_exits_are_the_golden_ones(session: Session) -> None:
    inputs, exits = session.golden()
    result = session.infer(**inputs)
    assert result.reason == "final"
    assert result.stage == "stage4"
    assert list(result.exits) == ["stage1", "stage2", "stage4"]
    for name, expected in exits.items():
        np.testing.assert_allclose(result.exits[name], expected, atol=1e-6)
    assert list(result.stage_ms) == ["stage1", "stage2", "stage3", "stage4"]
    assert not result.missed
    assert result.slack_ms is None


def test_a_result_outlives_the_next_frames_and_the_session(stereo_bundle: Bundle) -> None:
    with Session.open(stereo_bundle.path) as session:
        inputs, exits = session.golden()
        result = session.infer(**inputs)
        for _ in range(3):
            session.infer(left=-inputs["left"], right=inputs["right"] * 3)
    for name, expected in exits.items():
        np.testing.assert_allclose(result.exits[name], expected, atol=1e-6)


def test_pictures_give_a_disparity_of_their_own_size(session: Session) -> None:
    random = np.random.RandomState(0)
    left, right = (random.randint(0, 256, (14, 30, 3)).astype(np.uint8) for _ in range(2))
    result = session.infer(left=left, right=right)
    mean, std = np.array([0.5, 0.25, 0.125]), np.array([0.5, 0.25, 2.0])
    # The picture lies at the bottom right of the 16 x 32 tensor.
    tensors = [((picture / 255 - mean) / std).transpose(2, 0, 1)[None] for picture in (left, right)]
    expected = stereo_exits(*(tensor.astype(np.float32) for tensor in tensors))["stage4"][0, 0]
    assert result.output is not None
    assert result.output.shape == (14, 30)
    np.testing.assert_allclose(result.output, expected, atol=1e-5)


def test_a_classifier_answers_with_one_vector_of_logits(classifier_bundle: Bundle) -> None:
    with Session.open(classifier_bundle.path) as session:
        inputs, exits = session.golden()
        result = session.infer(**inputs)
        assert result.output is not None
        assert result.output.shape == (500,)
        np.testing.assert_allclose(result.output, exits["stage2"][0], rtol=1e-4)


def test_anytime_gives_one_result_an_exit_and_the_last_one_says_why_it_is_the_last(session: Session) -> None:
    results = list(session.anytime(**golden(session)))
    assert [result.stage for result in results] == ["stage1", "stage2", "stage4"]
    assert [result.reason for result in results] == ["partial", "partial", "final"]


def test_what_is_done_to_an_answer_on_the_way_changes_no_later_one(session: Session) -> None:
    expected = [result.exits for result in session.anytime(**golden(session))]
    for result, exits in zip(session.anytime(**golden(session)), expected):
        assert result.output is not None
        np.testing.assert_array_equal(result.exits[str(result.stage)], exits[str(result.stage)])
        result.output[...] = np.nan
        for exit_array in result.exits.values():
            exit_array[...] = -1


def test_an_anytime_loop_that_is_left_early_does_not_stop_the_session(session: Session) -> None:
    for result in session.anytime(**golden(session)):
        assert result.stage == "stage1"
        break
    assert session.infer(**golden(session)).reason == "final"


def test_frames_may_be_interleaved(session: Session) -> None:
    inputs, exits = session.golden()
    outer = session.anytime(**inputs)
    next(outer)
    session.infer(left=inputs["right"], right=inputs["left"])
    last = list(outer)[-1]
    np.testing.assert_allclose(last.exits["stage4"], exits["stage4"], atol=1e-6)


# --- The budget, on a virtual clock -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrun", "budget", "stage", "reason"),
    [
        ("return", 200, "stage4", "final"),
        ("return", 40.5, "stage4", "final"),
        ("return", 39, "stage2", "budget"),
        ("return", 20.5, "stage2", "budget"),
        ("return", 19, "stage1", "budget"),
        ("finish", 50, "stage4", "final"),
        ("finish", 44, "stage2", "budget"),
        ("finish", 22.6, "stage2", "budget"),
        ("finish", 22, "stage1", "budget"),
        ("finish", 11, "stage1", "budget"),
    ],
)
def test_as_many_exits_are_reached_as_are_expected_to_fit(
    virtual: MakeSession, overrun: str, budget: float, stage: str, reason: str
) -> None:
    # Where a stage can be cancelled in time, its median must fit; where it would be waited for, its 99th percentile, which
    # after so short a warm-up is taken to be a quarter more.
    session = virtual(MS)
    result = session.infer(budget_ms=budget, overrun=overrun, **golden(session))
    assert (result.stage, result.reason, result.missed) == (stage, reason, False)
    assert result.predicted_ms["stage1"] == pytest.approx(10 if overrun == "return" else 12.5, rel=0.02)
    assert result.stage_ms["stage1"] == 10
    assert result.slack_ms == pytest.approx(budget - result.elapsed_ms)


@pytest.mark.parametrize(
    ("asked", "overrun", "expected"),
    [(None, "return", 0.2), (None, "finish", 0.99), (0.9, "return", 0.9), (0.9, "finish", 0.9)],
)
def test_the_confidence_asked_for_holds_and_else_depends_on_what_an_overrun_costs(
    stereo_bundle: Bundle, asked: Optional[float], overrun: str, expected: float
) -> None:
    random = np.random.RandomState(0)
    clock = JumpingClock()
    backend = FakeBackend(clock, lambda *_: float(random.uniform(5, 15)))
    session = Session(stereo_bundle, backend, clock=clock, warmup=200, confidence=asked)
    session.submit(**golden(session)).result()
    predictions = {share: session.latency.predict("stage1", share) for share in (0.2, 0.9, 0.99)}
    assert len(set(predictions.values())) == 3
    result = session.infer(budget_ms=500, overrun=overrun, **golden(session))
    assert result.predicted_ms["stage1"] == predictions[expected]
    clock.leave()
    session.close()


def test_a_stage_that_overruns_is_cancelled_and_the_answer_before_it_is_there_on_time(
    virtual: MakeSession,
) -> None:
    session = virtual(MS, later={"stage2": 1000.0})
    result = session.infer(budget_ms=60, **golden(session))
    assert (result.stage, result.reason, result.missed) == ("stage1", "budget", False)
    assert result.elapsed_ms <= 60
    assert isinstance(session.backend, FakeBackend)
    assert session.backend.begun == ["stage1", "stage2"]


def test_with_finish_a_stage_that_overruns_is_waited_for_and_the_result_says_that_it_is_late(
    virtual: MakeSession,
) -> None:
    session = virtual(MS, later={"stage2": 1000.0})
    result = session.infer(budget_ms=60, overrun="finish", **golden(session))
    assert (result.stage, result.reason, result.missed) == ("stage2", "budget", True)
    assert result.slack_ms == pytest.approx(60 - 1010)


def test_if_not_even_the_first_exit_can_be_there_the_result_says_so_on_time(virtual: MakeSession) -> None:
    session = virtual(MS)
    result = session.infer(budget_ms=4, **golden(session))
    assert result.output is None
    assert (result.stage, result.missed, result.reason) == (None, True, "budget")
    assert result.elapsed_ms <= 4


def test_a_cancelled_stage_that_is_slow_to_stop_delays_the_next_frame_but_harms_nothing(
    virtual: MakeSession,
) -> None:
    session = virtual(MS, later={"stage1": 10.0, "stage2": 35.0}, cancel_ms=7)
    first = session.infer(budget_ms=40, **golden(session))
    assert (first.stage, first.missed) == ("stage1", False)
    second = session.infer(budget_ms=40, **golden(session))
    assert (second.stage, second.missed) == ("stage1", False)
    assert second.begun_ms["stage1"] == pytest.approx(7)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(*[st.floats(0.1, 60)] * 4), min_size=1, max_size=4),
    st.floats(0.5, 150),
    st.floats(0, 10),
)
def test_no_answer_is_ever_later_than_its_deadline_whatever_the_stages_take(
    stereo_bundle: Bundle, frames: List[Tuple[float, ...]], budget: float, cancel_ms: float
) -> None:
    clock = JumpingClock()

    def duration(stage: str, frame: int) -> float:
        return MS[stage] if frame <= 4 else frames[(frame - 5) % len(frames)][int(stage[-1]) - 1]

    session = Session(stereo_bundle, FakeBackend(clock, duration, cancel_ms), clock=clock, warmup=3)
    inputs = golden(session)
    try:
        session.submit(**inputs).result()
        for _ in frames:
            result = session.infer(budget_ms=budget, **inputs)
            assert result.elapsed_ms <= budget + 1e-6
            assert result.missed == (result.output is None)
    finally:
        clock.leave()
        session.close()


def test_waiting_for_another_thread_counts_as_time_of_the_budget(virtual: MakeSession) -> None:
    session = virtual(MS)
    inputs = golden(session)
    first = session.submit(**inputs)
    second = session.infer(budget_ms=59, **inputs)
    assert first.result().stage == "stage4"
    # 40 ms go by until the first frame is over; one stage fits into the other 19.
    assert (second.stage, second.missed) == ("stage1", False)
    assert second.begun_ms["stage1"] == pytest.approx(40)


def test_a_deadline_is_an_instant_of_the_sessions_clock(virtual: MakeSession) -> None:
    session = virtual(MS)
    inputs = golden(session)
    result = session.infer_by(session.clock.now() + 30, **inputs)
    assert (result.stage, result.missed, result.budget_ms) == ("stage2", False, 30)
    late = session.infer_by(session.clock.now() - 5, **inputs)
    assert (late.output, late.missed, late.elapsed_ms) == (None, True, 0)


@pytest.mark.parametrize("ahead", [float("nan"), float("inf"), -float("inf"), 4e6, -4e6, 1.7e12])
def test_a_deadline_of_another_clock_is_refused(virtual: MakeSession, ahead: float) -> None:
    session = virtual(MS)
    with pytest.raises(OptionError, match=r"session\.clock\.now\(\)"):
        session.infer_by(session.clock.now() + ahead, **golden(session))
    with pytest.raises(OptionError, match="deadline"):
        session.infer_by("soon", **golden(session))  # type: ignore[arg-type]


def test_a_deadline_in_seconds_is_refused_even_soon_after_the_device_has_started(
    virtual: MakeSession,
) -> None:
    session = virtual(MS)
    assert isinstance(session.clock, JumpingClock)
    session.clock.advance(1_200_000.0)  # twenty minutes
    with pytest.raises(OptionError, match="that very clock, in milliseconds"):
        session.infer_by(session.clock.now() / 1000 + 0.03, **golden(session))
    assert session.infer_by(
        session.clock.now() - 50_000, **golden(session)
    ).missed  # a minute late is only late


def test_if_there_is_no_answer_in_time_the_last_one_is_given_with_its_age_if_asked_for(
    virtual: MakeSession,
) -> None:
    session = virtual(MS)
    inputs = golden(session)
    assert session.infer(budget_ms=4, reuse=True, **inputs).output is None  # nothing yet to give
    before = session.infer(budget_ms=30, reuse=True, **inputs)
    assert before.output is not None and before.age_ms is None
    answer = before.output.copy()
    for shown in (before.output, session.infer(budget_ms=4, reuse=True, **inputs).output):
        assert shown is not None
        shown[:] = -1  # what its owner does with one is not seen in the next
    asked = session.infer(budget_ms=4, reuse=True, **inputs)
    assert asked.output is not None and np.array_equal(asked.output, answer)
    assert (asked.stage, asked.missed) == (None, True)
    assert asked.age_ms == pytest.approx(session.clock.now() - before.started)
    assert session.infer(budget_ms=4, **inputs).output is None


def test_a_stage_that_is_always_cancelled_is_no_longer_tried(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage2": 1000.0}, cancel_ms=3)
    results = [session.infer(budget_ms=60, **golden(session)) for _ in range(20)]
    assert all(result.stage == "stage1" and not result.missed for result in results)
    assert results[0].cut is None or results[0].cut[0] == "stage2"
    assert results[-1].elapsed_ms == pytest.approx(10)  # returned at once instead of at the deadline


# --- Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [None, 100.0])
def test_a_stage_that_fails_leaves_the_answer_before_it_and_the_next_frame_runs(
    virtual: MakeSession, budget: float
) -> None:
    session = virtual(MS)
    backend = session.backend
    assert isinstance(backend, FakeBackend)
    backend.failing.add("stage2")
    result = session.infer(budget_ms=budget, **golden(session))
    assert (result.stage, result.reason, result.missed) == ("stage1", "error", False)
    assert result.error == "stage2 broke"
    backend.failing.clear()
    assert session.infer(budget_ms=budget, **golden(session)).reason == "final"


@pytest.mark.parametrize("budget", [None, 100.0])
def test_if_the_first_stage_fails_there_is_nothing_to_answer_with(
    virtual: MakeSession, budget: float
) -> None:
    session = virtual(MS)
    assert isinstance(session.backend, FakeBackend)
    session.backend.failing.add("stage1")
    with pytest.raises(BackendError, match="stage1 broke"):
        session.infer(budget_ms=budget, **golden(session))


def test_an_anytime_loop_hears_of_a_failed_stage(virtual: MakeSession) -> None:
    session = virtual(MS)
    assert isinstance(session.backend, FakeBackend)
    session.backend.failing.add("stage3")
    results = list(session.anytime(**golden(session)))
    assert [(result.stage, result.reason) for result in results] == [
        ("stage1", "partial"), ("stage2", "partial"), ("stage2", "error"),
    ]  # fmt: skip


def test_an_array_where_a_budget_belongs_is_not_printed_but_told_its_place(virtual: MakeSession) -> None:
    session = virtual(MS)
    with pytest.raises(OptionError, match=r"^an array was given as budget_ms: name the inputs.{1,40}$"):
        session.infer(*golden(session).values())


def test_a_result_is_printed_in_a_line_without_its_arrays(virtual: MakeSession) -> None:
    session = virtual(MS)
    shown = repr(session.infer(budget_ms=25, **golden(session)))
    assert "stage='stage2', reason='budget'" in shown and "output=float32 (" in shown and len(shown) < 250


@pytest.mark.parametrize("budget", [0, -1, float("nan"), "fast", True, [30], 10**400])
@pytest.mark.parametrize("method", ["infer", "anytime", "submit"])
def test_a_budget_that_is_no_positive_number_is_refused_at_the_call(
    session: Session, method: str, budget: object
) -> None:
    with pytest.raises(OptionError, match="must be a positive number of milliseconds"):
        getattr(session, method)(budget_ms=budget, **golden(session))


def test_an_infinite_budget_is_no_budget(session: Session) -> None:
    assert session.infer(budget_ms=float("inf"), **golden(session)).budget_ms is None


def test_a_budget_beyond_what_the_system_can_wait_for_is_one_nevertheless(session: Session) -> None:
    assert session.infer(budget_ms=1e300, **golden(session)).reason == "final"


def test_load_hands_every_option_on(stereo_bundle: Bundle) -> None:
    clock = Clock()
    with edgekit.load(
        stereo_bundle.path, backend="onnxruntime", providers=["CPUExecutionProvider"], threads=1,
        variants={"stage2": "plain"}, clock=clock, allow_nonfinite=True, warmup=1, confidence=0.75,
        policies=[FixedStage("stage2")], spin=False,
    ) as session:  # fmt: skip
        assert session.clock is clock
        assert session.variants["stage2"] == "plain"
        assert session.latency.confidence == 0.75
        assert session.backend.settings["threads"] == 1
        config = session.backend.settings["session_config"]
        assert isinstance(config, dict) and config["session.intra_op.allow_spinning"] == "0"
        inputs = {name: np.full_like(array, np.nan) for name, array in session.golden()[0].items()}
        assert session.infer(**inputs).reason == "fixed"


def test_unknown_options_are_refused_with_what_there_is(stereo_bundle: Bundle, session: Session) -> None:
    with pytest.raises(OptionError, match="return, finish"):
        session.infer(overrun="explode", **golden(session))
    with pytest.raises(OptionError, match="name the inputs"):
        session.infer(30, *golden(session).values())
    with pytest.raises(OptionError, match="the stages are stage1"):
        Session.open(stereo_bundle.path, variants={"stage9": "plain"})
    with pytest.raises(OptionError, match="it has plain, swapped"):
        Session.open(stereo_bundle.path, variants={"stage2": "fast"})
    with pytest.raises(OptionError, match="warmup"):
        Session.open(stereo_bundle.path, warmup=-1)
    with pytest.raises(OptionError, match=r'variants=.* such as \{"stage2": "plain"\}'):
        Session.open(stereo_bundle.path, variants=["swapped"])  # type: ignore[arg-type]
    for confidence in (1.0, "sure"):
        with pytest.raises(OptionError, match="confidence"):
            Session.open(stereo_bundle.path, confidence=confidence)  # type: ignore[arg-type]


def test_after_a_refused_input_the_session_goes_on(session: Session) -> None:
    with pytest.raises(InputError):
        session.infer(left=np.zeros((14, 30, 3), np.uint8))
    assert session.infer(**golden(session)).reason == "final"


# --- Threads, and the end ---------------------------------------------------------------------------------------------


def test_two_threads_on_one_session_get_their_own_answers(session: Session) -> None:
    inputs, _ = session.golden()
    wrong: List[str] = []

    def work(sign: float) -> None:
        left, right = inputs["left"] * np.float32(sign), inputs["right"]
        expected = stereo_exits(left, right)
        for k in range(20):
            result = session.infer(left=left, right=right, budget_ms=None if k % 2 else 10_000)
            for name, array in result.exits.items():
                if not np.allclose(array, expected[name], atol=1e-5):
                    wrong.append(f"{sign} {name}")

    threads = [threading.Thread(target=work, args=(sign,)) for sign in (1.0, -2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_closed_session_says_so_and_may_be_closed_again(stereo_bundle: Bundle) -> None:
    session = Session.open(stereo_bundle.path)
    inputs = golden(session)
    session.close()
    session.close()
    for call in (session.infer, session.anytime, session.submit):
        with pytest.raises(EdgekitError, match="closed"):
            call(**inputs)


def test_close_ends_a_running_job_keeps_what_it_reached_and_leaves_no_thread(
    classifier_bundle: Bundle,
) -> None:
    before = threading.active_count()
    session = Session.open(classifier_bundle.path, threads=1)
    jobs = [session.submit(**golden(session)) for _ in range(3)]
    session.close()
    assert threading.active_count() == before
    assert all(job.done() for job in jobs)
    assert jobs[-1].result().reason == "cancelled"
    assert jobs[-1].result().output is None


class Held(Policy):
    """Lets a frame that has an answer go on when it is told to."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def stop(self, reached: Reached) -> None:
        self.reached.set()
        assert self.go.wait(20)


@pytest.mark.parametrize("overrun", ["return", "finish"])
def test_whoever_waits_for_a_frame_while_another_thread_closes_the_session_has_its_answer(
    stereo_bundle: Bundle, overrun: str
) -> None:
    before, held = threading.active_count(), Held()
    results: List[Result] = []
    held.go.set()
    session = Session.open(stereo_bundle.path, threads=1, policies=[held])
    inputs = golden(session)
    held.reached.clear()
    held.go.clear()
    caller = threading.Thread(
        target=lambda: results.append(session.infer(budget_ms=1e5, overrun=overrun, **inputs))
    )
    closer = threading.Thread(target=session.close)
    caller.start()
    assert held.reached.wait(20)
    closer.start()
    held.go.set()
    caller.join(20)
    closer.join(20)
    assert results[0].output is not None
    assert threading.active_count() == before
    with pytest.raises(EdgekitError, match="closed"):
        session.infer(**inputs)


def test_the_chosen_variant_is_the_one_wanted_then_the_default_of_the_backend(stereo_bundle: Bundle) -> None:
    with Session.open(stereo_bundle.path) as session:
        assert session.variants["stage2"] == "swapped"
    with Session.open(stereo_bundle.path, variants={"stage2": "plain"}) as session:
        assert session.variants["stage2"] == "plain"
        inputs, exits = session.golden()
        np.testing.assert_allclose(session.infer(**inputs).exits["stage2"], exits["stage2"], atol=1e-6)


def test_a_frame_whose_time_is_up_before_its_turn_came_leaves_the_queue(virtual: MakeSession) -> None:
    session = virtual(MS)
    inputs = golden(session)
    first = session.submit(**inputs)
    late = session.infer(budget_ms=15, **inputs)
    assert (late.output, late.missed, late.reason, late.stage_ms) == (None, True, "budget", {})
    assert first.result().reason == "final"
    assert isinstance(session.backend, FakeBackend)
    assert session.backend.begun == ["stage1", "stage2", "stage3", "stage4"]
    assert session.infer(**inputs).reason == "final"
