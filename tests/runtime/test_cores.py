"""Where the thread that runs a stage is, while the stage's own threads are kept to the other cores."""

import ctypes
import os
from typing import Iterable, List, Set, Tuple

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.runtime.backends import cores as backend_cores
from edgekit.runtime.backends import open_backend
from edgekit.runtime.backends.cores import UNKNOWN, CallersCore
from edgekit.runtime.backends.onnxruntime_settings import PIN
from edgekit.runtime.loading import read_golden

HOME, OTHER = 2, 5


class Kernel:
    """One thread on one of several cores; ``asked`` are the sets of cores that it was told to keep to."""

    def __init__(self, where: int, allowed: Iterable[int]) -> None:
        self.where, self.allowed = where, set(allowed)
        self.asked: List[Set[int]] = []
        self.forbids = False

    def getaffinity(self, thread: int) -> Set[int]:
        return set(self.allowed)

    def setaffinity(self, thread: int, cores: Iterable[int]) -> None:
        self.asked.append(set(cores))
        if self.forbids:
            raise PermissionError(1, "Operation not permitted")
        self.allowed = set(cores)
        if self.where not in self.allowed:
            self.where = min(self.allowed)


def kernel(monkeypatch: pytest.MonkeyPatch, where: int, allowed: Iterable[int] = (HOME, OTHER)) -> Kernel:
    made = Kernel(where, allowed)
    monkeypatch.setattr(os, "sched_getaffinity", made.getaffinity, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", made.setaffinity, raising=False)
    monkeypatch.setattr(backend_cores, "_asking", lambda: lambda: made.where)
    return made


def test_a_caller_who_woke_on_a_workers_core_steps_aside_and_stays_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = kernel(monkeypatch, OTHER)
    CallersCore(HOME).take()
    assert (system.where, system.allowed) == (HOME, {HOME, OTHER})


@pytest.mark.parametrize(
    ("where", "allowed"),
    [(HOME, (HOME, OTHER)), (OTHER, (OTHER,)), (UNKNOWN, (HOME, OTHER))],
    ids=["who is there", "whom somebody keeps elsewhere", "of whom the kernel does not tell where he is"],
)
def test_a_caller_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, where: int, allowed: Tuple[int, ...]
) -> None:
    system = kernel(monkeypatch, where, allowed)
    CallersCore(HOME).take()
    assert system.asked == []


def test_a_system_that_forbids_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    system = kernel(monkeypatch, OTHER)
    system.forbids = True
    core = CallersCore(HOME)
    for _ in range(3):
        core.take()
    assert system.asked == [{HOME}]


def test_a_c_library_that_cannot_tell_the_core_leaves_callers_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "PyDLL", lambda name: object())
    asked: List[object] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda *given: asked.append(given), raising=False)
    CallersCore(HOME).take()
    assert asked == []


def test_a_stage_runs_from_the_core_that_its_threads_leave_free(
    stereo_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core only: there is nothing to keep apart")
    told: List[Set[int]] = []
    monkeypatch.setattr(backend_cores, "_asking", lambda: lambda: cores[-1])
    monkeypatch.setattr(os, "sched_setaffinity", lambda who, these: told.append(set(these)))
    inputs, exits = read_golden(stereo_bundle)
    with open_backend("onnxruntime", threads=len(cores)) as backend:
        config = backend.settings["session_config"]
        assert isinstance(config, dict)
        first = stereo_bundle.manifest.stages[0]
        backend.load(first, stereo_bundle.read_bytes(first.variants[0].graph), "first")
        frame = backend.start(inputs)
        frame.run(first.name)
        np.testing.assert_allclose(frame.read("disparity1"), exits[first.name], atol=1e-6)
        assert told == ([{cores[0]}, set(cores)] if PIN in config else [])
        told.clear()
        backend.let_move()  # in real time nobody is kept anywhere
        frame.run(first.name)
        assert told == []
    assert os.sched_getaffinity(0) == set(cores)
