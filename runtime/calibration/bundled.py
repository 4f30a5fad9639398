"""A calibration inside a bundle: written in one step, and taken over from a file only if it is of this very network."""

import hashlib
import json
from typing import Dict, List, Mapping, Optional, Tuple

from edgekit.bundle import Bundle, CalibrationSpec, ExitSpec, amend_bundle
from edgekit.errors import InputError
from edgekit.runtime.calibration.costs import exit_stages
from edgekit.runtime.confidence import MEASURES
from edgekit.runtime.profile import bundle_hash
from edgekit.runtime.report import to_json

SCHEMA = 1


def keep_calibration(bundle: Bundle, document: Mapping[str, object]) -> Bundle:
    """Write temperatures, thresholds and all else of a calibration's ``document`` into the bundle.

    Whatever else the bundle knew of its exits stays; an accuracy is filled in only where none was known.

    Raises:
        BundleError: the bundle cannot be written, or has changed meanwhile; it is as it was before.
        InputError: the document is of another network, or does not fit.
    """
    kept = dict(document, schema=SCHEMA, bundle=bundle_hash(bundle), network=bundle.manifest.name)
    measure, thresholds, temperatures = _checked(bundle, kept, "the calibration")
    data = (to_json(kept) + "\n").encode("ascii")
    path = f"calibration/{hashlib.sha256(data).hexdigest()[:16]}.json"
    before = bundle.manifest.calibration
    exits: Dict[str, ExitSpec] = dict(bundle.manifest.exits)
    for name in exit_stages(bundle.manifest):
        spec = exits.get(name, ExitSpec())
        if spec.accuracy is None or spec.source == "calibration":
            spec = spec._replace(accuracy=_accuracy(kept, name), source="calibration")
        exits[name] = spec._replace(threshold=thresholds[name], temperature=temperatures[name])
    files = {
        name: entry
        for name, entry in bundle.manifest.files.items()
        if before is None or name not in (before.record, path)
    }
    manifest = bundle.manifest._replace(exits=exits, calibration=CalibrationSpec(measure, path), files=files)
    return amend_bundle(bundle, manifest, {path: data})


def forget_calibration(bundle: Bundle) -> Bundle:
    """Take thresholds, temperatures and the rest of a calibration out of the bundle again.

    Raises:
        BundleError: the bundle cannot be written, or has changed meanwhile; it is as it was before.
    """
    before = bundle.manifest.calibration
    exits = {}
    for name, spec in bundle.manifest.exits.items():
        if before is not None and spec.source == "calibration":
            spec = spec._replace(accuracy=None, source=None)
        exits[name] = spec._replace(threshold=None, temperature=None)
    files = {
        name: entry
        for name, entry in bundle.manifest.files.items()
        if before is None or name != before.record
    }
    return amend_bundle(bundle, bundle.manifest._replace(exits=exits, calibration=None, files=files), {})


def read_calibration(bundle: Bundle) -> Optional[Dict[str, object]]:
    """The document of the calibration that is in the bundle; None if there is none.

    Raises:
        BundleError: the file is missing or damaged.
    """
    calibration = bundle.manifest.calibration
    if calibration is None:
        return None
    document = json.loads(bundle.read_bytes(calibration.record).decode("utf-8"))
    assert isinstance(document, dict)  # its hash is right, so it is what keep_calibration wrote
    return document


def read_calibration_file(path: str, bundle: Bundle) -> Dict[str, object]:
    """A document that ``--save`` wrote, or that lies in another copy of the same bundle.

    Raises:
        InputError: it cannot be read, is no calibration, or one of another network.
    """
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read().decode("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--apply {path} cannot be read as a calibration: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or "thresholds" not in document:
        raise InputError(f"--apply {path} is no calibration; `edgekit calibrate --save FILE` writes one")
    if document.get("bundle") != bundle_hash(bundle):
        raise InputError(
            f"--apply {path} is the calibration of another bundle ({document.get('network')}, other graphs or weights) and says"
            f" nothing of {bundle.path}; calibrate this one"
        )
    _checked(bundle, document, f"--apply {path}")
    return document


def _checked(
    bundle: Bundle, document: Mapping[str, object], source: str
) -> Tuple[str, Dict[str, Optional[float]], Dict[str, float]]:
    """Measure, thresholds and temperatures, if they fit the network's exits."""
    exits: List[str] = list(exit_stages(bundle.manifest))
    measure, thresholds, temperatures = (
        document.get(key) for key in ("measure", "thresholds", "temperatures")
    )
    if measure not in MEASURES:
        raise InputError(f"{source}: its measure is {measure!r}, none of {', '.join(MEASURES)}")
    for what, values in (("thresholds", thresholds), ("temperatures", temperatures)):
        if not isinstance(values, dict) or list(values) != exits:
            of = ", ".join(values) if isinstance(values, dict) else repr(values)
            raise InputError(
                f"{source}: {what} for {len(values) if isinstance(values, dict) else 0} exits ({of}), and"
                f" {bundle.manifest.name} has {len(exits)}: {', '.join(exits)}"
            )
    assert isinstance(thresholds, dict)
    assert isinstance(temperatures, dict)
    found: Dict[str, Optional[float]] = {}
    for name in exits:
        value, temperature = thresholds[name], temperatures[name]
        if value is not None and not (_number(value) and 0 <= value <= 1):
            raise InputError(
                f"{source}: the threshold of {name} is {value!r}; it must be from 0 to 1, or null"
            )
        if not (_number(temperature) and 0 < temperature < float("inf")):
            raise InputError(f"{source}: the temperature of {name} is {temperature!r}; it must be above 0")
        found[name] = None if value is None else float(value)
    return str(measure), found, {name: float(temperatures[name]) for name in exits}


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _accuracy(document: Mapping[str, object], name: str) -> Optional[float]:
    exits = document.get("exits")
    one = exits.get(name) if isinstance(exits, dict) else None
    accuracy = one.get("accuracy") if isinstance(one, dict) else None
    return float(accuracy) if accuracy is not None and _number(accuracy) else None
