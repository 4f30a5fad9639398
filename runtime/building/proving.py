"""The chosen engines together: do they give the golden answers, and how long does every stage take among the others?"""

from typing import Dict, List, Optional, Tuple

import numpy as np

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.building.engines import PRECISIONS, Record, Trial, write_record
from edgekit.runtime.building.trials import choose, deviation
from edgekit.runtime.profile import Profile, StageProfile, bundle_hash, write_profile
from edgekit.runtime.session import Session

FRAMES = 50
# Errors of stages add up on their way to the last exit.
CHAIN = 2.0


def prove(bundle: Bundle, backend: TensorRT, record: Record, tolerance: float) -> Record:
    """Run the golden input through the chosen engines, and keep the profile and what was found in the bundle.

    Where they are not exact enough together, every stage falls back to its most exact engines.

    Raises:
        BackendError: they do not run, or even the most exact ones give other answers than the network gave.
        BundleError: the bundle cannot be written to.
    """
    errors, durations = _run(bundle, backend, record, tolerance)
    worst = max(error for _, error in errors)
    note = None
    if not worst <= CHAIN and any(precision != "fp32" for _, _, precision in record.chosen):
        note = (
            f"the fastest engines together were {worst / CHAIN:.1f} times as far from the golden answers as is allowed:"
            " the most exact ones are taken instead"
        )
        record = record._replace(chosen=_most_exact(record))
        write_record(bundle, record)
        errors, durations = _run(bundle, backend, record, tolerance)
        worst = max(error for _, error in errors)
    if not worst <= CHAIN:
        raise BackendError(
            f"{bundle.path}: the engines built here give other answers than the network gave at export"
            f' ({worst / CHAIN:.1f} times what is allowed): report this; `backend="onnxruntime"` still works'
        )
    record = record._replace(errors=tuple(errors), note=note)
    write_record(bundle, record)
    variants = {stage: variant for stage, variant, _ in record.chosen}
    stages = {name: StageProfile(variants[name], tuple(sorted(taken))) for name, taken in durations.items()}
    write_profile(bundle, Profile(record.fingerprint, bundle_hash(bundle), stages))
    return record


def _run(
    bundle: Bundle, backend: TensorRT, record: Record, tolerance: float
) -> Tuple[List[Tuple[str, float]], Dict[str, List[float]]]:
    """Per exit its deviation from the golden one, and per stage the ms of its runs."""
    durations: Dict[str, List[float]] = {stage.name: [] for stage in bundle.manifest.stages}
    errors = []
    networks: List[Optional[str]] = [one.name for one in bundle.manifest.networks]
    for network in networks or [None]:
        manifest = bundle.manifest if network is None else bundle.manifest.only(network)
        names = [stage.name for stage in manifest.stages]
        variants = {stage: variant for stage, variant, _ in record.chosen if stage in names}
        fresh = TensorRT(backend.library, backend.cuda, owner=False)
        try:
            with Session(bundle, fresh, variants, policies=(), network=network) as session:
                inputs, golden = session.golden()
                for _ in range(FRAMES):
                    result = session.infer(budget_ms=None, overrun="return", reuse=False, **inputs)
                    if result.error is not None:
                        raise BackendError(result.error)
                    for name, taken in result.stage_ms.items():
                        durations[name].append(taken)
        finally:
            fresh.close()
        for stage in manifest.stages:
            if stage.exit is not None:
                unit = next(spec.unit for spec in stage.outputs if spec.name == stage.exit)
                found, exact = result.exits[stage.name], golden[stage.name]
                finite = bool(np.isfinite(found).all())
                errors.append(
                    (stage.name, deviation(found, exact, unit, tolerance) if finite else float("inf"))
                )
    return errors, durations


def _most_exact(record: Record) -> Tuple[Tuple[str, str, str], ...]:
    """Per stage the fastest of its most exact engines."""
    chosen = []
    for stage, _, _ in record.chosen:
        mine = [
            trial
            for trial in record.trials
            if trial.stage == stage and trial.refused is None and trial.durations_ms
        ]
        best = min(PRECISIONS.index(trial.precision) for trial in mine)
        taken: Trial = (
            choose([trial for trial in mine if PRECISIONS.index(trial.precision) == best]) or mine[0]
        )
        chosen.append((stage, taken.variant, taken.precision))
    return tuple(chosen)
