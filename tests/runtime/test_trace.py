"""Timelines: what Perfetto needs to open one, and that it shows what happened."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from edgekit.runtime.session import Session
from edgekit.runtime.simulation.recording import Recorder
from edgekit.runtime.trace import FRAMES, STAGES, of_recorded, of_result, trace, write_trace

MakeSession = Callable[..., Session]
MS = {"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0}
Event = Dict[str, Any]


def check(document: Dict[str, Any]) -> List[Event]:
    """The rules of Google's "Trace Event Format" for the phases that are used; the events without metadata."""
    assert isinstance(document["traceEvents"], list)
    assert document["displayTimeUnit"] in ("ms", "ns")
    tracks = set()
    for event in document["traceEvents"]:
        assert event["ph"] in "MXi"
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        if event["ph"] == "M":
            if event["name"] == "thread_name":
                tracks.add(event["tid"])
                assert isinstance(event["args"]["name"], str)
            continue
        assert event["tid"] in tracks
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
        else:
            assert event["s"] in "gpt"
    events = [event for event in document["traceEvents"] if event["ph"] != "M"]
    for track in tracks:
        # Slices of one track are side by side: the viewers nest those that overlap, and drop those that cross.
        slices = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["tid"] == track and e["ph"] == "X")
        for (_, end), (begin, _) in zip(slices, slices[1:]):
            assert begin >= end - 1e-6
    return events


def named(events: List[Event], text: str) -> Event:
    return next(event for event in events if text in event["name"])


def one(session: Session, **options: Any) -> List[Event]:
    result = session.infer(**options, **dict(session.golden()[0]))
    return check(trace([of_result(result)], list(MS), {"verb": "run"}))


def test_every_stage_is_shown_with_what_was_predicted_and_the_deadline_is_an_instant(
    virtual: MakeSession,
) -> None:
    events = one(virtual(MS), budget_ms=200)
    shown = [event for event in events if event["ph"] == "X" and event["tid"] == STAGES]
    assert [event["name"] for event in shown] == list(MS)
    assert [event["dur"] for event in shown] == [pytest.approx(10e3)] * 4
    assert all(event["args"]["predicted_ms"] >= 10 for event in shown)
    frame = named(events, "frame 0")
    assert (frame["tid"], frame["args"]["answer"], frame["args"]["missed"]) == (FRAMES, "stage4", False)
    assert named(events, "deadline")["ts"] == pytest.approx(200e3)


def test_skipped_stages_are_shown_with_why(virtual: MakeSession) -> None:
    skipped = named(one(virtual(MS), budget_ms=18), "skipped")
    assert skipped["name"] == "stage2, stage3, stage4 skipped: budget"
    assert skipped["ts"] == pytest.approx(10e3)
    assert skipped["args"]["left_ms"] == pytest.approx(8)
    assert skipped["args"]["predicted_ms"] > 8


def test_a_stage_that_still_ran_at_the_deadline_is_shown_as_unfinished(virtual: MakeSession) -> None:
    events = one(virtual(MS, later={"stage2": 1000.0}), budget_ms=60)
    unfinished = named(events, "stage2, unfinished")
    assert unfinished["ts"] == pytest.approx(10e3)
    assert unfinished["ts"] + unfinished["dur"] <= 60e3 + 1e-6
    assert named(events, "deadline")["name"] == "deadline"


def test_a_late_answer_is_marked(virtual: MakeSession) -> None:
    events = one(virtual(MS, later={"stage2": 1000.0}), budget_ms=60, overrun="finish")
    assert named(events, "deadline")["name"] == "deadline, missed"
    assert named(events, "frame 0")["args"]["slack_ms"] == pytest.approx(60 - 1010)


def test_a_recorded_run_becomes_a_file_of_all_its_frames(session: Session, tmp_path: Path) -> None:
    recorder = Recorder(session)
    inputs = dict(session.golden()[0])
    for budget in (None, 1000.0, 1e-6):
        session.infer(budget_ms=budget, **inputs)
    list(session.anytime(**inputs))
    recording = recorder.recording({})
    exits = [name for name, has_exit in recording.stages if has_exit]
    frames = [of_recorded(frame, exits) for frame in recording.frames]
    document = trace(frames, [name for name, _ in recording.stages], {"network": "toy"})
    write_trace(str(tmp_path / "trace.json"), document)
    read = json.loads((tmp_path / "trace.json").read_text())
    events = check(read)
    assert sum(event["name"].startswith("frame ") for event in events) == len(recording.frames) >= 3
    assert read["otherData"]["network"] == "toy"
    assert named(events, "frame 0")["ts"] == 0
