"""Jobs: answers at any moment, from any thread."""

import asyncio
import threading
from typing import Callable, Dict, List, NoReturn, Optional, Tuple

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.clock import Clock
from edgekit.runtime.device.priority import Priority
from edgekit.runtime.errands import GONE_MS
from edgekit.runtime.job import Job, Worker
from edgekit.runtime.policies import Policy, Reached
from edgekit.runtime.result import Result
from edgekit.runtime.session import Session
from tests.runtime.virtual import FakeBackend, JumpingClock

MakeSession = Callable[..., Session]
MS = {"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0}


def golden(session: Session) -> Dict[str, object]:
    return dict(session.golden()[0])


def test_a_job_ends_with_the_last_exit(session: Session) -> None:
    job = session.submit(**golden(session))
    result = job.result()
    assert (result.stage, result.reason) == ("stage4", "final")
    assert job.done()
    assert job.best() is result


def test_best_is_what_has_been_reached_at_that_moment(virtual: MakeSession) -> None:
    session = virtual(MS)
    job = session.submit(**golden(session))
    assert job.best() is None
    with pytest.raises(TimeoutError, match="no exit within 5 ms"):
        job.result(timeout_ms=5)
    partial = job.result(timeout_ms=10)
    assert (partial.stage, partial.reason) == ("stage1", "partial")
    best = job.best()
    assert best is not None
    assert best.stage == "stage1"
    assert not job.done()
    assert job.result().stage == "stage4"


def test_a_cancelled_job_keeps_what_it_reached(virtual: MakeSession) -> None:
    session = virtual(MS)
    job = session.submit(**golden(session))
    job.result(timeout_ms=15)
    job.cancel()
    result = job.result()
    assert (result.stage, result.reason) == ("stage1", "cancelled")
    assert list(result.stage_ms) == ["stage1"]
    job.cancel()  # a second time, and after the end, it does nothing
    assert job.result() is result
    assert session.infer(**golden(session)).reason == "final"


def test_a_job_that_waits_for_its_turn_is_over_as_soon_as_it_is_cancelled(virtual: MakeSession) -> None:
    session = virtual(MS)
    jobs = [session.submit(**golden(session)) for _ in range(3)]
    jobs[1].cancel()
    result = jobs[1].result()
    assert (result.reason, result.output, jobs[0].done()) == ("cancelled", None, False)
    assert [jobs[k].result().reason for k in (0, 2)] == ["final", "final"]


@pytest.mark.parametrize("timeout", [float("nan"), "soon", [1], True])
def test_a_time_to_wait_that_is_no_number_is_refused(session: Session, timeout: object) -> None:
    job = session.submit(**golden(session))
    with pytest.raises(OptionError, match=r"timeout_ms=.* must be a number of milliseconds"):
        job.result(timeout_ms=timeout)  # type: ignore[arg-type]
    assert job.result(timeout_ms=float("inf")).reason == "final"


def test_a_job_with_a_budget_stops_at_what_is_expected_to_fit(virtual: MakeSession) -> None:
    session = virtual(MS)
    result = session.submit(budget_ms=30, **golden(session)).result()
    assert (result.stage, result.reason, result.missed) == ("stage2", "budget", False)


def test_a_job_whose_first_stage_fails_raises_when_it_is_asked(virtual: MakeSession) -> None:
    session = virtual(MS)
    assert isinstance(session.backend, FakeBackend)
    session.backend.failing.add("stage1")
    job = session.submit(**golden(session))
    with pytest.raises(BackendError, match="stage1 broke"):
        job.result()
    assert job.done()
    assert job.best() is None
    session.backend.failing.clear()
    assert session.submit(**golden(session)).result().reason == "final"


def test_what_was_submitted_may_be_overwritten_at_once(session: Session) -> None:
    inputs, exits = session.golden()
    given = {name: array.copy() for name, array in inputs.items()}
    job = session.submit(**given)
    for array in given.values():
        array[...] = 0
    np.testing.assert_allclose(job.result().exits["stage4"], exits["stage4"], atol=1e-6)


def test_jobs_run_in_the_order_of_their_coming_on_one_named_thread(classifier_bundle: Bundle) -> None:
    before = threading.active_count()
    with Session.open(classifier_bundle.path, threads=1) as session:
        jobs = [session.submit(**golden(session)) for _ in range(4)]
        started = [job.result().begun_ms["stage1"] + job.result().started for job in jobs]
        assert started == sorted(started)
        assert threading.active_count() == before + 1
        assert "edgekit-toyclass" in [thread.name for thread in threading.enumerate()]


def test_close_ends_the_job_that_runs_and_drops_those_that_wait(virtual: MakeSession) -> None:
    session = virtual(MS)
    jobs = [session.submit(**golden(session)) for _ in range(3)]
    jobs[0].result(timeout_ms=15)
    assert isinstance(session.clock, JumpingClock)
    session.clock.leave()
    session.close()
    results = [job.result() for job in jobs]
    assert [result.reason for result in results] == ["cancelled"] * 3
    assert [result.stage for result in results] == ["stage1", None, None]


# --- Callbacks, the latest frame, asyncio -----------------------------------------------------------------------------


def test_every_exit_is_told_as_it_comes(virtual: MakeSession) -> None:
    session = virtual(MS)
    told: List[Tuple[Optional[str], float]] = []
    job = session.submit(
        on_exit=lambda result: told.append((result.stage, result.elapsed_ms)), **golden(session)
    )
    job.result()
    assert told == [("stage1", 10.0), ("stage2", 20.0), ("stage4", 40.0)]


def test_a_callback_that_raises_stops_neither_its_frame_nor_the_next(
    virtual: MakeSession, caplog: pytest.LogCaptureFixture
) -> None:
    session = virtual(MS)

    def broken(result: Result) -> None:
        raise RuntimeError("mine")

    assert session.submit(on_exit=broken, **golden(session)).result().reason == "final"
    assert "on_exit raised" in caplog.text
    assert session.submit(**golden(session)).result().reason == "final"


def test_a_callback_that_cannot_be_called_is_refused_at_the_call(session: Session) -> None:
    with pytest.raises(OptionError, match="on_exit=5: must be a function"):
        session.submit(on_exit=5, **golden(session))  # type: ignore[arg-type]


def test_a_callback_that_closes_its_session_ends_the_frame_and_the_thread(
    classifier_bundle: Bundle,
) -> None:
    before = threading.active_count()
    session = Session.open(classifier_bundle.path, threads=1)
    job = session.submit(on_exit=lambda result: session.close(), **golden(session))
    assert (job.result(20_000).stage, job.result().reason) == ("stage1", "cancelled")
    session.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("method", ["infer", "anytime"])
def test_a_callback_that_would_wait_for_its_own_thread_is_told_so_instead(
    session: Session, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    def ask(result: Result) -> None:
        getattr(session, method)(**golden(session))

    assert session.submit(on_exit=ask, **golden(session)).result(20_000).reason == "final"
    assert "cannot wait for itself: submit() the frame" in caplog.text


def test_a_callback_may_submit_the_next_frame(session: Session) -> None:
    next_ones: List[Job] = []
    session.submit(
        on_exit=lambda result: next_ones.append(session.submit(**golden(session))), **golden(session)
    ).result()
    assert next_ones and all(job.result().reason == "final" for job in next_ones)


@pytest.mark.parametrize("where", ["on_exit", "observe", "policy"])
def test_who_ends_the_process_in_a_callback_ends_no_thread_of_the_session(
    virtual: MakeSession, where: str
) -> None:
    def leave(*_: object) -> NoReturn:
        raise SystemExit

    class Leaving(Policy):
        def stop(self, reached: Reached) -> Optional[str]:
            leave()

    session = virtual(MS)
    if where == "observe":
        session.observe(leave)
    if where == "policy":
        session.plan.scheduler.policies = (Leaving(),)
    job = session.submit(on_exit=leave if where == "on_exit" else None, **golden(session))
    assert job.result().stage == ("stage1" if where == "policy" else "stage4")
    session.observe(None)
    assert session.submit(**golden(session)).result().stage == job.result().stage


def test_an_observer_that_raises_stops_no_frame_after_it(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(execution: object) -> None:
        raise ZeroDivisionError("mine")

    session.observe(broken)
    for _ in range(2):
        assert session.submit(**golden(session)).result(20_000).reason == "final"
    assert session.infer(budget_ms=20_000, **golden(session)).reason == "final"
    assert "a frame ended with an error" in caplog.text


def test_the_latest_frame_replaces_those_that_have_not_begun(virtual: MakeSession) -> None:
    session = virtual(MS)
    running = session.submit(**golden(session))
    assert running.result(timeout_ms=15).stage == "stage1"
    waiting = [session.submit(**golden(session)) for _ in range(2)]
    newest = session.submit(latest=True, **golden(session))
    assert newest.result().reason == "final"
    assert running.result().reason == "final"
    for job in waiting:
        assert job.done()
        assert job.best() is not None
        assert (job.result().reason, job.result().output) == ("replaced", None)


def test_a_job_can_be_awaited(session: Session) -> None:
    async def robot() -> List[Result]:
        jobs = [session.submit(**golden(session)) for _ in range(3)]
        return [await job for job in jobs] + [await jobs[0]]

    results = asyncio.get_event_loop_policy().new_event_loop().run_until_complete(robot())
    assert [result.stage for result in results] == ["stage4"] * 4


def test_cancelling_the_task_that_awaits_a_job_cancels_the_job(classifier_bundle: Bundle) -> None:
    async def robot(session: Session) -> Job:
        jobs = [session.submit(**golden(session)) for _ in range(4)]

        async def wait() -> Result:
            return await jobs[-1]

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return jobs[-1]

    with Session.open(classifier_bundle.path, threads=1) as session:
        job = asyncio.get_event_loop_policy().new_event_loop().run_until_complete(robot(session))
        assert job.result().reason == "cancelled"


def test_a_job_that_fails_raises_where_it_is_awaited(virtual: MakeSession) -> None:
    session = virtual(MS)
    assert isinstance(session.backend, FakeBackend)
    session.backend.failing.add("stage1")
    job = session.submit(**golden(session))
    with pytest.raises(BackendError):
        job.result()

    async def robot() -> None:
        with pytest.raises(BackendError, match="stage1 broke"):
            await job

    asyncio.get_event_loop_policy().new_event_loop().run_until_complete(robot())


def test_an_exit_is_told_with_whether_a_better_one_may_come(virtual: MakeSession) -> None:
    session = virtual(MS)
    told: List[Tuple[Optional[str], str]] = []
    session.submit(
        on_exit=lambda result: told.append((result.stage, result.reason)), **golden(session)
    ).result()
    assert told == [("stage1", "partial"), ("stage2", "partial"), ("stage4", "final")]
    told.clear()
    within = {"budget_ms": 25.0, **golden(session)}
    session.submit(on_exit=lambda result: told.append((result.stage, result.reason)), **within).result()  # type: ignore[arg-type]
    assert told == [("stage1", "partial"), ("stage2", "budget")]


def test_a_job_may_try_stages_that_only_probably_fit(virtual: MakeSession) -> None:
    session = virtual(MS)
    job = session.submit(budget_ms=22.0, confidence=0.5, **golden(session))
    assert job.result().stage == "stage2"
    with pytest.raises(OptionError, match="confidence=2"):
        session.submit(confidence=2.0, **golden(session))


def test_what_a_worker_is_to_call_is_called_in_its_time_and_at_the_latest_when_it_closes(
    session: Session,
) -> None:
    job = session.submit(**golden(session))
    worker = job.worker
    assert worker is not None
    came, told = threading.Event(), []  # type: threading.Event, List[str]
    worker.call(lambda: told.append("at the end"), at=1e12)
    worker.call(came.set, at=0.0)
    assert came.wait(10) and not told
    session.close()
    assert told == ["at the end"]
    worker.call(lambda: told.append("after it"), at=1e12)
    assert told == ["at the end", "after it"]


@pytest.mark.parametrize(
    ("runs", "looks", "wakes"),
    [(True, None, False), (False, 5.0, False), (False, 5.1, True), (False, None, True)],
)
def test_who_calls_on_his_way_back_wakes_only_a_worker_that_would_not_look_by_itself(
    session: Session, monkeypatch: pytest.MonkeyPatch, runs: bool, looks: Optional[float], wakes: bool
) -> None:
    clock, woken = Clock(), []  # type: Clock, List[object]
    worker = Worker("never started", threading.Lock(), clock, Priority())
    monkeypatch.setattr(clock, "notify_all", woken.append)
    worker._current = session.submit(**golden(session)) if runs else None
    worker._errands._sleeps_until = looks
    worker.call(lambda: None, at=5.0)
    assert bool(woken) == wakes


def test_after_a_frame_a_worker_looks_once_by_itself_if_somebody_ever_called(virtual: MakeSession) -> None:
    session, made = virtual(MS), []  # type: Session, List[float]
    worker, clock = session._returning.worker, session.clock
    for frame in range(2):
        session.submit(**session.golden()[0]).result()
        at = clock.now() + GONE_MS
        worker.call(lambda: made.append(clock.now()), at)
        pause = threading.Condition()
        with pause:
            clock.wait(pause, at + 5)
        assert made[frame:] == [at]
