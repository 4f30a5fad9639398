"""Frames as a timeline that Perfetto and chrome://tracing open: what ran when, the deadline, what was skipped and why.

The format is Google's "Trace Event Format" in its JSON form; times in it are microseconds.
"""

import json
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from edgekit import __version__, atomic
from edgekit.runtime.result import Result
from edgekit.runtime.scheduler import Decision
from edgekit.runtime.simulation.recording import RecordedFrame

FRAMES, STAGES = 1, 2  # tracks
PROCESS = 1

Event = Dict[str, object]


class Timeline(NamedTuple):
    """One frame; ``started`` is an instant in ms, everything else counts in ms from it.

    Attributes:
        started: when the caller asked.
        prepared: when the inputs were.
        ended: when the caller had the answer, or the last stage its end.
        budget_ms: None without one.
        stages: name, beginning and duration of those that ran.
        cut: the same of one that was cancelled, failed, or still ran at the end.
        decisions: every one with its instant.
        reason: why no more stages ran.
        missed: whether the answer was late, or there was none.
        answer: the stage whose exit is the answer.
    """

    started: float
    prepared: float
    ended: float
    budget_ms: Optional[float]
    stages: Tuple[Tuple[str, float, float], ...]
    cut: Optional[Tuple[str, float, float]]
    decisions: Tuple[Tuple[float, Decision], ...]
    reason: str
    missed: bool
    answer: Optional[str]


def of_result(result: Result) -> Timeline:
    """The timeline of a frame as its caller saw it."""
    stages = tuple((name, result.begun_ms[name], took) for name, took in result.stage_ms.items())
    cut = result.cut
    # Perhaps it was taken while a stage ran
    if cut is None and result.decisions and result.reason != "partial":
        instant, last = result.decisions[-1]
        if last.run and last.stage is not None and last.stage not in result.stage_ms:
            cut = (last.stage, instant, max(result.elapsed_ms - instant, 0.0))
    return Timeline(
        result.started,
        result.preprocess_ms,
        result.elapsed_ms,
        result.budget_ms,
        stages,
        cut,
        result.decisions,
        result.reason,
        result.missed,
        result.stage,
    )


def of_recorded(frame: RecordedFrame, exits: Sequence[str]) -> Timeline:
    """The timeline of a recorded frame as its device saw it; ``exits`` are the stages that have one."""
    start = frame.started
    spans = frame.stages + (() if frame.cut is None else (frame.cut,))
    ended = max([begun + took - start for _, begun, took in spans] + [frame.ready - start])
    in_time = [
        name
        for name, begun, took in frame.stages
        if name in exits and (frame.budget_ms is None or begun + took - start <= frame.budget_ms)
    ]
    return Timeline(
        start,
        frame.ready - start,
        ended,
        frame.budget_ms,
        tuple((name, begun - start, took) for name, begun, took in frame.stages),
        None if frame.cut is None else (frame.cut[0], frame.cut[1] - start, frame.cut[2]),
        tuple((instant - start, decision) for instant, decision in frame.decisions),
        frame.reason,
        not in_time,
        in_time[-1] if in_time else None,
    )


def trace(
    frames: Iterable[Timeline],
    stages: Sequence[str],
    settings: Mapping[str, object],
    networks: Mapping[str, str] = {},
) -> Dict[str, object]:
    """The document: a track for frames, with their deadlines, and one for stages, with those that were skipped.

    Args:
        frames: the first one begins at 0.
        stages: all of the network's, in order.
        networks: which network each stage is of, where there are several.
        settings: what the frames were run with; kept as the trace's metadata.
    """
    events = [
        _metadata("process_name", FRAMES, {"name": "edgekit"}),
        _metadata("thread_name", FRAMES, {"name": "frames"}),
        _metadata("thread_name", STAGES, {"name": "stages"}),
        _metadata("thread_sort_index", FRAMES, {"sort_index": 1}),
        _metadata("thread_sort_index", STAGES, {"sort_index": 2}),
    ]
    origin: Optional[float] = None
    for number, frame in enumerate(frames):
        origin = frame.started if origin is None else origin
        events += _frame(number, frame, frame.started - origin)
        events += _stages(frame, frame.started - origin, stages, networks)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": dict(settings, edgekit=__version__),
    }


def write_trace(path: str, document: Mapping[str, object]) -> None:
    """Write a trace to ``path``, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    atomic.write_file(path, (text + "\n").encode("ascii"))


def _frame(number: int, frame: Timeline, at: float) -> List[Event]:
    slack = None if frame.budget_ms is None else frame.budget_ms - frame.ended
    arguments = {
        "answer": frame.answer,
        "reason": frame.reason,
        "budget_ms": frame.budget_ms,
        "slack_ms": slack,
        "missed": frame.missed,
    }
    events = [_slice(f"frame {number}", FRAMES, at, frame.ended, arguments)]
    if frame.budget_ms is not None:
        name = "deadline, missed" if frame.missed else "deadline"
        events.append(_instant(name, FRAMES, at + frame.budget_ms, {"frame": number, "missed": frame.missed}))
    return events


def _stages(frame: Timeline, at: float, stages: Sequence[str], networks: Mapping[str, str]) -> List[Event]:
    why = {decision.stage: decision for _, decision in frame.decisions if decision.run}
    events = []
    if frame.prepared > 0:
        events.append(_slice("preparing inputs", STAGES, at, frame.prepared, {}))
    cut = () if frame.cut is None else (frame.cut,)
    for name, begun, took in frame.stages + cut:
        decision = why.get(name)
        arguments: Dict[str, object] = {
            "measured_ms": took,
            "predicted_ms": None if decision is None else decision.predicted_ms,
            "decision": None if decision is None else decision.reason,
        }
        unfinished = (name, begun, took) in cut
        if unfinished:
            arguments["unfinished"] = frame.reason
        label = f"{name} ({networks[name]})" if name in networks else name
        events.append(
            _slice(f"{label}, unfinished" if unfinished else label, STAGES, at + begun, took, arguments)
        )
    if frame.decisions and not frame.decisions[-1][1].run:
        instant, last = frame.decisions[-1]
        if last.stage is not None:
            network = networks.get(last.stage)
            skipped = [name for name in stages[stages.index(last.stage) :] if networks.get(name) == network]
            left = None if frame.budget_ms is None else frame.budget_ms - instant
            arguments = {"skipped": skipped, "predicted_ms": last.predicted_ms, "left_ms": left}
            events.append(
                _instant(f"{', '.join(skipped)} skipped: {last.reason}", STAGES, at + instant, arguments)
            )
    return events


def _metadata(name: str, track: int, arguments: Mapping[str, object]) -> Event:
    return {"ph": "M", "pid": PROCESS, "tid": track, "name": name, "args": dict(arguments)}


def _slice(name: str, track: int, at: float, took: float, arguments: Mapping[str, object]) -> Event:
    return {
        "ph": "X",
        "pid": PROCESS,
        "tid": track,
        "name": name,
        "cat": "edgekit",
        "ts": at * 1e3,
        "dur": took * 1e3,
        "args": dict(arguments),
    }


def _instant(name: str, track: int, at: float, arguments: Mapping[str, object]) -> Event:
    event = {"ph": "i", "pid": PROCESS, "tid": track, "name": name, "cat": "edgekit", "s": "t"}
    return dict(event, ts=at * 1e3, args=dict(arguments))
