"""Recordings come back exactly as they were, and a file that is none says so."""

import json
from pathlib import Path
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.runtime.scheduler import Decision
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.recording import (
    RecordedFrame,
    Recorder,
    Recording,
    read_recording,
    write_recording,
)

# Instants of one frame lie within a factor of two of each other on any clock that has run for longer than a frame.
instants = st.floats(min_value=2.0**22, max_value=2.0**23)
texts = st.sampled_from(["stage1", "stage2"])


def spans(draw: st.SearchStrategy) -> st.SearchStrategy:
    return st.tuples(texts, draw, st.floats(min_value=0, max_value=1e4))


decisions = st.builds(
    Decision, st.booleans(), st.none() | texts, st.none() | st.floats(min_value=0, max_value=1e4), texts
)
frames = st.builds(
    RecordedFrame,
    started=instants,
    ready=instants,
    budget_ms=st.none() | st.floats(min_value=1e-3, max_value=1e6),
    reserve_ms=st.floats(min_value=0, max_value=100),
    confidence=st.none() | st.floats(min_value=0.5, max_value=0.999),
    stages=st.lists(spans(instants), max_size=3).map(tuple),
    cut=st.none() | spans(instants),
    decisions=st.lists(st.tuples(instants, decisions), max_size=3).map(tuple),
    reason=texts,
    ended=instants,
    cheapest_first=st.booleans(),
    prepared=st.lists(spans(instants), max_size=2).map(tuple),
)


def a_recording(recorded: List[RecordedFrame]) -> Recording:
    return Recording("net", "0f", {"processor": "é"}, {"runs": 3}, (("stage1", True), ("stage2", False)), 0.99,
                     {"stage1": (1.5, 0.1 + 0.2)}, tuple(recorded))  # fmt: skip


@given(st.lists(frames, max_size=4))
def test_every_number_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, recorded: List[RecordedFrame]
) -> None:
    path = str(tmp_path_factory.mktemp("recordings") / "run.jsonl")
    write_recording(path, a_recording(recorded))
    assert read_recording(path) == a_recording(recorded)


def test_a_session_that_is_watched_is_recorded_frame_by_frame(session: Session, tmp_path: Path) -> None:
    recorder = Recorder(session)
    inputs = dict(session.golden()[0])
    result = session.infer(**inputs)
    session.infer(budget_ms=1e-6, **inputs)
    recording = recorder.recording({"verb": "bench"})
    assert [name for name, _ in recording.stages] == [stage.name for stage in session.stages]
    first = recording.frames[0]
    assert (first.started, first.budget_ms, first.reason) == (result.started, None, "final")
    assert {name: took for name, _, took in first.stages} == result.stage_ms
    assert [decision.stage for _, decision in first.decisions] == [*result.stage_ms, None]
    write_recording(str(tmp_path / "run.jsonl"), recording)
    assert read_recording(str(tmp_path / "run.jsonl")) == recording


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A recording of three frames."""
    frame = RecordedFrame(
        started=5e6, ready=5e6 + 1, budget_ms=20.0, reserve_ms=0.5, confidence=None,
        stages=(("stage1", 5e6 + 1.5, 8.25),), cut=None,
        decisions=((5e6 + 1.25, Decision(True, "stage1", 9.0, "first")),), reason="budget", ended=5e6 + 10,
    )  # fmt: skip
    write_recording(str(tmp_path / "run.jsonl"), a_recording([frame] * 3))
    return tmp_path / "run.jsonl"


def test_a_file_that_is_cut_off_anywhere_says_so(path: Path) -> None:
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    for length in range(head, len(whole) - 2, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut off after [0-3] frames; copy the file again"):
            read_recording(str(path))


def test_a_damaged_line_is_named(path: Path) -> None:
    lines = path.read_text().split("\n")
    for damage in (
        "{}",
        "nonsense",
        lines[2].replace("8.25", '"8"'),
        lines[2].replace('"budget_ms":20.0', '"budget_ms":[]'),
    ):
        path.write_text("\n".join(lines[:2] + [damage] + lines[3:]))
        with pytest.raises(InputError, match="line 3 is damaged"):
            read_recording(str(path))


@pytest.mark.parametrize("content", [b"", b"\n", b"\x89PNG\r\n", b"[1]\n", b'{"schema":1}\n', b"\xff\xfe{}"])
def test_a_foreign_file_is_refused_with_what_writes_recordings(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no recording; `edgekit bench BUNDLE --record FILE` writes one"):
        read_recording(str(path))


def test_a_newer_recording_is_refused_with_who_wrote_it(path: Path) -> None:
    lines = path.read_text().split("\n")
    head = dict(json.loads(lines[0]), schema=2, edgekit="9.1")
    path.write_text("\n".join([json.dumps(head)] + lines[1:]))
    with pytest.raises(InputError, match=r"schema 2, written by edgekit 9\.1"):
        read_recording(str(path))


def test_a_head_or_a_stage_that_makes_no_sense_is_refused(path: Path) -> None:
    lines = path.read_text().split("\n")
    for key, value in (("stages", 5), ("measured", [1]), ("confidence", "high"), ("confidence", None)):
        path.write_text("\n".join([json.dumps(dict(json.loads(lines[0]), **{key: value}))] + lines[1:]))
        with pytest.raises(InputError, match="line 1 is damaged"):
            read_recording(str(path))
    path.write_text("\n".join([lines[0]] + [line.replace("stage1", "stage9") for line in lines[1:]]))
    with pytest.raises(InputError, match=r"stages that its network has not .stage9"):
        read_recording(str(path))
