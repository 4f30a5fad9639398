"""What is expected of stages before this device has run them: its own profile, or a guess from that of another device."""

import os
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from edgekit.bundle import Bundle
from edgekit.runtime.device.fingerprint import Fingerprint, differences
from edgekit.runtime.profile import Profile, profile_path, read_profile, read_profile_file

# So few runs that the latency model distrusts them (see `edgekit.runtime.latency.ASSUMED_SPREAD`), and what this device shows
# soon outweighs them; evenly picked, the slowest among them, they keep the shape of what the other device showed.
PICKED = 8


def find_profiles(bundle: Bundle, fingerprint: Fingerprint) -> Tuple[Optional[Profile], Optional[Profile]]:
    """The profile that was measured here; where there is none, the one to guess from."""
    own = read_profile(bundle, fingerprint)
    return own, None if own is not None else nearest_profile(bundle, fingerprint)


def nearest_profile(bundle: Bundle, fingerprint: Fingerprint) -> Optional[Profile]:
    """The profile of this very bundle from another device or setting most like this one; None if there is none.

    The one with the most fields of the fingerprint in common; of several, the one that was measured last.
    """
    folder = os.path.join(bundle.path, "profiles")
    own = profile_path(bundle, fingerprint)
    found = []
    try:
        paths = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".json"))
        for path in paths:
            profile = read_profile_file(path, bundle) if path != own else None
            if profile is not None:
                common = sum(one == other for one, other in zip(profile.fingerprint, fingerprint))
                found.append((common, os.path.getmtime(path), path, profile))
    except OSError:
        pass
    return max(found)[-1] if found else None


def first_durations(
    profile: Optional[Profile], guess: Optional[Profile], variants: Mapping[str, str]
) -> Dict[str, Tuple[float, ...]]:
    """Durations in ms by stage to start from: all that were measured here, else a few of those measured elsewhere."""
    source = profile or guess
    if source is None:
        return {}
    known = {
        name: stage.durations for name, stage in source.stages.items() if variants.get(name) == stage.variant
    }
    return known if source is profile else {name: picked(durations) for name, durations in known.items()}


def scaled(guessed: Sequence[float], measured: Sequence[float]) -> List[float]:
    """What was guessed, at the pace that ``measured`` runs show, and these runs."""
    pace = _median(measured) / _median(guessed)
    return [pace * duration for duration in guessed] + list(measured)


def told(ours: Fingerprint, guess: Profile) -> str:
    """What to tell whoever relies on a guess."""
    return (
        f"first predictions are guessed from another device's profile ({differences(ours, guess.fingerprint)});"
        " `edgekit bench` measures this one"
    )


def picked(durations: Sequence[float]) -> Tuple[float, ...]:
    """At most `PICKED` of them, evenly from the shortest to the longest."""
    ordered = sorted(durations)
    if len(ordered) <= PICKED:
        return tuple(ordered)
    return tuple(ordered[round(k * (len(ordered) - 1) / (PICKED - 1))] for k in range(PICKED))


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
