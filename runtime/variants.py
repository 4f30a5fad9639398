"""Equal graphs of one stage, timed side by side on this device, because guesses about which is fastest are wrong."""

from typing import Callable, Dict, List, Mapping, Sequence

import numpy as np

from edgekit.bundle import Manifest, StageSpec
from edgekit.runtime.device.fingerprint import Fingerprint

OWN_PROGRAMS = "native"  # the backend that reads no graphs, but programs which are for it alone
TIE = 0.98  # another graph replaces the bundle's own choice only if it takes less than this share of its time


def usable_variants(stage: StageSpec, backend: str) -> List[str]:
    """The variants that are for ``backend``, as far as the manifest tells."""
    meant = (backend,) if backend == OWN_PROGRAMS else (None, backend)
    return [one.name for one in stage.variants if one.runtime in meant]


def default_variant(stage: StageSpec, backend: str) -> str:
    """The variant that ``backend`` takes before anything was measured."""
    if backend in stage.defaults:
        return stage.defaults[backend]
    # Bundles from before there was this backend say what TensorRT takes, which has no operators of ONNX Runtime's own either.
    if backend == "openvino" and "tensorrt" in stage.defaults:
        return stage.defaults["tensorrt"]
    return (usable_variants(stage, backend) or [stage.variants[0].name])[0]


def covered(manifest: Manifest, backend: str) -> bool:
    """Whether every stage has a variant that is for ``backend``."""
    return all(usable_variants(stage, backend) for stage in manifest.stages)


def variant_choices(manifest: Manifest, backend: str) -> List[Dict[str, str]]:
    """Choices of one variant per stage in which every one that is for ``backend`` occurs; as few as possible."""
    usable = {
        stage.name: usable_variants(stage, backend) or [default_variant(stage, backend)]
        for stage in manifest.stages
    }
    most = max(len(names) for names in usable.values())
    return [{stage: names[number % len(names)] for stage, names in usable.items()} for number in range(most)]


def time_variants(
    choices: Sequence[Mapping[str, str]],
    frames: Sequence[Callable[[], Mapping[str, float]]],
    rounds: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Dict[str, Dict[str, float]]:
    """The median ms of every stage's variants, in turns, so that a neighbour or a falling clock slows all of them.

    Args:
        choices: the variant per stage that each of ``frames`` runs.
        frames: run one frame and return the ms of its stages.
        rounds: how often each takes its turn; one more before them is not counted.
        progress: told how many rounds are done.
    """
    times: Dict[str, Dict[str, List[float]]] = {}
    for done in range(rounds + 1):
        for choice, frame in zip(choices, frames):
            for stage, duration in frame().items():
                if done:
                    times.setdefault(stage, {}).setdefault(choice[stage], []).append(duration)
        progress(done)
    return {
        stage: {name: float(np.median(found)) for name, found in by_variant.items()}
        for stage, by_variant in times.items()
    }


def fastest(times: Mapping[str, Mapping[str, float]], defaults: Mapping[str, str] = {}) -> Dict[str, str]:
    """The variant with the smallest median, per stage; a tie keeps the one in ``defaults``."""
    found = {}
    for stage, medians in times.items():
        best = min(medians, key=lambda name: medians[name])
        kept = defaults.get(stage)
        tied = kept in medians and medians[best] >= TIE * medians[str(kept)]
        found[stage] = str(kept) if tied else best
    return found


def measured_elsewhere(manifest: Manifest, fingerprint: Fingerprint) -> List[str]:
    """What to do about graphs that were chosen by measuring them on another machine; nothing where they were chosen here."""
    chosen = manifest.provenance.get("measured")
    if not isinstance(chosen, dict):
        return []
    here = {
        "processor": fingerprint.processor,
        "threads": fingerprint.threads,
        "backend": fingerprint.backend,
    }
    other = {name: (chosen.get(name), now) for name, now in here.items() if chosen.get(name) != now}
    if not other:
        return []
    changed = ", ".join("{} {} -> {}".format(name, *pair) for name, pair in other.items())
    return [
        f"its graphs were chosen by times taken elsewhere ({changed}): `edgekit bench` without --variants times them here,"
        " and keeps the fastest for this device."
    ]
