"""Which of a stage's engines is the best: all run in turns on the same tensors, and those that are not exact are left out."""

import time
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Bundle, StageSpec
from edgekit.errors import BackendError
from edgekit.runtime.backends import Frame
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.building.engines import PRECISIONS, Trial
from edgekit.runtime.loading import read_golden

# What an engine may differ from the stage's most exact one, root mean square: a quarter of a pixel of disparity, or one part
# in a hundred of anything else; `--tolerance` scales both. AnyNet's own error is above 1 px; with its products rounded to
# float16 on a processor, its first stage differs by 0.1 px, mostly beside edges. No device has shown it yet.
PX_TOLERANCE, RELATIVE_TOLERANCE = 0.25, 1e-2
# A quantised graph computes something else by design: it was judged where it was made.
INT8_TOLERANCE = 5.0

Key = Tuple[str, str, str, str]  # stage, variant, precision, digest of the graph


class _Entry(NamedTuple):
    backend: TensorRT
    frame: Frame


class Chain:
    """The golden tensors that each stage reads, computed by the most exact engines of the stages before it.

    Attributes:
        plans: the most exact engine by stage, of those that have one.
    """

    def __init__(self, bundle: Bundle, backend: TensorRT) -> None:
        self.backend = backend
        self.plans: Dict[str, bytes] = {}
        self._bundle = bundle
        self._tensors: Dict[Optional[str], Dict[str, np.ndarray]] = {}  # by network
        self._done: List[str] = []

    def inputs(self, stage: StageSpec) -> Dict[str, np.ndarray]:
        """What ``stage`` reads."""
        network = self._bundle.manifest.network_of(stage.name)
        manifest = self._bundle.manifest if network is None else self._bundle.manifest.only(network)
        if network not in self._tensors:
            self._tensors[network] = dict(read_golden(self._bundle, network)[0])
        tensors = self._tensors[network]
        for before in manifest.stages[: manifest.stages.index(stage)]:
            if before.name not in self._done:
                given = {name: tensors[name] for name in before.inputs}
                entry = _open(self, before, self.plans[before.name], given)
                try:
                    entry.frame.run(before.name)
                    tensors.update(_outputs(before, entry.frame))
                finally:
                    entry.backend.close()
                self._done.append(before.name)
        return {name: tensors[name] for name in stage.inputs}


def measure(
    stage: StageSpec, plans: Mapping[Key, bytes], chain: Chain, runs: int, tolerance: float
) -> List[Trial]:
    """Run every engine of ``stage`` in turns; durations are from the launch until the results are there."""
    inputs = chain.inputs(stage)
    order = sorted(plans, key=lambda key: PRECISIONS.index(key[2]))
    trials = {key: Trial(*key) for key in plans}
    entries: Dict[Key, _Entry] = {}
    reference: Optional[Dict[str, np.ndarray]] = None
    try:
        for key in order:
            try:
                entries[key] = entry = _open(chain, stage, plans[key], inputs)
                entry.frame.run(stage.name)  # also brings the inputs to the GPU
                outputs = _outputs(stage, entry.frame)
            except BackendError as error:
                trials[key] = trials[key]._replace(refused=str(error))
                continue
            if reference is None:
                if not all(np.isfinite(array).all() for array in outputs.values()):
                    trials[key] = trials[key]._replace(refused="its outputs are not finite")
                    continue
                reference = outputs
            trials[key] = _judged(trials[key], stage, outputs, reference, tolerance)
        durations = _time(
            {key: entries[key] for key in order if key in entries and trials[key].refused is None},
            stage,
            runs,
        )
    finally:
        for entry in entries.values():
            entry.backend.close()
    return [trials[key]._replace(durations_ms=tuple(durations.get(key, ()))) for key in order]


def choose(trials: Sequence[Trial]) -> Optional[Trial]:
    """The usable trial with the smallest median; None if there is none."""
    usable = [trial for trial in trials if trial.refused is None and trial.durations_ms]
    return min(usable, key=lambda trial: float(np.median(trial.durations_ms)), default=None)


def deviation(ours: np.ndarray, exact: np.ndarray, unit: Optional[str], tolerance: float) -> float:
    """How far ``ours`` is from ``exact``, root mean square; 1 is all that is allowed."""
    difference = np.asarray(ours, np.float64) - exact
    size = PX_TOLERANCE
    if unit != "px":
        size = RELATIVE_TOLERANCE * max(float(np.sqrt(np.mean(np.asarray(exact, np.float64) ** 2))), 1e-30)
    return float(np.sqrt(np.mean(difference**2))) / (size * tolerance)


def _open(chain: Chain, stage: StageSpec, plan: bytes, inputs: Dict[str, np.ndarray]) -> _Entry:
    backend = TensorRT(chain.backend.library, chain.backend.cuda, owner=False)
    try:
        backend.load(stage, plan, f"the engine of {stage.name}")
        return _Entry(backend, backend.start(inputs))
    except BaseException:
        backend.close()
        raise


def _outputs(stage: StageSpec, frame: Frame) -> Dict[str, np.ndarray]:
    return {spec.name: frame.read(spec.name) for spec in stage.outputs}


def _time(entries: Mapping[Key, _Entry], stage: StageSpec, runs: int) -> Dict[Key, List[float]]:
    durations: Dict[Key, List[float]] = {key: [] for key in entries}
    for number in range(runs + 2):
        for key, entry in entries.items():
            begun = time.perf_counter()
            entry.frame.run(stage.name)
            if number >= 2:
                durations[key].append((time.perf_counter() - begun) * 1e3)
    return durations


def _judged(
    trial: Trial,
    stage: StageSpec,
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    tolerance: float,
) -> Trial:
    """The trial with its error, 1 being all that is allowed."""
    if trial.precision == "int8":
        tolerance *= INT8_TOLERANCE
    worst = 0.0
    for spec in stage.outputs:
        if not np.isfinite(outputs[spec.name]).all():
            return trial._replace(refused=f"{spec.name} is not finite in {trial.precision}")
        worst = max(worst, deviation(outputs[spec.name], reference[spec.name], spec.unit, tolerance))
    if worst > 1.0:
        return trial._replace(
            error=worst, refused=f"{worst:.1f} times the error that is allowed in {trial.precision}"
        )
    return trial._replace(error=worst)
