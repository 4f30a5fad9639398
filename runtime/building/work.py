"""Building a bundle's engines on the device: every graph in every precision that is worth it, measured, the best kept.

Everything that was finished is on disk at once, so that a build that was stopped, or killed, goes on where it was.
"""

import contextlib
import os
import sys
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from edgekit import atomic
from edgekit.bundle import Bundle, StageSpec
from edgekit.errors import BackendError
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.backends.tensorrt_builder import build_engine, workspace
from edgekit.runtime.building.engines import (
    LOCK,
    PRECISIONS,
    TIMING_CACHE,
    Record,
    Trial,
    engines_folder,
    find_engine,
    forget,
    other_records,
    read_plan,
    read_record,
    write_file,
    write_plan,
    write_record,
)
from edgekit.runtime.building.plan import Options, Step, device, expected_seconds, plan_build
from edgekit.runtime.building.proving import prove
from edgekit.runtime.building.trials import Chain, choose, measure

if sys.platform != "win32":
    import fcntl


class News(NamedTuple):
    """What a build tells while it works: step ``number`` of ``total`` begins, and about ``left_s`` are left (None: unknown)."""

    what: str
    number: int
    total: int
    left_s: Optional[float]


Tell = Callable[[News], None]


def build_engines(
    bundle: Bundle,
    backend: TensorRT,
    options: Options,
    tell: Tell = lambda news: None,
    anew: bool = False,
) -> Record:
    """Build what is missing, measure what was not measured, and choose per stage what is fastest and exact enough.

    With ``anew``, what was built here before is removed first.

    Raises:
        BackendError: a stage has no engine that works, or another build of this bundle is running.
        BundleError: the bundle cannot be written to.
        OptionError: see `plan_build`.
    """
    fingerprint = device(backend)
    folder = engines_folder(bundle, fingerprint)
    with _alone(folder):
        if anew:
            forget(bundle, fingerprint)
        _clean(folder)
        steps = plan_build(bundle, backend, options)
        record = read_record(bundle, fingerprint)
        write_record(bundle, record)  # so that whoever finds engines here knows of which device they are
        learned = [trial for other in other_records(bundle, fingerprint) for trial in other.trials]
        chain = Chain(bundle, backend)
        for stage in bundle.manifest.stages:
            for number, step in enumerate(steps):
                if step.stage == stage.name:
                    left = expected_seconds([*record.trials, *learned], steps[number:])
                    state = "" if step.open else ": there already" if step.done else ": refused before"
                    tell(News(" ".join(step[:3]) + state, number + 1, len(steps), left))
                    if step.open:
                        record = _build_one(bundle, backend, stage, step, options, record)
            mine = [step for step in steps if step.stage == stage.name]
            record = _measure_stage(bundle, stage, mine, options, record, chain)
        tell(News("all stages together", len(steps), len(steps), None))
        return prove(bundle, backend, record, options.tolerance)


def _build_one(
    bundle: Bundle, backend: TensorRT, stage: StageSpec, step: Step, options: Options, record: Record
) -> Record:
    graph = next(one.graph for one in stage.variants if one.name == step.variant)
    cache_path = os.path.join(engines_folder(bundle, record.fingerprint), TIMING_CACHE)
    try:
        cache = atomic.read_file(cache_path)
    except OSError:
        cache = b""
    trial = Trial(step.stage, step.variant, step.precision, step.graph)
    begun = time.perf_counter()
    try:
        most = options.workspace or workspace(backend.cuda)
        built = build_engine(
            backend.library, backend.cuda, bundle.read_graph(graph), step.precision, most, cache
        )
    except BackendError as error:
        trial = trial._replace(refused=str(error))
    else:
        write_plan(bundle, record.fingerprint, stage, step.variant, step.precision, built.plan)
        write_file(cache_path, built.timing_cache)
        trial = trial._replace(seconds=round(time.perf_counter() - begun, 3))
    return _noted(bundle, record, [trial])


def _measure_stage(
    bundle: Bundle,
    stage: StageSpec,
    steps: List[Step],
    options: Options,
    record: Record,
    chain: Chain,
) -> Record:
    """Time this stage's engines in turns unless all of them were, and choose."""
    wanted = {step[:4] for step in steps}
    built: Dict[Tuple[str, str, str, str], bytes] = {}
    for variant, precision, graph in [step[1:4] for step in steps]:
        engine = find_engine(bundle, record.fingerprint, stage, variant, precision)
        plan = None if engine is None else read_plan(engine)
        if plan is not None:
            built[(stage.name, variant, precision, graph)] = plan
    if not built:
        reasons = [f"{trial.variant}: {trial.refused}" for trial in record.trials if trial.key in wanted]
        raise BackendError(f"{stage.name} cannot be built for this device: {'; '.join(reasons)}")
    known = {trial.key: trial for trial in record.trials}
    chain.plans[stage.name] = built[min(built, key=lambda key: PRECISIONS.index(key[2]))]
    if any(key not in known or not (known[key].durations_ms or known[key].refused) for key in built):
        fresh = measure(stage, built, chain, options.runs, options.tolerance)
        record = _noted(
            bundle,
            record,
            [
                trial._replace(seconds=known[trial.key].seconds if trial.key in known else None)
                for trial in fresh
            ],
        )
    best = choose([trial for trial in record.trials if trial.key in built])
    if best is None:
        raise BackendError(f"{stage.name}: no engine of it works on this device")
    others = tuple(entry for entry in record.chosen if entry[0] != stage.name)
    record = record._replace(chosen=others + ((stage.name, best.variant, best.precision),))
    write_record(bundle, record)
    return record


def _noted(bundle: Bundle, record: Record, trials: List[Trial]) -> Record:
    fresh = {trial.key: trial for trial in trials}
    kept = tuple(trial for trial in record.trials if trial.key not in fresh)
    record = record._replace(trials=kept + tuple(trials))
    write_record(bundle, record)
    return record


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """One build of a bundle at a time; the lock goes with the process, however that ends."""
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(os.path.join(folder, LOCK), os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise BackendError(
            f"{folder} cannot be written: {(error.strerror or str(error)).lower()}; build in a copy of the bundle"
        ) from error
    try:
        if sys.platform != "win32":
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BackendError(f"{folder}: another build is running; wait for it") from None
        yield
    finally:
        os.close(descriptor)


def _clean(folder: str) -> None:
    """Remove what killed builds had begun to write."""
    for name in os.listdir(folder):
        if name.startswith(".") and name.endswith(".partial"):
            os.unlink(os.path.join(folder, name))
