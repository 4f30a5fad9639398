"""Which of the backends that compute on the processor was measured to be the quickest for a bundle, on this very device."""

import importlib.util
import os
from typing import Dict, List, Optional, Set

import numpy as np

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends import open_backend
from edgekit.runtime.device.fingerprint import fingerprint_of
from edgekit.runtime.profile import Profile, read_profile, read_profile_file
from edgekit.runtime.variants import TIE, covered

USUAL = "onnxruntime"
MEASURED = (USUAL, "openvino", "native")


def quickest(bundle: Bundle, threads: Optional[int], usual: str = USUAL) -> str:
    """The backend whose stages take the least time together, of those with a profile of this device with ``threads``.

    ``usual`` where that one has none, or no other takes clearly less. Nothing is imported where nobody has measured another.
    """
    names = _measured_anywhere(bundle)
    if usual not in names or len(names) == 1:
        return usual
    found: Dict[str, Profile] = {}
    for name in sorted(names):
        profile = _measured_here(bundle, name, threads)
        if profile is not None:
            found[name] = profile
    if usual not in found:
        return usual
    stages = set(found[usual].stages)
    totals = {name: _total(profile) for name, profile in found.items() if set(profile.stages) == stages}
    best = min(totals, key=lambda name: totals[name])
    return best if totals[best] < TIE * totals[usual] else usual


def worth_measuring(bundle: Bundle) -> List[str]:
    """What to do where a bundle has graphs for backends that are there, and which nobody has measured it with."""
    known = _measured_anywhere(bundle)
    found = []
    if (
        "openvino" not in known
        and _meant_for(bundle, "openvino")
        and importlib.util.find_spec("openvino") is not None
    ):
        found.append(_advice("graphs for OpenVINO, which is installed", "openvino"))
    if "native" not in known and native_could_run(bundle):
        found.append(
            _advice("programs for edgekit's own kernels, and there is a compiler for them", "native")
        )
    return found


def native_could_run(bundle: Bundle) -> bool:
    """Whether every stage has a program for the backend ``native``, and there is a compiler to build its kernels."""
    if not covered(bundle.manifest, "native"):
        return False
    from edgekit.kernels.compiling import compiler_there

    return compiler_there()


def _advice(what: str, backend: str) -> str:
    return f"it has {what}: `edgekit bench --backend {backend}` measures them, and from then on the quickest backend is taken."


def _meant_for(bundle: Bundle, backend: str) -> bool:
    return any(variant.runtime == backend for stage in bundle.manifest.stages for variant in stage.variants)


def _measured_anywhere(bundle: Bundle) -> Set[str]:
    """The backends of which the bundle has a profile, of whatever device."""
    folder = os.path.join(bundle.path, "profiles")
    try:
        paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".json")]
    except OSError:
        return set()
    profiles = [read_profile_file(path, bundle) for path in paths]
    names = {profile.fingerprint.backend.split(" ")[0] for profile in profiles if profile is not None}
    return names.intersection(MEASURED)


def _measured_here(bundle: Bundle, name: str, threads: Optional[int]) -> Optional[Profile]:
    try:
        if name == "native" and not _native_is_built():
            return None  # nor measured, then; to build them takes seconds, on a robot more
        with open_backend(name, None, threads) as backend:
            fingerprint = fingerprint_of(backend.name, backend.version, backend.settings)
    except BackendError:  # it was uninstalled
        return None
    return read_profile(bundle, fingerprint)


def _native_is_built() -> bool:
    """Whether this device and user have native's kernels already."""
    from edgekit.kernels.compiling import find_compiler, is_built

    return is_built(find_compiler())


def _total(profile: Profile) -> float:
    """What a frame's stages take, in ms."""
    return float(sum(np.median(stage.durations) for stage in profile.stages.values()))
