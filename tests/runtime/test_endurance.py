"""Thousands of frames leave nothing behind, and deciding costs next to nothing."""

import gc
import os
import threading
import time
from typing import List

import numpy as np

from edgekit.bundle import Bundle
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.scheduler import Scheduler
from edgekit.runtime.session import Session
from tests.yardstick import documented_seconds


def resident() -> int:
    """Bytes of memory that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_frames_leave_no_memory_no_threads_and_no_handles_behind(stereo_bundle: Bundle) -> None:
    random = np.random.RandomState(0)
    with Session.open(stereo_bundle.path, threads=1) as session:
        picture = {name: random.randint(0, 256, (14, 30, 3)).astype(np.uint8) for name in ("left", "right")}
        tensors = session.golden()[0]

        def frames(count: int) -> None:
            for k in range(count):
                inputs = picture if k % 2 else tensors
                session.infer(budget_ms=(None, 0.01, 0.2, 50)[k % 4], **inputs)
                job = session.submit(latest=True, on_exit=lambda result: None, **inputs)
                if k % 3 == 0:
                    job.cancel()
                for _ in session.anytime(**inputs):
                    break
            job.result()

        frames(2500)  # every pool, window and arena is full
        gc.collect()
        threads, descriptors, before = threading.active_count(), handles(), resident()
        frames(2500)
        gc.collect()
        assert resident() - before < 0.02 * before
        assert (threading.active_count(), handles()) == (threads, descriptors)


def test_a_frame_is_gone_as_soon_as_nobody_holds_its_result(stereo_bundle: Bundle) -> None:
    # Its tensors are large: they must not stay until the garbage collector comes by.
    with Session.open(stereo_bundle.path, threads=1) as session:
        inputs = session.golden()[0]
        session.infer(budget_ms=50, **inputs)
        gc.collect()
        gc.disable()
        try:
            for budget in (None, 0.01, 0.2, 50.0) * 5:
                session.infer(budget_ms=budget, **inputs)
                session.submit(**inputs).result()
                list(session.anytime(**inputs))
            assert gc.collect() == 0
        finally:
            gc.enable()


def test_opening_and_closing_sessions_leaves_no_threads_and_no_handles(stereo_bundle: Bundle) -> None:
    def once() -> None:
        with Session.open(stereo_bundle.path) as session:
            session.submit(**session.golden()[0])

    once()
    gc.collect()
    threads, descriptors = threading.active_count(), handles()
    for _ in range(10):
        once()
    gc.collect()
    assert (threading.active_count(), handles()) == (threads, descriptors)


def test_a_decision_takes_microseconds() -> None:
    names = [f"stage{k}" for k in range(1, 6)]
    model = LatencyModel(names)
    random = np.random.RandomState(0)
    for _ in range(300):
        for name in names:
            model.learn(name, float(random.uniform(4, 6)))
    scheduler = Scheduler([(name, True) for name in names], model)
    taken: List[float] = []
    for k in range(5000):
        begun = time.perf_counter()
        scheduler.next(0.0, 25.0, k % 5)
        model.learn(names[k % 5], 5.0)
        taken.append(documented_seconds(time.perf_counter() - begun))
    # The least of several medians: what else the machine does only adds.
    medians = [float(np.median(taken[k : k + 500])) for k in range(0, 5000, 500)]
    assert min(medians) < 20e-6
    assert min(float(np.quantile(taken[k : k + 500], 0.99)) for k in range(0, 5000, 500)) < 100e-6
