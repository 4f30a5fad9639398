"""Frames at the pace of a camera, on a clock that only moves when told to: exact and instant."""

import pytest

from edgekit.runtime.clock import VirtualClock
from edgekit.runtime.measurement import (
    Frame,
    exit_summaries,
    model_summaries,
    run_paced,
    run_tight,
    stage_summaries,
)


def frames_of(clock, *durations):
    """A network whose frames take the given ms, the last one for ever."""
    left = list(durations)

    def frame():
        duration = left.pop(0) if len(left) > 1 else left[0]
        clock.advance(duration)
        return Frame({"stage1": duration}, {"stage1": duration})

    return frame


def paced(*durations, rate=10.0, count=5):
    clock = VirtualClock(start=123.0)
    slept = []

    def sleep(seconds):
        slept.append(seconds * 1e3)
        clock.advance(seconds * 1e3)

    return run_paced(frames_of(clock, *durations), rate, count, clock, sleep), slept


def test_a_network_faster_than_the_camera_waits_for_every_frame():
    found, slept = paced(30.0)
    assert found.latency_ms == pytest.approx([30.0] * 5)
    assert slept == pytest.approx([70.0] * 4)
    assert (found.late, found.dropped) == (0, 0)


def test_a_frame_that_comes_while_the_last_is_answered_waits_and_its_waiting_counts():
    found, _ = paced(130.0, 30.0)
    assert found.latency_ms == pytest.approx([130.0, 60.0, 30.0, 30.0, 30.0])
    assert (found.late, found.dropped) == (1, 0)


def test_a_network_slower_than_the_camera_takes_the_newest_frame_and_drops_the_rest():
    found, slept = paced(250.0, count=4)
    # Frames come at 0, 100, 200, ...: answered are 0, 2 (waiting since 200), 5, 7.
    assert found.latency_ms == pytest.approx([250.0, 300.0, 250.0, 300.0])
    assert found.dropped == 1 + 2 + 1 + 2
    assert found.late == 4 and slept == pytest.approx([])


def test_the_warm_up_is_not_counted():
    clock = VirtualClock()
    told = []
    frames = run_tight(frames_of(clock, 99.0, 99.0, 5.0), warmup=2, runs=3, progress=told.append)
    assert [frame.total_ms for frame in frames] == [5.0] * 3
    assert told == [1, 2, 3] and clock.now() == pytest.approx(2 * 99.0 + 3 * 5.0)


def test_an_exits_model_time_is_the_sum_of_the_stages_up_to_it():
    frames = [
        Frame({"stage1": 1.0, "stage2": 10.0, "stage3": 5.0}, {"stage1": 3.0, "stage3": 20.0}),
        Frame({"stage1": 2.0, "stage2": 20.0, "stage3": 5.0}, {"stage1": 4.0, "stage3": 31.0}),
    ]
    assert stage_summaries(frames)["stage2"].mean == 15.0
    assert exit_summaries(frames)["stage3"].max == 31.0
    model = model_summaries(frames)
    assert list(model) == ["stage1", "stage3"]
    assert (model["stage1"].min, model["stage3"].min, model["stage3"].max) == (1.0, 16.0, 27.0)
