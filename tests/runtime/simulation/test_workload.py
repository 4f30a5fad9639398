"""What simulated devices are given: distributions that were measured, conditions as they were asked for."""

import json
from pathlib import Path
from typing import List, Tuple

import numpy as np
import pytest

from edgekit.errors import InputError, OptionError
from edgekit.runtime.simulation.recording import RecordedFrame, Recording
from edgekit.runtime.simulation.workload import (
    PAUSE_MS,
    Conditions,
    Every,
    Slowdown,
    modelled,
    parse_every,
    parse_slowdown,
    read_durations,
    recorded,
)

STAGES = (("stage1", True), ("stage2", True))
MEASURED = {"stage1": [8.0, 9.0, 10.0], "stage2": [3.0]}


def test_modelled_durations_are_drawn_from_the_measured_ones() -> None:
    work = modelled(STAGES, MEASURED, 3000, 30.0, 0)
    values, counts = np.unique(work.durations[:, 0], return_counts=True)
    assert list(values) == [8.0, 9.0, 10.0]
    assert counts.min() > 900
    assert set(work.durations[:, 1]) == {3.0}
    np.testing.assert_allclose(np.diff(work.arrivals), 1000 / 30)


def test_a_slowdown_holds_for_its_frames_and_no_others() -> None:
    slow = Conditions((Slowdown(2.0, 10, 20), Slowdown(3.0, 25, None)))
    factor = modelled(STAGES, MEASURED, 30, 30.0, 0, slow).durations[:, 1] / 3.0
    np.testing.assert_allclose(factor, [1] * 10 + [2] * 10 + [1] * 5 + [3] * 5)


def test_a_neighbour_comes_and_goes_and_slows_unevenly() -> None:
    work = modelled(STAGES, MEASURED, 400, 30.0, 0, Conditions(neighbour=Every(2.0, 100)))
    factor = work.durations[:, 1] / 3.0
    for begin in (0, 200):
        assert (factor[begin : begin + 100] == 1).all()
        assert np.median(factor[begin + 100 : begin + 200]) == pytest.approx(2.0, rel=0.1)
        assert factor[begin + 100 : begin + 200].std() > 0.05


def test_outliers_have_their_share() -> None:
    work = modelled(STAGES, MEASURED, 5000, 30.0, 0, Conditions(outliers=Every(5.0, 0.02)))
    assert (work.durations[:, 1] == 15.0).mean() == pytest.approx(0.02, abs=0.005)


def test_after_a_pause_a_frame_is_slower_and_comes_later() -> None:
    work = modelled(STAGES, MEASURED, 30, 10.0, 0, Conditions(idle=Every(1.5, 10)))
    assert list(np.flatnonzero(work.durations[:, 1] != 3.0)) == [10, 20]
    assert list(np.flatnonzero(np.diff(work.arrivals) > 100.5) + 1) == [10, 20]
    assert work.arrivals[10] - work.arrivals[9] == pytest.approx(100 + PAUSE_MS)


def a_recording(rows: List[Tuple[float, ...]]) -> Recording:
    frames = tuple(
        RecordedFrame(
            started=1e6 + k, ready=1e6 + k + 2, budget_ms=None, reserve_ms=0.0, confidence=None,
            stages=tuple((name, 0.0, took) for (name, _), took in zip(STAGES, row)), cut=None,
            decisions=(), reason="final", ended=1e6 + k + 9,
        )
        for k, row in enumerate(rows)
    )  # fmt: skip
    return Recording("net", "", {}, {}, STAGES, 0.99, {}, frames)


def test_a_recording_is_taken_in_its_order_and_begun_again_at_its_end() -> None:
    work = recorded(a_recording([(1.0, 2.0), (3.0, 4.0)]), 5, 30.0, 0)
    np.testing.assert_array_equal(work.durations, [[1, 2], [3, 4], [1, 2], [3, 4], [1, 2]])
    np.testing.assert_array_equal(work.ready_ms, [2.0] * 5)


def test_a_stage_that_did_not_run_takes_what_it_took_elsewhere_at_the_frames_own_pace() -> None:
    work = recorded(a_recording([(10.0, 5.0), (10.0, 5.0), (10.0, 5.0), (20.0,)]), None, 30.0, 0)
    np.testing.assert_allclose(work.durations[3], [20.0, 10.0])


def test_a_stage_that_was_cancelled_takes_longer_than_it_had_run() -> None:
    whole = a_recording([(10.0, 5.0), (10.0, 6.0), (10.0, 9.0), (10.0,)])
    cut = whole.frames[3]._replace(cut=("stage2", 0.0, 7.0))
    for seed in range(10):
        work = recorded(whole._replace(frames=whole.frames[:3] + (cut,)), None, 30.0, seed)
        assert 7.0 < work.durations[3, 1] <= 9.0
        longest = recorded(
            whole._replace(frames=whole.frames[:3] + (cut._replace(cut=("stage2", 0.0, 20.0)),)),
            None,
            30.0,
            seed,
        )
        assert longest.durations[3, 1] == 20.0  # nothing that was seen took so long: at least that


def test_what_a_skipped_stage_would_have_taken_is_told_by_frames_of_that_pace_that_ran_it_anyway() -> None:
    random = np.random.RandomState(0)
    first = random.lognormal(np.log(10.0), 0.2, 2000)
    truth = np.stack([first, np.sqrt(first) * random.lognormal(0.0, 0.1, 2000)], axis=1)
    rows = [tuple(row) for row in truth.tolist()]
    frames = [
        frame._replace(budget_ms=14.0)
        for frame in a_recording([row if row[0] < 10 else row[:1] for row in rows]).frames
    ]
    frames[::10] = a_recording(rows).frames[::10]
    work = recorded(a_recording([])._replace(frames=tuple(frames)), None, 30.0, 0)
    fits, truly = ((durations.sum(axis=1) < 14.5).mean() for durations in (work.durations, truth))
    assert fits == pytest.approx(truly, abs=0.01)


def test_a_recording_in_which_a_stage_never_ended_cannot_be_simulated() -> None:
    with pytest.raises(InputError, match="stage2 never ran to its end"):
        recorded(a_recording([(1.0,), (2.0,)]), None, 30.0, 0)


def test_a_profile_gives_its_durations_and_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    entry = {"variant": "plain", "durations_ms": [1, 2.5]}
    path.write_text(json.dumps({"schema": 1, "stages": {"stage1": entry, "stage2": entry}}))
    assert read_durations(str(path), ["stage1"]) == {"stage1": (1.0, 2.5)}
    with pytest.raises(InputError, match="no durations of stage3: it is the profile of another network"):
        read_durations(str(path), ["stage1", "stage3"])
    for content in ("", "[]", '{"stages": {"stage1": 5}}', "\x00"):
        path.write_text(content)
        with pytest.raises(InputError, match="is no profile; `edgekit bench` keeps them"):
            read_durations(str(path), ["stage1"])


def test_conditions_are_read_as_they_are_written() -> None:
    assert parse_slowdown("2x@100..200") == Slowdown(2.0, 100, 200)
    assert parse_slowdown("0.5x@0") == Slowdown(0.5, 0, None)
    assert parse_every("--neighbour", "1.8x:50", "") == Every(1.8, 50.0)
    for text in ("2x", "2@5", "x@1..2", "2x@5..5", "2x@-1..5", "0x@1..2", "nanx@1..2", "2x@1..b", "infx@1"):
        with pytest.raises(OptionError, match="give a factor and frames"):
            parse_slowdown(text)
    for text in ("2x", "2:5", "x:5", "2x:0", "2x:nan", "2x:2", "-1x:1"):
        with pytest.raises(OptionError, match=r"--outliers .*: give a share"):
            parse_every("--outliers", text, "a share", 1.0)
