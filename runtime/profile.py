"""What was measured on one device: how long every stage takes there, and which of its graphs is the fastest."""

import hashlib
import json
import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from edgekit import atomic
from edgekit.bundle import Bundle
from edgekit.errors import BundleError
from edgekit.runtime.device.fingerprint import Fingerprint

SCHEMA = 1
KEPT = 512  # durations a stage, evenly picked from the sorted ones: every quantile up to p99 survives


class StageProfile(NamedTuple):
    """The chosen variant of one stage, and durations in ms of its runs, sorted."""

    variant: str
    durations: Tuple[float, ...]


class Profile(NamedTuple):
    """Measurements of one bundle (by its manifest's hash) under one fingerprint."""

    fingerprint: Fingerprint
    bundle: str
    stages: Mapping[str, StageProfile]


def profile_path(bundle: Bundle, fingerprint: Fingerprint) -> str:
    """Where the profile of ``bundle`` under ``fingerprint`` is kept."""
    return os.path.join(bundle.path, "profiles", fingerprint.key + ".json")


def bundle_hash(bundle: Bundle) -> str:
    """What names exactly these stages and graphs (hex); calibrating a bundle does not change it."""
    manifest = bundle.manifest
    graphs = sorted({variant.graph for stage in manifest.stages for variant in stage.variants})
    hashes = [(name, manifest.files[name].sha256) for name in graphs]
    # Without what was added to variants later: `Variant.runtime` follows from the graph.
    stages = [
        stage._replace(variants=tuple(variant[:6] for variant in stage.variants))  # type: ignore[misc]
        for stage in manifest.stages
    ]
    named = json.dumps([manifest.name, manifest.batch, manifest.inputs, stages, hashes], sort_keys=True)
    return hashlib.sha256(named.encode("ascii")).hexdigest()


def read_profile(bundle: Bundle, fingerprint: Fingerprint) -> Optional[Profile]:
    """The profile measured here; None if there is none, or none of these very graphs that can be read."""
    found = read_profile_file(profile_path(bundle, fingerprint), bundle)
    return found if found is not None and found.fingerprint == fingerprint else None


def read_profile_file(path: str, bundle: Bundle) -> Optional[Profile]:
    """The profile of ``bundle`` in the file ``path``, of whatever device.

    A damaged profile counts as none: it is a cache, and measuring again replaces it.
    """
    try:
        document = json.loads(atomic.read_file(path).decode("utf-8"))
        if (
            document["schema"] != SCHEMA
            or document["bundle"] != bundle_hash(bundle)
            or "predicted" in document
        ):
            return None
        found = Fingerprint(**document["fingerprint"])
        stages: Dict[str, StageProfile] = {}
        for name, entry in document["stages"].items():
            durations = tuple(float(value) for value in entry["durations_ms"])
            stages[str(name)] = StageProfile(str(entry["variant"]), durations)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    known = {stage.name: [variant.name for variant in stage.variants] for stage in bundle.manifest.stages}
    usable = all(
        name in known and stage.variant in known[name] and stage.durations and min(stage.durations) > 0
        for name, stage in stages.items()
    )
    return Profile(found, str(document["bundle"]), stages) if usable else None


def write_profile(bundle: Bundle, profile: Profile) -> str:
    """Keep ``profile`` in the bundle; returns the file's path.

    Raises:
        BundleError: the bundle cannot be written to.
    """
    path = profile_path(bundle, profile.fingerprint)
    document = {
        "schema": SCHEMA,
        "fingerprint": profile.fingerprint.to_json(),
        "bundle": profile.bundle,
        "stages": {
            name: {"variant": stage.variant, "durations_ms": _thinned(stage.durations)}
            for name, stage in profile.stages.items()
        },
    }
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        atomic.write_file(path, (json.dumps(document, indent=1) + "\n").encode("utf-8"))
    except OSError as error:
        raise BundleError(
            f"the profile cannot be kept in {path}: {(error.strerror or str(error)).lower()}; "
            "the bundle works without, and measures anew whenever it is loaded"
        ) from error
    return path


def _thinned(durations: Tuple[float, ...]) -> List[float]:
    ordered = sorted(durations)
    if len(ordered) <= KEPT:
        return ordered
    last = len(ordered) - 1
    return [ordered[round(k * last / (KEPT - 1))] for k in range(KEPT)]
