"""What every exit says of labelled pictures, recorded once: calibrating and comparing need nothing else of the network."""

import io
import os
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit import atomic
from edgekit.bundle import Manifest
from edgekit.errors import BackendError, InputError
from edgekit.runtime.calibration.costs import exit_stages
from edgekit.runtime.profile import bundle_hash
from edgekit.runtime.session import Session

GROUP = 256  # pictures that are on their way at once


class Recorded(NamedTuple):
    """Logits float32 (exits, samples, classes) and labels int64 (samples,).

    ``source`` says in words where they come from; ``bundle`` is the hash of the stages that gave them, None if not known.
    """

    logits: np.ndarray
    labels: np.ndarray
    source: str
    bundle: Optional[str] = None


def record(
    session: Session,
    pictures: Sequence[object],
    labels: np.ndarray,
    source: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Recorded:
    """Run every picture through every stage of a session without policies; ``progress`` is told how many are done.

    Raises:
        InputError: a picture cannot be used.
        BackendError: a stage fails.
    """
    exits = exit_stages(session.manifest)
    found: List[List[np.ndarray]] = []
    for begin in range(0, len(labels), GROUP):
        group = [pictures[k] for k in range(begin, min(begin + GROUP, len(labels)))]
        for result in session.infer_batch(group):
            if result.error is not None:
                raise BackendError(result.error)
            found.append([result.exits[name].reshape(-1) for name in exits])
        progress(len(found))
    logits = np.asarray(found, np.float32).transpose(1, 0, 2)
    part = session.bundle._replace(manifest=session.manifest)
    return Recorded(np.ascontiguousarray(logits), labels, source, bundle_hash(part))


def write_recorded(path: str, recorded: Recorded) -> None:
    """Keep logits and labels in an ``.npz`` file, which `read_recorded` and ``--data`` read.

    Raises:
        InputError: it cannot be written.
    """
    stream = io.BytesIO()
    np.savez(stream, logits=recorded.logits, labels=recorded.labels, bundle=np.array(recorded.bundle or ""))
    try:
        atomic.write_file(path, stream.getvalue())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from error


def check_recorded(recorded: Recorded, manifest: Manifest, bundle: str) -> None:
    """Refuse logits and labels that no thresholds of this network can be set with.

    Raises:
        InputError: of another bundle, of the wrong size, empty, not finite, or labels that are no classes or only one.
    """
    logits, labels, source = recorded.logits, recorded.labels, recorded.source
    exits, classes = exit_stages(manifest), classes_of(manifest)
    if recorded.bundle is not None and recorded.bundle != bundle:
        raise InputError(
            f"{source}: these logits were recorded from another bundle; record them from this one"
        )
    if logits.ndim != 3 or logits.dtype.kind != "f":
        raise InputError(
            f"{source}: logits have dtype {logits.dtype} and shape {logits.shape}; they must be floats"
            " (exits, samples, classes)"
        )
    if logits.shape[0] != len(exits) or logits.shape[2] != classes:
        raise InputError(
            f"{source}: logits of {logits.shape[0]} exits and {logits.shape[2]} classes, and {manifest.name} has"
            f" {len(exits)} exits ({', '.join(exits)}) and {classes} classes"
        )
    check_labels(labels, logits.shape[1], classes, source)
    broken = ~np.isfinite(logits).all(axis=2)
    if broken.any():
        exit, sample = (int(found[0]) for found in np.nonzero(broken))
        raise InputError(
            f"{source}: {int(broken.sum())} of the answers hold NaN or Inf, the first one {exits[exit]}'s of sample {sample};"
            " `edgekit verify` tells whether the network is at fault, or leave these samples out"
        )


def check_labels(labels: np.ndarray, samples: int, classes: int, source: str) -> None:
    """Refuse labels that do not fit ``samples`` samples of ``classes`` classes.

    Raises:
        InputError: another number of them, none at all, no classes of the network, or one class only.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(
            f"{source}: labels have dtype {labels.dtype} and shape {labels.shape}; they must be whole numbers (samples,)"
        )
    if len(labels) != samples:
        raise InputError(f"{source}: {len(labels)} labels for {samples} samples; give one for each")
    if not samples:
        raise InputError(f"{source}: there are no samples in it")
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        first = int(outside.argmax())
        raise InputError(
            f"{source}: {int(outside.sum())} labels are outside of 0 to {classes - 1}, the first one {labels[first]} of sample"
            f" {first}; the network has {classes} classes, and labels count from 0"
        )
    if len(np.unique(labels)) == 1:
        raise InputError(
            f"{source}: all {samples} labels are {labels[0]}; thresholds for one class say nothing of the others: give samples"
            " of all classes, as they will come"
        )


def classes_of(manifest: Manifest) -> int:
    """How many classes the network tells apart.

    Raises:
        InputError: it is no classifier, or its exits do not agree.
    """
    shapes = _exit_shapes(manifest)
    if manifest.task != "classification" or manifest.networks:
        what = f"a network for {manifest.task}" if manifest.task != "classification" else "several networks"
        raise InputError(f"{manifest.name} is {what}; calibrating needs one classifier")
    if len({shape[-1] for shape in shapes}) != 1:
        raise InputError(f"{manifest.name}: the exits have different numbers of classes, {shapes}")
    return shapes[0][-1]


def _exit_shapes(manifest: Manifest) -> List[Tuple[int, ...]]:
    return [spec.shape for stage in manifest.stages for spec in stage.outputs if spec.name == stage.exit]


def read_recorded(path: str, arrays: "np.lib.npyio.NpzFile", labels: Optional[np.ndarray]) -> Recorded:
    """Logits from an opened ``.npz`` file: ``logits`` (exits, samples, classes), with ``labels`` unless these are given.

    Raises:
        InputError: it has no labels.
    """
    if labels is None:
        if "labels" not in arrays.files:
            raise InputError(f"{path} has logits and no labels; give them with --labels FILE")
        labels = arrays["labels"]
    known = str(arrays["bundle"]) if "bundle" in arrays.files else ""
    return Recorded(arrays["logits"], labels, os.path.basename(path), known or None)
