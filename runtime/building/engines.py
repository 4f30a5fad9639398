"""The engines that were built for this device, in the bundle: found by their names, and believed only if their hash is right.

``engines/FINGERPRINT/STAGE.VARIANT.PRECISION.GRAPH.PLAN.plan``: the last two are the beginnings of the SHA-256 of the graph that
the engine was built from, and of the engine itself. One file, written in one step, is all that a finished engine consists of,
so that a build which was killed at any moment has lost nothing that was finished, and left nothing that looks finished.
"""

import errno
import hashlib
import json
import os
from typing import Dict, List, NamedTuple, Optional, Tuple

from edgekit import atomic
from edgekit.bundle import Bundle, StageSpec
from edgekit.errors import BackendError, BundleError
from edgekit.runtime.device.fingerprint import Fingerprint, differences

SCHEMA = 1
RECORD, TIMING_CACHE, LOCK = "build.json", "timing.cache", ".lock"
# The most exact first: what is taken when nothing was measured, and what the others are judged by.
PRECISIONS = ("fp32", "tf32", "fp16", "int8", "dla")
DIGITS = 16  # of a hash, in a file's name


class EngineFile(NamedTuple):
    """An engine on disk, by its name: whether its content is what the name says shows when it is read."""

    path: str
    stage: str
    variant: str
    precision: str
    graph: str
    plan: str


class Trial(NamedTuple):
    """What became of one way to execute a stage.

    Attributes:
        stage, variant, precision: which.
        graph: the beginning of its graph's hash.
        seconds: that its engine took to build.
        durations_ms: of its runs; empty if it was not measured.
        error: relative to the most exact engine, over all outputs; None if it was not compared.
        refused: why it cannot be used; None if it can.
    """

    stage: str
    variant: str
    precision: str
    graph: str
    seconds: Optional[float] = None
    durations_ms: Tuple[float, ...] = ()
    error: Optional[float] = None
    refused: Optional[str] = None

    @property
    def key(self) -> Tuple[str, str, str, str]:
        """What it is a trial of."""
        return self.stage, self.variant, self.precision, self.graph


class Record(NamedTuple):
    """What building found out.

    Attributes:
        fingerprint: of the device.
        trials: every one.
        chosen: stage, variant and precision that are taken.
        errors: per exit, of all chosen engines together against the golden answers; 1 is what is allowed.
        note: what else there is to say of the choice.
    """

    fingerprint: Fingerprint
    trials: Tuple[Trial, ...] = ()
    chosen: Tuple[Tuple[str, str, str], ...] = ()
    errors: Tuple[Tuple[str, float], ...] = ()
    note: Optional[str] = None


def engines_folder(bundle: Bundle, fingerprint: Fingerprint) -> str:
    """Where engines for ``fingerprint`` lie."""
    return os.path.join(bundle.path, "engines", fingerprint.key)


def graph_digest(bundle: Bundle, stage: StageSpec, variant: str) -> str:
    """The beginning of the hash of a variant's graph."""
    graph = next(one.graph for one in stage.variants if one.name == variant)
    return bundle.manifest.files[graph].sha256[:DIGITS]


def find_engines(bundle: Bundle, fingerprint: Fingerprint) -> List[EngineFile]:
    """Every engine for ``fingerprint``, whether whole or not, of any graph."""
    folder = engines_folder(bundle, fingerprint)
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        parts = name.split(".")
        if len(parts) == 6 and parts[5] == "plan" and not name.startswith("."):
            found.append(EngineFile(os.path.join(folder, name), *parts[:5]))
    return found


def find_engine(
    bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str, precision: str
) -> Optional[EngineFile]:
    """The engine of this very graph; None if there is none."""
    wanted = (stage.name, variant, precision, graph_digest(bundle, stage, variant))
    for engine in find_engines(bundle, fingerprint):
        if (engine.stage, engine.variant, engine.precision, engine.graph) == wanted:
            return engine
    return None


def read_plan(engine: EngineFile) -> Optional[bytes]:
    """The engine's bytes; None if they are not what was written."""
    try:
        plan = atomic.read_file(engine.path)
    except OSError:
        return None
    return plan if hashlib.sha256(plan).hexdigest().startswith(engine.plan) else None


def write_plan(
    bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str, precision: str, plan: bytes
) -> EngineFile:
    """Keep an engine in the bundle.

    Raises:
        BundleError: the bundle cannot be written to.
    """
    parts = (stage.name, variant, precision, graph_digest(bundle, stage, variant))
    digest = hashlib.sha256(plan).hexdigest()[:DIGITS]
    path = os.path.join(engines_folder(bundle, fingerprint), ".".join(parts + (digest, "plan")))
    write_file(path, plan)
    return EngineFile(path, *parts, plan=digest)


def write_file(path: str, data: bytes) -> None:
    """Write a file beside the engines in one step.

    Raises:
        BundleError: it cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        atomic.write_file(path, data)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = (
            f"free {len(data) / 1e6:.1f} MB and more, and run it again: what was finished stays"
            if full
            else "copy the bundle to a place that can be written to, and build there"
        )
        raise BundleError(
            f"{path} cannot be written: {(error.strerror or str(error)).lower()}; {advice}"
        ) from error


def read_engine(
    bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str
) -> Tuple[bytes, str, str]:
    """The plan to run ``variant`` of ``stage`` with, the name of its file, and its precision.

    Raises:
        BackendError: it was not built for this device, or is damaged; the message says what changed and what to do.
    """
    record = read_record(bundle, fingerprint)
    for precision in _preferred(record, stage.name, variant):
        engine = find_engine(bundle, fingerprint, stage, variant, precision)
        if engine is not None:
            plan = read_plan(engine)
            if plan is None:
                raise BackendError(
                    f"{engine.path}: damaged or cut off; `edgekit build {bundle.path}` makes it anew"
                )
            return plan, engine.path, precision
    raise BackendError(_missing(bundle, fingerprint, stage, variant))


def read_record(bundle: Bundle, fingerprint: Fingerprint) -> Record:
    """What building found out here; an empty record if there is none that can be read."""
    path = os.path.join(engines_folder(bundle, fingerprint), RECORD)
    try:
        document = json.loads(atomic.read_file(path).decode("utf-8"))
        if document["schema"] != SCHEMA:
            return Record(fingerprint)
        trials = [
            Trial(**dict(entry, durations_ms=tuple(float(value) for value in entry["durations_ms"])))
            for entry in document["trials"]
        ]
        chosen = [
            (str(stage), str(variant), str(precision)) for stage, variant, precision in document["chosen"]
        ]
        errors = tuple((str(stage), float(error)) for stage, error in document["errors"])
        return Record(
            Fingerprint(**document["fingerprint"]), tuple(trials), tuple(chosen), errors, document["note"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Record(fingerprint)


def write_record(bundle: Bundle, record: Record) -> None:
    """Keep the record beside the engines.

    Raises:
        BundleError: the bundle cannot be written to.
    """
    document: Dict[str, object] = {
        "schema": SCHEMA,
        "fingerprint": record.fingerprint.to_json(),
        "trials": [dict(trial._asdict(), durations_ms=list(trial.durations_ms)) for trial in record.trials],
        "chosen": [list(entry) for entry in record.chosen],
        "errors": [list(entry) for entry in record.errors],
        "note": record.note,
    }
    path = os.path.join(engines_folder(bundle, record.fingerprint), RECORD)
    write_file(path, (json.dumps(document, indent=1) + "\n").encode("utf-8"))


def forget(bundle: Bundle, fingerprint: Fingerprint) -> None:
    """Remove everything that was built for ``fingerprint``; not the lock, which whoever calls this holds.

    Raises:
        BundleError: the bundle cannot be written to.
    """
    folder = engines_folder(bundle, fingerprint)
    for name in sorted(os.listdir(folder)):
        if name != LOCK:
            try:
                os.unlink(os.path.join(folder, name))
            except OSError as error:
                raise BundleError(
                    f"{os.path.join(folder, name)} cannot be removed: {(error.strerror or str(error)).lower()}"
                ) from error


def other_records(bundle: Bundle, fingerprint: Fingerprint) -> List[Record]:
    """The records of engines that were built under other fingerprints, the newest first."""
    folder = os.path.join(bundle.path, "engines")
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name, RECORD)
        try:
            theirs = Fingerprint(**json.loads(atomic.read_file(path).decode("utf-8"))["fingerprint"])
            found.append((os.stat(path).st_mtime, read_record(bundle, theirs)))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    found.sort(key=lambda entry: -entry[0])
    return [record for _, record in found if record.fingerprint != fingerprint]


def _preferred(record: Record, stage: str, variant: str) -> List[str]:
    """The precisions of a variant, that to take first: the chosen, else the fastest measured, else the most exact."""
    chosen = [precision for name, one, precision in record.chosen if (name, one) == (stage, variant)]
    tried = [trial for trial in record.trials if (trial.stage, trial.variant) == (stage, variant)]
    measured = [trial for trial in tried if trial.durations_ms and trial.refused is None]
    measured.sort(key=lambda trial: sorted(trial.durations_ms)[len(trial.durations_ms) // 2])
    refused = {trial.precision for trial in tried if trial.refused is not None}
    order = (
        chosen + [trial.precision for trial in measured] + [one for one in PRECISIONS if one not in refused]
    )
    return sorted(set(order), key=order.index)


def _missing(bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str) -> str:
    build = f"`edgekit build {bundle.path}`"
    if find_engines(bundle, fingerprint):
        return f"{bundle.path}: no engine of {stage.name} {variant}; {build} goes on where it stopped"
    others = other_records(bundle, fingerprint)
    if others:
        changed = differences(fingerprint, others[0].fingerprint)
        return f"{bundle.path}: its engines are of another device or state ({changed}); {build}, or load with build=True"
    return f"{bundle.path}: no engines were built on this device yet; {build}"
