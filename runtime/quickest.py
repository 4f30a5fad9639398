"""Which of a PC's two backends was measured to be the quicker for a bundle, on this very device."""

import importlib.util
import os
from typing import Dict, List, Optional

import numpy as np

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends import open_backend
from edgekit.runtime.device.fingerprint import fingerprint_of
from edgekit.runtime.profile import Profile, read_profile, read_profile_file
from edgekit.runtime.variants import TIE

USUAL, OTHER = "onnxruntime", "openvino"


def openvino_is_quicker(bundle: Bundle, threads: Optional[int]) -> bool:
    """Whether both backends have a profile of this device with ``threads``, and OpenVINO's stages take less time together.

    Nothing is imported where nobody has measured the bundle with OpenVINO.
    """
    if not _measured_anywhere(bundle):
        return False
    found: Dict[str, Profile] = {}
    for name in (USUAL, OTHER):
        try:
            with open_backend(name, None, threads) as backend:
                fingerprint = fingerprint_of(backend.name, backend.version, backend.settings)
        except BackendError:  # it was uninstalled
            return False
        profile = read_profile(bundle, fingerprint)
        if profile is None:
            return False
        found[name] = profile
    if set(found[USUAL].stages) != set(found[OTHER].stages):
        return False
    return _total(found[OTHER]) < TIE * _total(found[USUAL])


def worth_measuring(bundle: Bundle) -> List[str]:
    """What to do where a bundle has graphs for OpenVINO, which is installed and which nobody has measured it with."""
    meant = any(variant.runtime == OTHER for stage in bundle.manifest.stages for variant in stage.variants)
    if not meant or importlib.util.find_spec(OTHER) is None or _measured_anywhere(bundle):
        return []
    return [
        f"it has graphs for OpenVINO, which is installed: `edgekit bench --backend {OTHER}` measures them, and from then on"
        " the quicker backend is taken."
    ]


def _measured_anywhere(bundle: Bundle) -> bool:
    folder = os.path.join(bundle.path, "profiles")
    try:
        paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".json")]
    except OSError:
        return False
    profiles = (read_profile_file(path, bundle) for path in paths)
    return any(
        profile is not None and profile.fingerprint.backend.split()[:1] == [OTHER] for profile in profiles
    )


def _total(profile: Profile) -> float:
    """What a frame's stages take, in ms."""
    return float(sum(np.median(stage.durations) for stage in profile.stages.values()))
