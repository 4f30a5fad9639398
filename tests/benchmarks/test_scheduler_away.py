"""How the scheduler's live figures tell a machine that was away from an answer that edgekit made late."""

import threading

import pytest

from benchmarks.scheduler_away import Away, Counts, Gap, Noted, Watch, counts, within
from benchmarks.scheduler_desk import by_commit
from benchmarks.scheduler_live import LiveCell
from benchmarks.scheduler_table import section
from edgekit.runtime.device.priority import may_be_realtime


def cell(*noted: Noted) -> LiveCell:
    late = sum(one.late for one in noted)
    return LiveCell(
        "quiet", "return", "realtime", 10.0, 0.4, 800, 790, late, (0.0, 0.01), 1.5, 0.97, None, 0.0,
        max((one.over_ms for one in noted), default=0.0), 90.0, 0.2, {}, 0.0, 0.1, 0, noted,
    )  # fmt: skip


def noted(over_ms: float, gap_ms: float | None = 0.0, stolen_ms: float = 0.0, late: bool = True) -> Noted:
    away = Away(gap_ms, 1 if gap_ms else 0, stolen_ms, 0.2, 0.1)
    return Noted(7, late, over_ms, 1, ((1.0, 6.0, 5.5),), "stage2", 0.9, 0.4, away)


def test_only_what_lies_within_a_frame_counts_of_a_clock_that_stood_still() -> None:
    gaps = [Gap(0, 90.0, 102.0), Gap(1, 95.0, 103.0), Gap(0, 130.0, 140.0)]
    assert within(gaps, 100.0, 120.0) == (3.0, 2)
    assert within(gaps, 104.0, 120.0) == (0.0, 0)
    assert within(None, 100.0, 120.0) == (None, 0)


def test_a_frame_is_told_what_was_counted_while_it_ran_and_nothing_from_before() -> None:
    watch = Watch()
    watch.gaps = [Gap(0, 10.0, 15.0)]
    before, after = (
        Counts(100.0, {"1": 4.0, "2": 1.0}, "1"),
        Counts(110.0, {"1": 4.25, "2": 3.0, "3": 0.5}, "1"),
    )
    assert watch.away(12.0, 40.0, before, after) == Away(3.0, 1, 10.0, 2.0, 0.25)


def test_every_late_frame_counts_and_beside_it_is_told_whether_the_machine_was_away_as_long() -> None:
    seen = cell(
        noted(22.0, 22.5), noted(0.25), noted(3.0, 1.0), noted(4.0, None, 10.0), noted(-2.0, 1.5, late=False)
    )
    assert (seen.late, seen.late_away) == (4, 2)
    assert seen.overshoot_here_ms == 0.25
    assert LiveCell.from_json(seen.to_json()) == seen


def test_the_page_lists_late_frames_with_what_the_machine_did_meanwhile() -> None:
    lines = section(
        {
            "machine": {"processor": "X", "onnxruntime": "1"},
            "settings": {"threads": 2, "live_frames": 800, "frames": 10},
            "figures": [],
            "live": [cell(noted(22.0, 22.5), noted(-1.0, 0.75, late=False)).to_json()],
            "floors": [],
            "commits": {"abc1234": ["quiet-return-realtime"]},
        }
    )
    assert (
        "| quiet | 10.0 | 22.00 | 1 | 1, then stage2 cut | 6.00, 5.50 | -3.00 | 22.50 (1) | 0 | 0.20, 0.10 |"
        in lines
    )
    assert "the machine was away in 2 of 800 frames; 1 were late." in lines
    assert "abc1234: quiet-return-realtime" in lines


def test_parts_are_told_by_the_commit_that_they_were_measured_at() -> None:
    parts = {
        "quiet-return-realtime-10.09-800": "b",
        "quiet-return-realtime-12.4-800": "b",
        "simulated-quiet-finish-9.44-5000": "a",
        "simulated-quiet-return-9.44-5000": "a",
        "recovery-return-12.4-20": "a",
        "decisions": "a",
    }
    assert by_commit(parts) == {
        "b": ["quiet-return-realtime"],
        "a": ["simulated", "recovery-return", "decisions"],
    }


def test_the_counts_name_this_process_threads() -> None:
    found = counts()
    assert found.stolen_ms >= 0
    assert not found.waited_ms or str(threading.get_native_id()) in found.waited_ms


def test_a_clock_on_every_core_tells_its_gaps_when_the_watch_is_over() -> None:
    if not may_be_realtime():
        pytest.skip("no process may be in real time here")
    with Watch() as watch:
        pass
    assert all(gap.ended > gap.begun for gap in watch.gaps or [])
    assert watch.gaps is not None
