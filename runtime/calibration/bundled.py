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
CALIBRATED = "calibration"  # whose accuracy it is where the bundle knew none


def part_of(bundle: Bundle, network: Optional[str]) -> Bundle:
    """The bundle as if it held no network but the one named, to be read only; None: as it is.

    Raises:
        OptionError: there is none of this name.
    """
    return bundle if network is None else bundle._replace(manifest=bundle.manifest.only(network))


def keep_calibration(bundle: Bundle, document: Mapping[str, object], network: Optional[str] = None) -> Bundle:
    """Write temperatures, thresholds and all else of a calibration's ``document`` into the bundle.

    Whatever else the bundle knew of its exits stays; an accuracy is filled in only where none was known. Of a bundle with
    several networks, ``network`` is the one that was calibrated; what is known of the others stays too.

    Raises:
        BundleError: the bundle cannot be written, or has changed meanwhile; it is as it was before.
        InputError: the document is of another network, does not fit, or measures confidence unlike the other networks'.
    """
    part = part_of(bundle, network)
    kept: Dict[str, object] = dict(
        document, schema=SCHEMA, bundle=bundle_hash(part), network=part.manifest.name
    )
    measure, thresholds, temperatures = _checked(part, kept, "the calibration")
    others: Dict[Optional[str], Mapping[str, object]] = {
        name: one for name, one in _documents(bundle).items() if name not in (network, None)
    }
    for name, one in others.items():
        if one["measure"] != measure:
            raise InputError(
                f"{bundle.path}: {name} was calibrated by {one['measure']} and {network} is to be by {measure}; a session that"
                f" chooses between networks needs one measure: add --measure {one['measure']}, or clear {name} first"
            )
    exits: Dict[str, ExitSpec] = dict(bundle.manifest.exits)
    for name in exit_stages(part.manifest):
        spec = exits.get(name, ExitSpec())
        if spec.accuracy is None or spec.source == CALIBRATED:
            spec = spec._replace(accuracy=_accuracy(kept, name), source=CALIBRATED)
        exits[name] = spec._replace(threshold=thresholds[name], temperature=temperatures[name])
    return _write(bundle, exits, measure, {**others, network: kept})


def forget_calibration(bundle: Bundle, network: Optional[str] = None) -> Bundle:
    """Take thresholds, temperatures and the rest of a calibration out of the bundle again, or those of one network.

    Raises:
        BundleError: the bundle cannot be written, or has changed meanwhile; it is as it was before.
    """
    before, part = bundle.manifest.calibration, part_of(bundle, network)
    exits = dict(bundle.manifest.exits)
    for name, spec in part.manifest.exits.items():
        if before is not None and spec.source == CALIBRATED:
            spec = spec._replace(accuracy=None, source=None)
        exits[name] = spec._replace(threshold=None, temperature=None)
    kept = {name: one for name, one in _documents(bundle).items() if network not in (name, None)}
    return _write(bundle, exits, "" if before is None else before.measure, kept)


def read_calibration(bundle: Bundle, network: Optional[str] = None) -> Optional[Dict[str, object]]:
    """The document of the calibration that is in the bundle, of one of its networks if it holds several; None if there is none.

    Raises:
        BundleError: the file is missing or damaged.
    """
    return _documents(bundle).get(network)


def _documents(bundle: Bundle) -> Dict[Optional[str], Dict[str, object]]:
    """Every calibration in the bundle by its network; None where there is only one network."""
    calibration = bundle.manifest.calibration
    if calibration is None:
        return {}
    document = json.loads(bundle.read_bytes(calibration.record).decode("utf-8"))
    assert isinstance(document, dict)  # its hash is right, so it is what keep_calibration wrote
    return document["networks"] if bundle.manifest.networks else {None: document}


def _write(
    bundle: Bundle,
    exits: Mapping[str, ExitSpec],
    measure: str,
    documents: Mapping[Optional[str], Mapping[str, object]],
) -> Bundle:
    """The bundle with these exits, and with one file for all documents."""
    before = bundle.manifest.calibration
    added: Dict[str, bytes] = {}
    calibration = None
    if documents:
        whole = {"schema": SCHEMA, "networks": documents} if bundle.manifest.networks else documents[None]
        data = (to_json(whole) + "\n").encode("ascii")
        path = f"calibration/{hashlib.sha256(data).hexdigest()[:16]}.json"
        added, calibration = {path: data}, CalibrationSpec(measure, path)
    files = {
        name: entry
        for name, entry in bundle.manifest.files.items()
        if before is None or name not in (before.record, *added)
    }
    manifest = bundle.manifest._replace(exits=dict(exits), calibration=calibration, files=files)
    return amend_bundle(bundle, manifest, added)


def read_calibration_file(path: str, bundle: Bundle) -> Dict[str, object]:
    """A document that ``--save`` wrote, or that lies in another copy of the same bundle; see `part_of` for one of several networks.

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
