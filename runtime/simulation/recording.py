"""A run of a session as a file: what every frame asked for, how long its stages took, and what was decided, to be replayed."""

import json
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from edgekit import __version__, atomic
from edgekit.errors import InputError
from edgekit.runtime.execution import Execution
from edgekit.runtime.guess import first_durations
from edgekit.runtime.profile import bundle_hash
from edgekit.runtime.scheduler import Decision
from edgekit.runtime.session import Session

SCHEMA = 1
KIND = "edgekit recording"

Span = Tuple[str, float, float]  # a stage, the instant when it began, and the ms it took


class RecordedFrame(NamedTuple):
    """One frame. Instants are ms on the session's clock.

    Attributes:
        started: when the caller asked.
        ready: when its inputs were prepared.
        budget_ms: as given; None if every stage was to run.
        reserve_ms: what the stages had to leave of it.
        confidence: how sure the scheduler had to be that a stage fits; None for the latency model's own.
        stages: those that ran to their end.
        cut: the one that was cancelled or failed.
        decisions: every one, with its instant.
        reason: why no more stages ran.
        ended: when it was over.
        cheapest_first: of several networks, the cheapest was to answer first.
        prepared: what was made ready only when a network had been chosen, by the stage that it was for.
    """

    started: float
    ready: float
    budget_ms: Optional[float]
    reserve_ms: float
    confidence: Optional[float]
    stages: Tuple[Span, ...]
    cut: Optional[Span]
    decisions: Tuple[Tuple[float, Decision], ...]
    reason: str
    ended: float
    cheapest_first: bool = False
    prepared: Tuple[Span, ...] = ()


class Recording(NamedTuple):
    """A run, from the session's first frame on.

    Attributes:
        network: its name.
        bundle: the hash of its manifest.
        fingerprint: of the device, by field.
        settings: what the run was asked for, as JSON values.
        stages: name, and whether it has an exit, in the order in which they run.
        confidence: of the session's latency model.
        measured: durations in ms by stage, from which that model started.
        frames: in the order in which they ended.
    """

    network: str
    bundle: str
    fingerprint: Mapping[str, str]
    settings: Mapping[str, object]
    stages: Tuple[Tuple[str, bool], ...]
    confidence: float
    measured: Mapping[str, Tuple[float, ...]]
    frames: Tuple[RecordedFrame, ...]


class Recorder:
    """Watches ``session``, which must not have run a frame yet: without a warm-up of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._frames: List[RecordedFrame] = []
        session.observe(self._keep)

    def recording(self, settings: Mapping[str, object]) -> Recording:
        """Everything so far, with the settings that led to it."""
        session = self._session
        return Recording(
            network=session.manifest.name,
            bundle=bundle_hash(session.bundle),
            fingerprint=session.fingerprint.to_json(),
            settings=dict(settings),
            stages=tuple((stage.name, stage.exit is not None) for stage in session.stages),
            confidence=session.latency.confidence,
            measured=first_durations(session.profile, session.guess, session.variants),
            frames=tuple(self._frames),
        )

    def _keep(self, execution: Execution) -> None:
        call, progress = execution.call, execution.progress
        self._frames.append(
            RecordedFrame(
                call.started,
                call.ready,
                call.budget_ms,
                call.reserve_ms,
                call.confidence,
                progress.stages,
                progress.cut,
                progress.decisions,
                str(progress.reason),
                progress.reached,
                call.cheapest_first,
                progress.prepared,
            )
        )


def write_recording(path: str, recording: Recording) -> None:
    """Write ``recording`` to ``path``, whole or not at all: a line of JSON for the run, one for each frame, and an end.

    Raises:
        OSError: it cannot be written.
    """
    head = recording._replace(frames=())._asdict()
    del head["frames"]
    documents: List[Mapping[str, object]] = [
        dict({"kind": KIND, "schema": SCHEMA, "edgekit": __version__}, **head)
    ]
    documents += [_frame_to_json(frame) for frame in recording.frames]
    documents.append({"end": len(recording.frames)})
    text = "".join(json.dumps(document, separators=(",", ":")) + "\n" for document in documents)
    atomic.write_file(path, text.encode("ascii"))


def read_recording(path: str) -> Recording:
    """Read what `write_recording` wrote; every float is exactly what it was.

    Raises:
        OSError: there is no such file, or it cannot be read.
        InputError: it is something else, of a newer edgekit, cut off or damaged.
    """
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    head = _parse(lines[0])
    if head.get("kind") != KIND:
        raise InputError(f"{path} is no recording; `edgekit bench BUNDLE --record FILE` writes one")
    if head.get("schema") != SCHEMA:
        raise InputError(
            f"{path} is a recording of schema {head.get('schema')}, written by edgekit {head.get('edgekit')};"
            f" this is edgekit {__version__}, which reads schema {SCHEMA}: record anew, or use the edgekit that wrote it"
        )
    frames: List[RecordedFrame] = []
    for number, line in enumerate(lines[1:], 2):
        document = _parse(line)
        if "end" in document and document["end"] == len(frames):
            return _recording(path, head, tuple(frames))
        try:
            frames.append(_frame_from_json(document))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if number == len(lines):
                break
            raise InputError(f"{path}: line {number} is damaged; copy the file again") from error
    raise InputError(f"{path} is cut off after {len(frames)} frames; copy the file again")


def _recording(path: str, head: Mapping[str, object], frames: Tuple[RecordedFrame, ...]) -> Recording:
    try:
        fields = {name: head[name] for name in Recording._fields if name != "frames"}
        known = Recording(frames=frames, **fields)  # type: ignore[arg-type]
        known = known._replace(
            stages=tuple((str(name), bool(has_exit)) for name, has_exit in known.stages),
            confidence=float(known.confidence),
            measured={name: tuple(map(float, durations)) for name, durations in known.measured.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: line 1 is damaged; copy the file again") from error
    names = {name for name, _ in known.stages}
    used = {span[0] for frame in frames for span in frame.stages + ((frame.cut,) if frame.cut else ())}
    if not used <= names:
        raise InputError(
            f"{path}: its frames run stages that its network has not ({', '.join(sorted(used - names))})"
        )
    return known


def _parse(line: bytes) -> Dict[str, object]:
    try:
        document = json.loads(line.decode("ascii"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


# Instants are written from ``started`` on, for whoever reads the file. Nothing is lost: two instants of one clock, both far
# from its zero, differ by a number that a float holds exactly, and the sum is exact again.


def _frame_to_json(frame: RecordedFrame) -> Dict[str, object]:
    start = frame.started

    def span(one: Span) -> List[object]:
        return [one[0], one[1] - start, one[2]]

    return {
        "started": start,
        "ready": frame.ready - start,
        "budget_ms": frame.budget_ms,
        "reserve_ms": frame.reserve_ms,
        "confidence": frame.confidence,
        "stages": [span(one) for one in frame.stages],
        "cut": None if frame.cut is None else span(frame.cut),
        "decisions": [[instant - start, list(decision)] for instant, decision in frame.decisions],
        "reason": frame.reason,
        "ended": frame.ended - start,
        **({"cheapest_first": True} if frame.cheapest_first else {}),
        **({"prepared": [span(one) for one in frame.prepared]} if frame.prepared else {}),
    }


def _frame_from_json(document: Mapping[str, object]) -> RecordedFrame:
    start = _number(document["started"])

    def span(value: object) -> Span:
        name, begun, took = _list(value)
        return str(name), start + _number(begun), _number(took)

    budget, cut, confidence = document["budget_ms"], document["cut"], document["confidence"]
    decisions = []
    for instant, decision in map(_list, _list(document["decisions"])):
        run, stage, predicted, reason = _list(decision)
        made = Decision(
            bool(run),
            None if stage is None else str(stage),
            None if predicted is None else _number(predicted),
            str(reason),
        )
        decisions.append((start + _number(instant), made))
    return RecordedFrame(
        started=start,
        ready=start + _number(document["ready"]),
        budget_ms=None if budget is None else _number(budget),
        reserve_ms=_number(document["reserve_ms"]),
        confidence=None if confidence is None else _number(confidence),
        stages=tuple(span(one) for one in _list(document["stages"])),
        cut=None if cut is None else span(cut),
        decisions=tuple(decisions),
        reason=str(document["reason"]),
        ended=start + _number(document["ended"]),
        cheapest_first=document.get("cheapest_first") is True,
        prepared=tuple(span(one) for one in _list(document.get("prepared", []))),
    )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(value)
    return float(value)


def _list(value: object) -> List[object]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value
