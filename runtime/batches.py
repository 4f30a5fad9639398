"""Many pictures at once: samples leave at their own exit, and those that stay are packed densely for the next stage."""

import threading
from collections import deque
from typing import Deque, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.errors import BackendError, InputError, OptionError
from edgekit.runtime.backends import Backend
from edgekit.runtime.execution import Plan
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.policies import Reached
from edgekit.runtime.postprocess import answer
from edgekit.runtime.preprocess import Placement, Preprocessor, as_array
from edgekit.runtime.result import Result

# Samples a stage runs at once where its graph takes any number: from there on, more win little and hold more memory.
PACK = 32


class _Row(NamedTuple):
    """A sample's part of a tensor that a pack of samples shares."""

    array: np.ndarray
    number: int


class _Sample:
    """One picture on its way through the stages."""

    def __init__(
        self, number: int, tensors: Mapping[str, np.ndarray], placement: Optional[Placement]
    ) -> None:
        self.number = number
        self.placement = placement
        self.tensors = {name: _Row(array, 0) for name, array in tensors.items()}
        self.exits: List[Tuple[str, np.ndarray]] = []
        self.stages: List[Tuple[str, float, float]] = []
        self.answered = 0.0  # the instant of the last exit
        self.reason: Optional[str] = None  # why it left; None while it has not
        self.error: Optional[str] = None


class Batches:
    """Runs lists of pictures on one session's stages."""

    def __init__(self, plan: Plan, backend: Backend, turn: threading.Lock, allow_nonfinite: bool) -> None:
        self._plan = plan
        self._backend = backend
        self._turn = turn
        manifest = plan.manifest
        self._size = PACK if manifest.batch is None else manifest.batch
        singly = [spec._replace(shape=(1, *spec.shape[1:])) for spec in manifest.inputs]
        self._preprocessor = Preprocessor(singly, allow_nonfinite)
        names = [stage.name for stage in manifest.stages]
        # Graphs that take any number of samples take longer for a pack than for one frame.
        self._model = LatencyModel(names) if manifest.batch is None else plan.stages
        # What later stages read, by the number of stages that have run.
        self._needed = [
            {name for stage in manifest.stages[done:] for name in stage.inputs}
            for done in range(len(names) + 1)
        ]
        self._next_exit = [
            next((k for k in range(done, len(names)) if manifest.stages[k].exit is not None), None)
            for done in range(len(names) + 1)
        ]

    def run(self, started: float, images: Sequence[object], budget_ms: Optional[float]) -> List[Result]:
        """Answer every picture, with a result for each in their order.

        A sample that a policy calls good enough leaves; the rest are packed for the next stage, as many as its graph takes at
        once, `PACK` where it takes any number. Policies do not hear of a sample's end: no sample takes a time of its own.

        Args:
            started: the instant of the call, in ms on the session's clock.
            images: of the network's only input: pictures as `infer` takes them, tensors (C, H, W) or (1, C, H, W), or all in
                one array.
            budget_ms: for all of them together. Every sample gets its first answer, even if it is late; after that a stage
                runs only if it is predicted to be in time.

        Raises:
            InputError: a picture cannot be used; which one is said.
            OptionError: the network has several inputs, or the bundle several networks.
            BackendError: the first stage failed. Any later one that fails leaves the answers before it.
        """
        manifest = self._plan.manifest
        if manifest.networks or len(manifest.inputs) != 1:
            raise OptionError(
                f"infer_batch takes one network with one input; {manifest.name} "
                + (
                    "holds several networks: load one with network="
                    if manifest.networks
                    else "has several inputs"
                )
            )
        deadline = None if budget_ms is None else started + budget_ms
        waiting: List[Deque[_Sample]] = [deque() for _ in manifest.stages]
        coming = iter(enumerate(images))
        ended: Dict[int, _Sample] = {}
        more = True
        while more or any(waiting):
            # With a deadline, every sample gets its first answer before any gets its second; without one, the stage
            # farthest on that can run a full pack does, so that few tensors wait.
            full = [k for k, queue in enumerate(waiting) if len(queue) >= self._size]
            if more and (deadline is not None or not full):
                more = self._enter(coming, waiting[0])
                if deadline is not None and not waiting[0]:
                    continue
            if full and deadline is None:
                stage = full[-1]
            else:
                queued = [k for k, queue in enumerate(waiting) if queue]
                if not queued:
                    continue
                stage = queued[0]
            pack = [waiting[stage].popleft() for _ in range(min(self._size, len(waiting[stage])))]
            for sample in self._step(stage, pack, deadline):
                waiting[stage + 1].append(sample)
            ended.update({sample.number: sample for sample in pack if sample.reason})
        return [self._result(ended[number], started, budget_ms) for number in sorted(ended)]

    def _enter(self, coming: "Iterator[Tuple[int, object]]", queue: "Deque[_Sample]") -> bool:
        """Prepare the next pack of pictures; False if there are no more."""
        name, shape = self._plan.manifest.inputs[0].name, self._plan.manifest.inputs[0].shape
        while len(queue) < self._size:
            number, image = next(coming, (-1, None))
            if number < 0:
                return False
            try:
                array = as_array(name, image)
                if array.dtype.kind == "f" and array.ndim == len(shape) - 1:
                    array = array[None]
                prepared = self._preprocessor.prepare({name: array})
            except InputError as error:
                raise InputError(f"picture {number} (the first is 0): {error}") from error
            queue.append(_Sample(number, prepared.tensors, prepared.placement))
        return True

    def _step(self, stage: int, pack: List[_Sample], deadline: Optional[float]) -> List[_Sample]:
        """Run one stage for a pack, and return those samples that go on."""
        clock, spec = self._plan.clock, self._plan.manifest.stages[stage]
        if (
            deadline is not None
            and pack[0].exits
            and not self._fits(stage, len(pack), deadline - clock.now())
        ):
            return _end(pack, "budget")
        try:
            with self._turn:
                begun = clock.now()
                outputs = self._run(stage, pack)
                now = clock.now()
        except BackendError as error:
            if not pack[0].exits:
                raise
            for sample in pack:
                sample.error = str(error)
            return _end(pack, "error")
        if len(pack) == self._size:
            self._model.learn(spec.name, now - begun)
        staying = []
        for row, sample in enumerate(pack):
            sample.stages.append((spec.name, begun, now - begun))
            if spec.exit is not None:
                sample.exits.append((spec.name, outputs[spec.exit][row : row + 1]))
                sample.answered = now
            tensors = {name: _Row(array, row) for name, array in outputs.items()}
            sample.tensors = {
                name: kept
                for name, kept in {**sample.tensors, **tensors}.items()
                if name in self._needed[stage + 1]
            }
            reason = self._why_end(sample, stage, deadline)
            if reason is None:
                staying.append(sample)
            else:
                _end([sample], reason)
        return staying

    def _fits(self, stage: int, count: int, left: float) -> bool:
        """Whether the next answer of ``count`` samples will be there before ``left`` ms have passed."""
        needed = 0.0
        last = self._next_exit[stage]
        if last is None:
            return False
        for spec in self._plan.manifest.stages[stage : last + 1]:
            packed, single = self._model.predict(spec.name), self._plan.stages.predict(spec.name)
            if packed is None and single is None:
                return False
            needed += packed if packed is not None else count * (single or 0.0)
        return needed <= left

    def _run(self, stage: int, pack: Sequence[_Sample]) -> Dict[str, np.ndarray]:
        """The outputs of one stage, with one row a sample."""
        manifest = self._plan.manifest
        spec = manifest.stages[stage]
        missing = 0 if manifest.batch is None else self._size - len(pack)
        inputs = {}
        for name in spec.inputs:
            packed = _packed([sample.tensors[name] for sample in pack])
            if (
                missing
            ):  # the graph takes just so many: the last sample once more costs nothing and is dropped
                packed = np.concatenate((packed, np.repeat(packed[-1:], missing, axis=0)))
            inputs[name] = packed
        frame = self._backend.start(inputs)
        try:
            frame.run(spec.name)
            wanted = self._needed[stage + 1] | ({spec.exit} if spec.exit is not None else set())
            return {one.name: frame.read(one.name)[: len(pack)] for one in spec.outputs if one.name in wanted}
        finally:
            frame.end()

    def _why_end(self, sample: _Sample, stage: int, deadline: Optional[float]) -> Optional[str]:
        """Why ``stage`` was the last one for ``sample``; None if it was not."""
        if self._next_exit[stage + 1] is None:
            return "final"
        if self._plan.manifest.stages[stage].exit is not None:
            reached = Reached(self._plan.clock.now(), deadline, sample.exits)
            for policy in self._plan.scheduler.policies:
                enough = policy.stop(reached)
                if enough is not None:
                    return enough
        return None

    def _result(self, sample: _Sample, started: float, budget_ms: Optional[float]) -> Result:
        manifest = self._plan.manifest
        stage, raw = sample.exits[-1]
        elapsed = sample.answered - started
        return Result(
            output=answer(manifest.task, raw, sample.placement),
            exits=dict(sample.exits),
            stage=stage,
            elapsed_ms=elapsed,
            slack_ms=None if budget_ms is None else budget_ms - elapsed,
            missed=budget_ms is not None and elapsed > budget_ms,
            reason=sample.reason or "final",
            stage_ms={name: duration for name, _, duration in sample.stages},
            predicted_ms={},
            preprocess_ms=sample.stages[0][1] - started,
            budget_ms=budget_ms,
            started=started,
            begun_ms={name: begun - started for name, begun, _ in sample.stages},
            error=sample.error,
        )


def _packed(rows: Sequence[_Row]) -> np.ndarray:
    """The samples' rows as one array; without a copy where they are a whole pack in its order."""
    first = rows[0].array
    if all(row.array is first for row in rows):
        numbers = [row.number for row in rows]
        return first if numbers == list(range(len(first))) else first[numbers]
    return np.stack([row.array[row.number] for row in rows])


def _end(pack: Sequence[_Sample], reason: str) -> List[_Sample]:
    """End samples; none of them goes on."""
    for sample in pack:
        sample.reason = reason
        sample.tensors = {}
    return []
