"""Who may run before others, and for how long: system calls are recorded, since few may make them."""

import gc
import os
import threading
from typing import Callable, Dict, List, Tuple

import pytest

from edgekit.bundle import Bundle
from edgekit.errors import OptionError
from edgekit.runtime.backends.onnxruntime_settings import PIN
from edgekit.runtime.device.priority import PRIORITIES, WAITING, Priority, raise_all
from edgekit.runtime.session import Session

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="this system has no SCHED_FIFO")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[int, int]]:
    """A kernel that allows everything; policy and priority of the thread after every call, the present one last."""
    history = [(os.SCHED_OTHER, 0)]

    def change(thread: int, policy: int, parameters: os.sched_param) -> None:
        assert thread == 0, "another thread's priority is none of our business"
        history.append((policy, parameters.sched_priority))

    monkeypatch.setattr(os, "sched_setscheduler", change)
    monkeypatch.setattr(os, "sched_getscheduler", lambda thread: history[-1][0])
    monkeypatch.setattr(os, "sched_getparam", lambda thread: os.sched_param(history[-1][1]))
    return history


def test_a_priority_that_there_is_not_is_refused_with_those_that_there_are(stereo_bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="normal, realtime"):
        Session.open(stereo_bundle.path, priority="highest")


def test_who_may_not_be_realtime_is_told_how_he_may(
    stereo_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(OptionError, match="CAP_SYS_NICE"):
        Session.open(stereo_bundle.path, priority="realtime")


def test_a_caller_who_waits_comes_before_the_thread_that_works_and_is_afterwards_what_he_was(
    kernel: List[Tuple[int, int]],
) -> None:
    priority = Priority("realtime")
    levels: Dict[str, int] = {}
    for name, block in (("waiting", priority.waiting()), ("working", priority.working())):
        with block:
            policy, levels[name] = kernel[-1]
            assert policy == os.SCHED_FIFO | os.SCHED_RESET_ON_FORK  # what it starts has none of it
        assert kernel[-1] == (os.SCHED_OTHER, 0)
    assert 0 < levels["working"] < levels["waiting"] < 50


def test_threads_that_a_backend_starts_for_its_stages_inherit_the_priority(
    kernel: List[Tuple[int, int]],
) -> None:
    with Priority("realtime").loading(lambda: None):
        assert kernel[-1][0] == os.SCHED_FIFO


def test_in_real_time_no_thread_of_a_stage_is_kept_to_a_processor_where_one_above_it_may_wait_for_it(
    kernel: List[Tuple[int, int]], stereo_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda who: {0, 1})
    config = {}
    for priority in PRIORITIES:
        with Session.open(
            stereo_bundle.path, backend="onnxruntime", threads=2, warmup=0, priority=priority
        ) as session:
            config[priority] = dict(session.backend.settings["session_config"])  # type: ignore[call-overload]
    kept = set(config["normal"]) - set(config["realtime"])
    assert kept == ({PIN} if PIN in config["normal"] else set())
    assert PIN not in config["realtime"]


def test_a_caller_who_is_realtime_already_stays_what_he_is(kernel: List[Tuple[int, int]]) -> None:
    priority = Priority("realtime")
    kernel.append((os.SCHED_RR, 80))
    before = list(kernel)
    with priority.waiting():
        pass
    assert kernel == before


def test_nobody_is_raised_who_does_not_ask_for_it(
    kernel: List[Tuple[int, int]], stereo_bundle: Bundle
) -> None:
    with Session.open(stereo_bundle.path, threads=1, warmup=1) as session:
        session.infer(budget_ms=1000, **session.golden()[0])
    assert len(kernel) == 1


def test_who_asks_for_one_exit_after_the_other_is_raised_while_a_stage_runs_and_not_between(
    kernel: List[Tuple[int, int]], stereo_bundle: Bundle
) -> None:
    with Session.open(stereo_bundle.path, threads=1, warmup=0, priority="realtime") as session:
        for _ in session.anytime(**session.golden()[0]):
            assert kernel[-1] == (os.SCHED_OTHER, 0)
            assert kernel[-2][0] & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO


def test_garbage_is_not_collected_while_a_realtime_caller_waits(kernel: List[Tuple[int, int]]) -> None:
    with Priority("realtime").waiting():
        assert not gc.isenabled()
    assert gc.isenabled()
    with Priority("realtime").working(), Priority("normal").waiting():
        assert gc.isenabled()


def test_who_collects_no_garbage_is_left_alone(kernel: List[Tuple[int, int]]) -> None:
    gc.disable()
    try:
        with Priority("realtime").waiting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_all_threads_of_a_process_are_raised_but_those_that_are_in_real_time_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {int(task) for task in os.listdir("/proc/self/task")}
    there = dict.fromkeys(own, os.SCHED_OTHER)
    there[os.getpid()] = os.SCHED_FIFO  # the main thread
    raised: Dict[int, Tuple[int, int]] = {}

    def change(thread: int, policy: int, parameters: os.sched_param) -> None:
        raised[thread] = policy & ~os.SCHED_RESET_ON_FORK, parameters.sched_priority

    def ask(thread: int) -> int:
        if thread not in there:
            raise ProcessLookupError("it has ended")
        return there[thread]

    over = threading.Event()
    waiting = threading.Thread(target=over.wait)
    monkeypatch.setattr(os, "sched_setscheduler", change)
    monkeypatch.setattr(os, "sched_getscheduler", ask)
    waiting.start()  # one that the kernel does not know any more by the time it is asked
    try:
        raise_all()
    finally:
        over.set()
        waiting.join()
    assert raised == {thread: (os.SCHED_FIFO, WAITING) for thread in own if there[thread] == os.SCHED_OTHER}


class Threads:
    """What the kernel was told about every thread, by its number; 0 is the calling one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
        self.policies: Dict[int, int] = {}
        self.own = int(os.path.basename(os.readlink("/proc/thread-self")))
        monkeypatch.setattr(os, "sched_setscheduler", self._change)
        monkeypatch.setattr(
            os, "sched_getscheduler", lambda thread: self.policies.get(thread or self.own, os.SCHED_OTHER)
        )
        monkeypatch.setattr(os, "sched_getparam", lambda thread: os.sched_param(0))
        monkeypatch.setattr(os, "sched_getaffinity", lambda thread: set(range(processors)))

    def _change(self, thread: int, policy: int, parameters: os.sched_param) -> None:
        self.policies[thread or self.own] = policy & ~os.SCHED_RESET_ON_FORK

    @property
    def realtime(self) -> bool:
        return self.policies.get(self.own) == os.SCHED_FIFO


def test_a_caller_is_lowered_after_he_has_gone_by_a_thread_that_he_does_not_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, calls = Threads(monkeypatch, processors=2), []  # type: Threads, List[Callable[[], object]]
    with Priority("realtime").waiting() as raised:
        raised.lower_later(calls.append)
    assert threads.realtime
    other = threading.Thread(target=calls[0])
    other.start()
    other.join()
    assert not threads.realtime


def test_who_waits_for_his_next_frame_by_then_stays_raised_until_that_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, calls = Threads(monkeypatch, processors=2), []  # type: Threads, List[Callable[[], object]]
    priority = Priority("realtime")
    with priority.waiting() as raised:
        raised.lower_later(calls.append)
    with priority.waiting() as raised:
        calls[0]()
        assert threads.realtime
        raised.lower_later(calls.append)
    calls[0]()
    assert threads.realtime
    calls[1]()
    assert not threads.realtime


def test_on_one_processor_he_is_lowered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that would do it comes after him, and could wait for ever."""
    threads, calls = Threads(monkeypatch, processors=1), []  # type: Threads, List[Callable[[], object]]
    with Priority("realtime").waiting() as raised:
        raised.lower_later(calls.append)
    assert not threads.realtime
    calls[0]()
    assert not threads.realtime and gc.isenabled()


def test_garbage_is_not_collected_by_a_caller_who_is_on_his_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    Threads(monkeypatch, processors=2)
    calls: List[Callable[[], object]] = []
    priority = Priority("realtime")
    with priority.waiting() as raised:
        raised.lower_later(calls.append)
    assert not gc.isenabled()
    with priority.waiting() as raised:  # his next frame begins before that
        calls[0]()
        assert not gc.isenabled()
        raised.lower_later(calls.append)
    calls[1]()
    assert gc.isenabled()


def test_nor_by_one_who_was_in_real_time_before_and_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, calls = Threads(monkeypatch, processors=2), []  # type: Threads, List[Callable[[], object]]
    threads.policies[threads.own] = os.SCHED_FIFO
    with Priority("realtime").waiting() as raised:
        raised.lower_later(calls.append)
    assert not gc.isenabled()
    calls[0]()
    assert gc.isenabled() and threads.realtime


def test_a_thread_that_has_ended_before_it_is_lowered_is_nobodys_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Threads(monkeypatch, processors=2)
    calls: List[Callable[[], object]] = []
    with Priority("realtime").waiting() as raised:
        raised.lower_later(calls.append)

    def gone(thread: int, policy: int, parameters: os.sched_param) -> None:
        raise ProcessLookupError("it has ended")

    monkeypatch.setattr(os, "sched_setscheduler", gone)
    calls[0]()
    assert gc.isenabled()
