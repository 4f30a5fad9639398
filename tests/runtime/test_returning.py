"""How much earlier than the deadline a caller is woken, and for what he is not, on a virtual clock."""

import threading
from typing import List, Optional

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime import returning
from edgekit.runtime.clock import Clock
from edgekit.runtime.execution import Execution
from edgekit.runtime.job import Job
from edgekit.runtime.punctuality import MOST_RESERVED, SPENT
from edgekit.runtime.result import Result
from edgekit.runtime.returning import AHEAD
from edgekit.runtime.session import Session
from tests.runtime.conftest import MakeSession
from tests.runtime.virtual import FakeBackend, JumpingClock

MS = {"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0}


def test_a_caller_who_was_woken_late_is_woken_earlier_from_then_on(virtual: MakeSession) -> None:
    session = virtual(MS)
    inputs = session.golden()[0]
    assert session.infer(budget_ms=60, **inputs).reserve_ms == 0
    for _ in range(20):
        session._returning._returns.add(2.0)
    reserve = session.infer(budget_ms=60, **inputs).reserve_ms
    assert 2 < reserve < 6


def test_what_comes_back_late_once_in_many_frames_is_waited_for_until_it_is_long_ago(
    virtual: MakeSession,
) -> None:
    session = virtual(MS)
    inputs = session.golden()[0]
    returns = session._returning._returns
    for number in range(1024):
        returns.add(2.4 if number in (1000, 1001) else 0.2)
    assert session.infer(budget_ms=60, **inputs).reserve_ms == 2.4
    for _ in range(1024):
        returns.add(0.2)
    assert session.infer(budget_ms=60, **inputs).reserve_ms == pytest.approx(0.2)


def test_a_stall_of_the_machine_takes_no_more_than_a_small_share_of_all_frames_time(
    virtual: MakeSession,
) -> None:
    session = virtual(MS)
    for number in range(1024):
        session._returning._returns.add(50.0 if number in (1000, 1001) else 0.2)
    assert session.infer(budget_ms=60, **session.golden()[0]).reserve_ms == pytest.approx(60 * SPENT)


def test_a_caller_comes_back_late_about_as_seldom_as_is_allowed_whatever_the_machine_does(
    virtual: MakeSession,
) -> None:
    session, random = virtual(MS), np.random.RandomState(0)
    returning, late = session._returning, 0
    for frame in range(10_000):
        back = 0.2 * (1 + random.pareto(3)) * (2 if frame >= 5000 else 1)  # from then on, on a busier machine
        late += back > returning.reserve_ms(300.0, True)
        returning._returns.add(back)
    assert late <= 25


def test_no_machine_wakes_so_late_that_nothing_of_a_budget_is_left(virtual: MakeSession) -> None:
    session = virtual(MS)
    session._returning._returns.add(1000.0)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert result.reserve_ms == pytest.approx(60 * MOST_RESERVED)
    assert result.stage is not None


def test_the_first_exit_is_waited_for_to_the_very_deadline(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage1": 58.0})
    session._returning._returns.add(1000.0)  # so that he would be woken at 51
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert (result.stage, result.missed) == ("stage1", False)
    assert result.elapsed_ms == 58


def test_a_later_exit_is_not_waited_for_beyond_the_reserve(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage2": 45.0})
    session._returning._returns.add(1000.0)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert (result.stage, result.missed) == ("stage1", False)
    assert result.elapsed_ms == pytest.approx(60 - 60 * MOST_RESERVED)


def test_a_frame_without_any_answer_returns_at_the_deadline(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage1": 1000.0})
    session._returning._returns.add(1000.0)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert (result.output, result.missed, result.reason) == (None, True, "budget")
    assert result.elapsed_ms == 60


def test_how_late_a_caller_wakes_is_known_when_a_session_opens(session: Session) -> None:
    first = session.infer(budget_ms=1000, **session.golden()[0])
    assert 0 < first.reserve_ms < 1000 * MOST_RESERVED


def test_the_first_returnss_are_trusted_less_than_many(virtual: MakeSession) -> None:
    session = virtual(MS)
    inputs = session.golden()[0]
    session._returning._returns.add(2.0)
    few = session.infer(budget_ms=60, **inputs).reserve_ms
    for _ in range(100):
        session._returning._returns.add(2.0)
    assert few > session.infer(budget_ms=60, **inputs).reserve_ms > 2


def test_a_session_whose_warm_up_fails_leaves_no_thread(stereo_bundle: Bundle) -> None:
    clock, before = JumpingClock(), threading.active_count()
    backend = FakeBackend(clock, lambda stage, frame: MS[stage])
    backend.failing = {"stage2"}
    with pytest.raises(BackendError, match="stage2 broke"):
        Session(stereo_bundle, backend, clock=clock)
    assert threading.active_count() == before


@pytest.mark.parametrize(("goes_after", "lets_him_go"), [(25.0, [40.0]), (1000.0, [])])
def test_a_stage_that_ends_when_its_caller_already_goes_lets_him_go_before_it_learns(
    virtual: MakeSession, monkeypatch: pytest.MonkeyPatch, goes_after: float, lets_him_go: List[float]
) -> None:
    session = virtual(MS)
    started = session.clock.now()
    slept: List[float] = []
    monkeypatch.setattr(
        "edgekit.runtime.job.time.sleep", lambda _: slept.append(session.clock.now() - started)
    )
    job = Job(session.begin(started, None, session.golden()[0], copy=True), session.clock)
    job._until = started + goes_after
    job.work()
    assert slept == lets_him_go


def test_he_who_waits_for_an_exit_has_it_before_anything_is_learnt_from_it(
    virtual: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = virtual(MS, later={"stage1": 58.0})
    session._returning._returns.add(1000.0)
    learnt: List[str] = []
    learn, result = session.latency.learn, Execution.result
    monkeypatch.setattr(session.latency, "learn", lambda *run: (learnt.append("learnt"), learn(*run)))
    monkeypatch.setattr(Execution, "result", lambda *call: (learnt.append("answered"), result(*call))[1])
    monkeypatch.setattr("edgekit.runtime.job.TAKING_S", 20.0)
    session.infer(budget_ms=60, **session.golden()[0])
    assert learnt[0] == "answered"


def answers(session: Session, monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """The instants, from now on, at which an answer is made, in ms after the first exit's."""
    made: List[float] = []
    result, began = Execution.result, session.clock.now()
    monkeypatch.setattr(
        Execution, "result", lambda *call: (made.append(session.clock.now() - began), result(*call))[1]
    )
    return made


def test_the_answer_is_there_when_its_caller_sets_out(
    virtual: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = virtual(MS, later={"stage2": 100.0})
    made = answers(session, monkeypatch)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert made == [pytest.approx(60 - AHEAD)]
    assert (result.stage, result.elapsed_ms, result.slack_ms, result.missed) == ("stage1", 60, 0, False)


def test_a_better_exit_that_comes_after_the_answer_was_made_is_the_answer(
    virtual: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = virtual(MS, later={"stage2": 50 - AHEAD / 2})
    made = answers(session, monkeypatch)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert len(made) == 2
    assert (result.stage, result.missed) == ("stage2", False)
    assert 60 - AHEAD < result.elapsed_ms <= 60


def test_an_answer_that_was_made_ahead_and_comes_late_says_so(
    virtual: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = virtual(MS, later={"stage2": 100.0})
    refreshed = Execution.refreshed

    def stalled(execution: Execution, drafted: Result) -> Optional[Result]:
        session.clock.advance(2.0)
        return refreshed(execution, drafted)

    monkeypatch.setattr(Execution, "refreshed", stalled)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert (result.stage, result.elapsed_ms, result.slack_ms, result.missed) == ("stage1", 62, -2, True)


def test_a_caller_is_awake_when_he_has_to_go_if_he_has_an_answer_and_the_stage_a_processor_left(
    virtual: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = virtual(MS, later={"stage2": 100.0})
    awake: List[float] = []
    monkeypatch.setattr(
        session.clock, "stay_awake", lambda over, until: awake.append(until - session.clock.now())
    )
    monkeypatch.setattr(returning, "usable_cores", lambda: 2)
    assert session.infer(budget_ms=60, **session.golden()[0]).elapsed_ms == 60
    assert awake == [pytest.approx(AHEAD)]
    session.infer(budget_ms=8, **session.golden()[0])  # without any
    monkeypatch.setattr(returning, "usable_cores", lambda: 1)
    session.infer(budget_ms=60, **session.golden()[0])
    assert len(awake) == 1


def test_whoever_goes_without_an_answer_goes_as_early_as_all_but_one_in_twenty_must(
    virtual: MakeSession,
) -> None:
    session = virtual(MS, later={"stage1": 1000.0})
    session._returning._returns.add(1000.0)  # who has one is woken at 51
    for number in range(100):
        session._returning._returns.add_without(3.0 if number % 10 == 0 else 1.0)
    assert session.infer(budget_ms=60, **session.golden()[0]).elapsed_ms == 57


def test_whoever_stays_awake_does_so_until_it_is_over_or_his_time_has_come() -> None:
    clock, looked = Clock(), []  # type: Clock, List[bool]
    clock.stay_awake(lambda: looked.append(True) or len(looked) == 3, clock.now() + 1e6)  # type: ignore[func-returns-value]
    assert len(looked) == 3
    clock.stay_awake(lambda: False, clock.now() + 0.1)
