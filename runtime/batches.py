"""Many pictures at once: samples leave at their own exit, and those that stay are packed densely for the next stage."""

import threading
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.bundle import InputSpec
from edgekit.errors import BackendError, InputError, OptionError
from edgekit.runtime.backends import Backend
from edgekit.runtime.execution import Plan
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.packing import Chunk, Rows, Waiting, after, dense
from edgekit.runtime.policies import Reached
from edgekit.runtime.postprocess import answer
from edgekit.runtime.preprocess import Placement, Preprocessor, as_array
from edgekit.runtime.result import Result

# Samples a stage runs at once where its graph takes any number: from there on, more win little and hold more memory.
PACK = 32

Pictures = Union[Sequence[object], np.ndarray]


class _Sample:
    """One picture on its way through the stages."""

    __slots__ = ("answered", "error", "exits", "number", "placement", "reason", "stages")

    def __init__(self, number: int, placement: Optional[Placement]) -> None:
        self.number = number
        self.placement = placement
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
        self._spec = manifest.inputs[0]._replace(shape=(1, *manifest.inputs[0].shape[1:]))
        self._allow_nonfinite = allow_nonfinite
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

    def run(self, started: float, images: Pictures, budget_ms: Optional[float]) -> List[Result]:
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
            OptionError: the network has several inputs or hands on something that is not one row a picture, or the bundle
                holds several networks.
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
        self._check_rows()
        deadline = None if budget_ms is None else started + budget_ms
        waiting: List[Waiting[_Sample]] = [Waiting() for _ in manifest.stages]
        coming = self._packs(images)
        ended: List[_Sample] = []
        more = True
        while more or any(queue.count for queue in waiting):
            # With a deadline, every sample gets its first answer before any gets its second; without one, the stage
            # farthest on that can run a full pack does, so that few tensors wait.
            full = [k for k, queue in enumerate(waiting) if queue.count >= self._size]
            if more and (deadline is not None or not full):
                chunk = next(coming, None)
                more = chunk is not None
                if chunk is not None:
                    waiting[0].add(chunk)
                elif deadline is not None and not waiting[0].count:
                    continue
            if full and deadline is None:
                stage = full[-1]
            else:
                queued = [k for k, queue in enumerate(waiting) if queue.count]
                if not queued:
                    continue
                stage = queued[0]
            pack = waiting[stage].take(self._size)
            left = self._step(stage, pack, deadline)
            if left.samples:
                waiting[stage + 1].add(left)
            ended += [sample for chunk in pack for sample in chunk.samples if sample.reason]
        ended.sort(key=lambda sample: sample.number)
        return [self._result(sample, started, budget_ms) for sample in ended]

    def _check_rows(self) -> None:
        """Refuse stages whose tensors cannot be packed; a bundle that was exported for batches has none."""
        rows = self._plan.manifest.batch or 1
        for stage in self._plan.manifest.stages:
            for spec in stage.outputs:
                if spec.name in self._needed[0] and spec.shape[:1] != (rows,):
                    raise OptionError(
                        f"infer_batch packs what stages hand on, one row a picture; {stage.name} hands on {spec.name} of shape "
                        f"{tuple(spec.shape)}: give the pictures one by one, to infer"
                    )

    def _packs(self, images: Pictures) -> "Iterator[Chunk[_Sample]]":
        """The pictures as the network's input, as many together as a graph takes."""
        for begin in range(0, len(images), self._size):
            some = images[begin : begin + self._size]
            tensor = self._together(some)
            if tensor is None:
                yield self._one_by_one(some, begin)
            else:
                samples = [_Sample(number, None) for number in range(begin, begin + len(some))]
                yield Chunk(samples, {self._spec.name: Rows(tensor)})

    def _together(self, some: Pictures) -> Optional[np.ndarray]:
        """Tensors of the network's own size as one; None if these are not, or not all of them can be used."""
        shape = self._spec.shape[1:]
        arrays = [one for one in some if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
        if len(arrays) < len(some) or not all(one.shape in (shape, (1, *shape)) for one in arrays):
            return None
        if not isinstance(some, np.ndarray):
            some = np.stack([one.reshape(shape) for one in arrays])
        elif some.ndim > len(shape) + 1:
            some = some[:, 0]
        preprocessor = Preprocessor([self._spec._replace(shape=(len(some), *shape))], self._allow_nonfinite)
        try:
            return preprocessor.prepare({self._spec.name: some}).tensors[self._spec.name]
        except InputError:
            return None

    def _one_by_one(self, some: Pictures, begin: int) -> "Chunk[_Sample]":
        """Pictures and tensors, each converted into its place; ``begin`` is the first one's number."""
        name, shape = self._spec.name, self._spec.shape
        pack = np.empty((len(some),) + shape[1:], np.float32)
        row = 0

        def place(wanted: InputSpec) -> np.ndarray:
            return pack[row : row + 1]

        preprocessor = Preprocessor([self._spec], self._allow_nonfinite, place)
        samples = []
        for row, image in enumerate(some):
            try:
                array = as_array(name, image)
                if array.dtype.kind == "f" and array.ndim == len(shape) - 1:
                    array = array[None]
                prepared = preprocessor.prepare({name: array})
            except InputError as error:
                raise InputError(f"picture {begin + row} (the first is 0): {error}") from error
            if not np.shares_memory(prepared.tensors[name], pack):
                pack[row] = prepared.tensors[name][0]
            samples.append(_Sample(begin + row, prepared.placement))
        return Chunk(samples, {name: Rows(pack)})

    def _step(self, stage: int, pack: "List[Chunk[_Sample]]", deadline: Optional[float]) -> "Chunk[_Sample]":
        """Run one stage for a pack, and return those samples that go on."""
        clock, spec = self._plan.clock, self._plan.manifest.stages[stage]
        samples = [sample for chunk in pack for sample in chunk.samples]
        if (
            deadline is not None
            and samples[0].exits
            and not self._fits(stage, len(samples), deadline - clock.now())
        ):
            return _end(samples, "budget")
        size = len(samples) if self._plan.manifest.batch is None else self._size
        inputs = {name: dense(pack, name, size) for name in spec.inputs}
        try:
            with self._turn:
                begun = clock.now()
                outputs = self._run(stage, inputs, len(samples))
                now = clock.now()
        except BackendError as error:
            if not samples[0].exits:
                raise
            for sample in samples:
                sample.error = str(error)
            return _end(samples, "error")
        if len(samples) == self._size:
            self._model.learn(spec.name, now - begun)
        ran = (spec.name, begun, now - begun)
        for sample in samples:
            sample.stages.append(ran)
        if spec.exit is not None:
            logits = outputs[spec.exit]
            for row, sample in enumerate(samples):
                sample.exits.append((spec.name, logits[row : row + 1]))
                sample.answered = now
        self._end_some(samples, stage, deadline)
        made = {name: array[: len(samples)] for name, array in {**inputs, **outputs}.items()}
        needed = self._needed[stage + 1]
        for chunk in pack:
            chunk.tensors = {
                name: rows for name, rows in chunk.tensors.items() if name in needed and name not in made
            }
        made = {name: array for name, array in made.items() if name in needed}
        return after(pack, made, [sample.reason is None for sample in samples])

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

    def _run(self, stage: int, inputs: Mapping[str, np.ndarray], count: int) -> Dict[str, np.ndarray]:
        """The outputs of one stage of which anything is read, with one row for each of the first ``count`` samples."""
        spec = self._plan.manifest.stages[stage]
        frame = self._backend.start(inputs)
        try:
            frame.run(spec.name)
            wanted = self._needed[stage + 1] | ({spec.exit} if spec.exit is not None else set())
            return {one.name: frame.read(one.name)[:count] for one in spec.outputs if one.name in wanted}
        finally:
            frame.end()

    def _end_some(self, samples: Sequence[_Sample], stage: int, deadline: Optional[float]) -> None:
        """End those samples for which ``stage`` was the last one."""
        if self._next_exit[stage + 1] is None:
            _end(samples, "final")
        elif self._plan.manifest.stages[stage].exit is not None:
            now = self._plan.clock.now()
            for policy in self._plan.scheduler.policies:
                asked = [sample for sample in samples if sample.reason is None]
                told = policy.stop_each([Reached(now, deadline, sample.exits) for sample in asked])
                for sample, enough in zip(asked, told):
                    sample.reason = enough

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


def _end(samples: Sequence[_Sample], reason: str) -> "Chunk[_Sample]":
    """End samples; none of them goes on."""
    for sample in samples:
        sample.reason = reason
    return Chunk([], {})
