"""The first frames of a session, which nobody waits for: they warm the device, and show how long every stage takes."""

from typing import Dict, List, Mapping

import numpy as np

from edgekit.errors import BackendError
from edgekit.runtime.backends import Backend
from edgekit.runtime.execution import Call, Execution, Plan
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.scheduler import Scheduler


def warm_up(
    plan: Plan, backend: Backend, inputs: Mapping[str, np.ndarray], frames: int
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
        execution.finish()
        if execution.progress.error is not None:
            raise BackendError(execution.progress.error)
        for name, _, duration in execution.progress.stages:
            durations[name].append(duration)
    return durations
