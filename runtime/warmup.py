"""The first frames of a session, which nobody waits for: they warm the device, and show how long every stage takes."""

from typing import Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends import Backend
from edgekit.runtime.entrance import Entrance
from edgekit.runtime.execution import Call, Execution, Plan
from edgekit.runtime.guess import scaled
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.loading import read_golden
from edgekit.runtime.scheduler import Scheduler


def prepare_model(
    plan: Plan,
    bundle: Bundle,
    network: Optional[str],
    backend: Backend,
    entrance: Entrance,
    finish: Callable[[Execution], object],
    known: Mapping[str, Sequence[float]],
    guessed: bool,
    frames: int,
) -> None:
    """Start ``plan.stages`` from what is ``known`` or, without it, from all warm-up frames but the first, cold one.

    Where it is only ``guessed`` from another device, the frames say how fast this one is, and the guess how much its runs
    differ; without frames, the guess is all there is. ``network`` is the one that runs, where it is one of several; ``frames`` of the golden input warm up every network,
    each run by ``finish``.

    Raises:
        BackendError: a stage failed.
        BundleError: the golden input is damaged.
    """
    model = plan.stages
    for name, durations in known.items():
        model.start(name, durations)
    if not frames:
        return
    several: List[Optional[str]] = [each.name for each in plan.manifest.networks]
    for one in several or [network]:
        manifest = plan.manifest if one is None or one == network else plan.manifest.only(one)
        prepared = entrance.prepare(one, read_golden(bundle, one)[0])
        found = warm_up(plan._replace(manifest=manifest), backend, prepared.tensors, finish, frames)
        for name, measured in found.items():
            warm = measured[1:] or measured
            if guessed and name in known:
                model.start(name, scaled(known[name], warm))
            elif model.predict(name) is None:
                model.start(name, warm)
            else:
                model.learn(name, measured[-1])


def warm_up(
    plan: Plan,
    backend: Backend,
    inputs: Mapping[str, np.ndarray],
    finish: Callable[[Execution], object],
    frames: int,
) -> Dict[str, List[float]]:
    """Run every stage ``frames`` times on ``inputs`` and return the durations in ms, by stage.

    Raises:
        BackendError: a stage failed.
    """
    stages = [(stage.name, stage.exit is not None) for stage in plan.manifest.stages]
    durations: Dict[str, List[float]] = {name: [] for name, _ in stages}
    for _ in range(frames):
        # A model of its own, and no policies: what a cold device shows must not stay with the session's.
        model = LatencyModel(durations)
        fresh = plan._replace(scheduler=Scheduler(stages, model), stages=model)
        now = plan.clock.now()
        execution = Execution(fresh, backend.start(inputs), Call(now, now, None, 0.0, None), lambda: None)
        finish(execution)
        if execution.progress.error is not None:
            raise BackendError(execution.progress.error)
        for name, _, duration in execution.progress.stages:
            durations[name].append(duration)
    return durations
