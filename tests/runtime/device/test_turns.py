"""Short turns are asked for by threads that carry things, and nobody else's turns change."""

import ctypes
import os
import struct
import sys
import threading
from typing import List

import pytest

from edgekit.runtime.clock import Clock
from edgekit.runtime.device.turns import LAYOUT, SYSCALLS, TURN_NS, ask_for_short_turns
from edgekit.runtime.stream.thread import StreamThread

NUMBER = SYSCALLS.get(os.uname().machine, 0) + 1  # of sched_getattr
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or NUMBER == 1, reason="needs Linux on x86-64 or ARM64"
)


def _turn_ns() -> int:
    """The calling thread's, as the kernel says it; 0 where it has no such thing."""
    said = ctypes.create_string_buffer(56)
    assert ctypes.CDLL(None).syscall(NUMBER, 0, said, 56, 0) == 0
    return int(struct.unpack(LAYOUT, said.raw[:48])[5])


@linux
def test_a_streams_threads_have_short_turns_where_the_kernel_knows_them() -> None:
    before, found = _turn_ns(), []  # type: int, List[int]
    thread = StreamThread("edgekit-test", lambda: found.append(_turn_ns()), Clock())
    thread.start()
    assert thread.join(10)
    if not before:
        pytest.skip("this kernel has no turns of one's own length (Linux 6.12)")
    # Where the whole process is nice, its threads have chosen
    assert found == [before if os.nice(0) else TURN_NS] and _turn_ns() == before


@linux
def test_a_thread_that_has_chosen_for_itself_is_left_as_it_is() -> None:
    found: List[bool] = []

    def nice() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        found.append(ask_for_short_turns())

    thread = threading.Thread(target=nice)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_machine_that_is_not_known_is_asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    found: List[bool] = []
    thread = threading.Thread(target=lambda: found.append(ask_for_short_turns()))
    thread.start()
    thread.join()
    assert found == [False]
