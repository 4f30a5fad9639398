"""The benchmark of streams: ways take turns, slices add up, and a driver's queue is what a naive loop reads."""

from __future__ import annotations

import argparse
import time

import numpy as np
import pytest

from benchmarks.stream import EARLY, NAIVE, NEWEST, OURS, URGENT, bars, turns, whole
from benchmarks.stream_subjects import Camera, Slice
from edgekit.runtime.clock import Clock


def test_every_way_has_its_minutes_and_rivals_come_between() -> None:
    order = turns(argparse.Namespace(minutes=10.0, rival_minutes=2.0, slice=30.0), [OURS, NAIVE, URGENT])
    ways = [way for _, way in order]
    assert [ways.count(way) for way in (OURS, URGENT, NAIVE)] == [20, 20, 4]
    assert len(set(order)) == len(order)
    assert np.diff([place for place, way in enumerate(ways) if way == NAIVE]).min() > 5


def one(**values: object) -> dict[str, object]:
    found = Slice(**values).to_json()  # type: ignore[arg-type]
    return {**found, "seconds": 30.0}


def test_slices_of_one_way_add_up() -> None:
    first = one(
        ages=[10.0, 20.0], behind=[1, 1, 3], exits={"stage1": 2}, frames=3, cpu=1.0, resident=100, pid=7
    )
    second = one(ages=[30.0], behind=[2], exits={"stage1": 1}, frames=2, cpu=2.0, resident=101, pid=7)
    found = whole([first, second])
    assert (found["frames"], found["answered"], found["exits"]) == (5, 3, {"stage1": 3})
    assert found["frames_without_answer_newer_than_2"] == 1 and found["most_frames_behind"] == 3
    assert (found["cpu_cores"], found["minutes"]) == (1.5, 1.0)
    assert found["memory_growth_share"] == pytest.approx(0.01)


def test_the_bars_say_what_was_reached_and_whether_they_apply() -> None:
    ages = {OURS: 30.0, NAIVE: 200.0, NEWEST: 90.0, EARLY: 20.0}
    ways = {way: whole([one(ages=[age] * 5, behind=[1])]) for way, age in ages.items()}
    behind, age, times = bars(ways, OURS)
    assert behind["held"] and age["held"] and times["held"]
    assert times["reached"] == pytest.approx(200 / 30)
    assert age["applies"] and times["applies"]
    ways[NEWEST] = whole([one(ages=[25.0] * 5, behind=[1])])
    assert not bars(ways, OURS)[2]["applies"]


def test_a_driver_keeps_the_last_frames_and_gives_the_oldest_first() -> None:
    frames = [{"image": np.zeros((1, 1, 3), np.uint8)}]
    with Camera(frames, 500.0, 4, Clock()) as camera:
        while len(camera.came) < 12:
            time.sleep(0.002)
        number, stamp, _ = camera.read()
        assert len(camera.came) - number >= 3
    assert camera.dropped >= 8
    assert dict(camera.came)[number] == stamp
