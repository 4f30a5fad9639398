"""What the scheduler's live figures are made of."""

from benchmarks.scheduler_live import time_between
from edgekit.runtime.simulation.recording import RecordedFrame, Recording, Span


def frame(budget_ms: float | None, *stages: Span) -> RecordedFrame:
    return RecordedFrame(0.0, 1.0, budget_ms, 0.5, None, stages, None, (), "budget", 50.0)


def recording(*frames: RecordedFrame) -> Recording:
    return Recording("net", "", {}, {}, (("stage1", True), ("stage2", True)), 0.99, {}, frames)


def test_what_passes_between_stages_is_taken_from_frames_that_nobody_stopped_to_look_at() -> None:
    looked_at = frame(None, ("stage1", 2.0, 8.0), ("stage2", 11.0, 3.0))
    quick = frame(30.0, ("stage1", 2.0, 8.0), ("stage2", 10.125, 3.0))
    slow = frame(30.0, ("stage1", 2.0, 9.0), ("stage2", 11.25, 4.0))
    cut = frame(10.0, ("stage1", 2.0, 9.0))
    assert time_between(recording(looked_at, quick, slow, cut, quick)) == 0.125
    assert time_between(recording(looked_at, cut)) == 0.0
