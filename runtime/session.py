"""A loaded bundle on one backend: frames in, the best answers that their budgets allow out."""

import math
import os
import threading
from types import TracebackType
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type, Union

import numpy as np

from edgekit.bundle import Bundle, Manifest, StageSpec, read_bundle
from edgekit.errors import BackendError, EdgekitError, OptionError
from edgekit.runtime.backends import Backend, open_backend
from edgekit.runtime.clock import Clock
from edgekit.runtime.execution import ANSWERING, WAKING, Call, Execution, Plan
from edgekit.runtime.fingerprint import Fingerprint, read_fingerprint
from edgekit.runtime.job import Job, Worker
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.loading import choose_variants, read_golden
from edgekit.runtime.preprocess import Preprocessor
from edgekit.runtime.profile import Profile, read_profile
from edgekit.runtime.result import Result
from edgekit.runtime.scheduler import Scheduler

OVERRUN = ("return", "finish")
# Of a budget, for what is not a stage: a machine that wakes threads late must not keep frames from beginning at all.
MOST_RESERVED = 0.1


class Session:
    """A bundle that is ready to run. Its methods may be called from several threads: frames take turns.

    Attributes:
        bundle: what was loaded.
        backend: what runs the stages; see `edgekit.runtime.backends.base.Backend` for its name, version and settings.
        variants: the graph taken for every stage.
        fingerprint: what measurements on this session are valid for.
        profile: the measurements found in the bundle; None if there are none for this fingerprint.
        latency: what the scheduler knows of the stages' durations.
        clock: where its instants come from.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        variants: Optional[Mapping[str, str]] = None,
        clock: Optional[Clock] = None,
        allow_nonfinite: bool = False,
        warmup: int = 5,
        confidence: float = 0.99,
    ) -> None:
        """Load every stage into ``backend``, which the session owns from then on; see `open` for the arguments."""
        if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
            raise OptionError(f"warmup={warmup!r}: must be a whole number of frames, 0 or more")
        if not 0.5 <= confidence < 1:
            raise OptionError(
                f"confidence={confidence!r}: must be at least 0.5 and less than 1, such as 0.99"
            )
        self.bundle = bundle
        self.backend = backend
        self.clock = clock or Clock()
        settings = backend.settings
        self.fingerprint: Fingerprint = read_fingerprint(
            " ".join([backend.name, backend.version, *_texts(settings.get("providers"))]),
            settings.get("threads"),
        )
        self.profile: Optional[Profile] = read_profile(bundle, self.fingerprint)
        self.variants = choose_variants(bundle.manifest, backend.name, self.profile, variants)
        self._load_stages()
        names = [stage.name for stage in self.stages]
        self.latency = LatencyModel(names, confidence)
        scheduler = Scheduler([(stage.name, stage.exit is not None) for stage in self.stages], self.latency)
        overhead = LatencyModel((ANSWERING, WAKING), confidence)
        self._plan = Plan(bundle.manifest, scheduler, self.latency, overhead, self.clock)
        self._preprocessor = Preprocessor(bundle.manifest.inputs, allow_nonfinite)
        self._turn = threading.Lock()
        self._worker = Worker(f"edgekit-{bundle.manifest.name}", self._turn, self.clock)
        self._closed = False
        self._observer: Optional[Callable[[Execution], None]] = None
        self._warm_up(warmup)

    @classmethod
    def open(
        cls,
        path: "Union[str, os.PathLike[str]]",
        backend: Optional[str] = None,
        providers: Optional[Sequence[str]] = None,
        threads: Optional[int] = None,
        variants: Optional[Mapping[str, str]] = None,
        clock: Optional[Clock] = None,
        allow_nonfinite: bool = False,
        warmup: int = 5,
        confidence: float = 0.99,
    ) -> "Session":
        """Read the bundle at ``path`` and make it ready to run.

        Args:
            path: the bundle's directory; it may be on a read-only disk.
            backend, providers, threads: see `edgekit.load`.
            variants: graph to take per stage; by default the profile's, else the bundle's default for the backend.
            clock: where time comes from.
            allow_nonfinite: let NaN and Inf in the inputs pass.
            warmup: frames of the golden input to run first. Without any, and without a profile, no stage after the first
                exit is run under a budget until a frame without one has shown how long it takes.
            confidence: the share of a stage's runs that should not take longer than the scheduler expects.

        Raises:
            BundleError: no bundle, or a damaged one.
            BackendError: the backend is missing, refuses a graph, or fails on the golden input.
            OptionError: an option is wrong.
        """
        bundle = read_bundle(path)
        opened = open_backend(backend, providers, threads)
        try:
            return cls(bundle, opened, variants, clock, allow_nonfinite, warmup, confidence)
        except BaseException:
            opened.close()
            raise

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about the network."""
        return self.bundle.manifest

    @property
    def stages(self) -> Tuple[StageSpec, ...]:
        """The network's stages, in the order in which they run."""
        return self.bundle.manifest.stages

    def infer(self, budget_ms: Optional[float] = None, overrun: str = "return", **inputs: object) -> Result:
        """The best answer to one frame that the budget allows.

        Args:
            budget_ms: from this call to its return, preprocessing included; None runs every stage.
            overrun: what happens when a stage takes longer than expected and the budget runs out. ``return``: the answer
                of the stages before it is returned on time, and the stage is cancelled; ``output`` is None if there is no
                answer yet. ``finish``: the stage finishes, and its answer is late.
            inputs: by name, ``left`` and ``right`` or ``image``; see `edgekit.runtime.preprocess.Preprocessor.prepare`.

        Raises:
            InputError: an input cannot be used.
            OptionError: the budget is not a positive number, or ``overrun`` is something else.
            BackendError: the first stage failed. Any later one that fails leaves the answer before it.
            EdgekitError: the session is closed.
        """
        started = self.clock.now()
        budget_ms = check_budget(budget_ms)
        if overrun not in OVERRUN:
            raise OptionError(f"overrun={overrun!r}: must be one of {', '.join(OVERRUN)}")
        if budget_ms is None or overrun == "finish":
            execution = self._begin(started, budget_ms, inputs)
            with self._turn:
                while execution.step():
                    pass
            return execution.result()
        execution = self._begin(started, budget_ms, inputs, waking=True)
        job = Job(execution, self.clock)
        self._worker.add(job)
        until = execution.call.exit_by
        job.wait(until)
        reached = execution.progress.reached if job.done() else until
        self._plan.overhead.learn(WAKING, self.clock.now() - (reached or started))
        if not job.done():
            execution.stop("budget")
        return execution.result("budget")

    def anytime(self, budget_ms: Optional[float] = None, **inputs: object) -> Iterator[Result]:
        """One result an exit, best last; a stage runs when its result is asked for.

        A stage that overruns is waited for, and its result has ``missed``. If a stage fails, the best result comes once
        more with ``reason="error"``.

        Raises:
            InputError, OptionError, BackendError, EdgekitError: as `infer`.
        """
        started = self.clock.now()
        return self._exits(self._begin(started, check_budget(budget_ms), inputs))

    def submit(self, budget_ms: Optional[float] = None, **inputs: object) -> Job:
        """Run a frame in the background, after those that were submitted before it.

        The inputs are converted or copied before this returns, and may then be overwritten.

        Raises:
            InputError, OptionError, EdgekitError: as `infer`.
        """
        started = self.clock.now()
        job = Job(self._begin(started, check_budget(budget_ms), inputs, copy=True), self.clock)
        self._worker.add(job)
        return job

    def golden(self) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
        """The bundle's golden network inputs by name, and the exits that they must give, by stage.

        Raises:
            BundleError: they are damaged or missing.
        """
        return read_golden(self.bundle)

    def observe(self, callback: Optional[Callable[[Execution], None]]) -> None:
        """Call ``callback`` with every frame that is over from now on, on the thread that ran it; None: no longer."""
        self._observer = callback

    def close(self) -> None:
        """Cancel what runs in the background, join its thread and give everything back; may be called twice."""
        self._closed = True
        self._worker.close()
        with self._turn:
            self.backend.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def _load_stages(self) -> None:
        for stage in self.stages:
            variant = next(one for one in stage.variants if one.name == self.variants[stage.name])
            source = os.path.join(self.bundle.path, *variant.graph.split("/"))
            self.backend.load(stage, self.bundle.read_bytes(variant.graph), source)

    def _begin(
        self,
        started: float,
        budget_ms: Optional[float],
        inputs: Mapping[str, object],
        copy: bool = False,
        waking: bool = False,
        plan: Optional[Plan] = None,
    ) -> Execution:
        if self._closed:
            raise EdgekitError("the session is closed; load the bundle again")
        prepared = self._preprocessor.prepare(inputs, copy)
        overhead = [self._plan.overhead.predict(name) or 0.0 for name in (ANSWERING, WAKING)[: 1 + waking]]
        reserve = min(sum(overhead), MOST_RESERVED * (budget_ms or 0.0))
        call = Call(started, self.clock.now(), budget_ms, reserve, prepared.placement)
        frame = self.backend.start(prepared.tensors)

        def over() -> None:
            self._preprocessor.release(prepared)
            if self._observer is not None:
                self._observer(execution)

        execution = Execution(plan or self._plan, frame, call, over)
        return execution

    def _exits(self, execution: Execution) -> Iterator[Result]:
        try:
            stage = execution.decide()
            while stage is not None:
                reached = len(execution.progress.exits)
                with self._turn:
                    execution.run(stage)
                stage = execution.decide()
                if len(execution.progress.exits) > reached or execution.progress.error is not None:
                    yield execution.result()
                    stage = execution.decide()  # time has passed since
        finally:
            execution.end("cancelled")

    def _warm_up(self, frames: int) -> None:
        """Start the latency model from the profile or, without one, from all warm-up frames but the first, cold one."""
        measured = {} if self.profile is None else self.profile.stages
        for name, stage in measured.items():
            if stage.variant == self.variants[name]:
                self.latency.start(name, stage.durations)
        if not frames:
            return
        durations: Dict[str, List[float]] = {stage.name: [] for stage in self.stages}
        golden, _ = self.golden()
        for _ in range(frames):
            # A model of its own: what a cold device shows must not stay in the session's.
            plan = self._plan._replace(stages=LatencyModel(durations))
            execution = self._begin(self.clock.now(), None, golden, plan=plan)
            while execution.step():
                pass
            result = execution.result()
            if result.error is not None:
                raise BackendError(result.error)
            for name, duration in result.stage_ms.items():
                durations[name].append(duration)
        for name, seen in durations.items():
            if self.latency.predict(name) is None:
                self.latency.start(name, seen[1:] or seen)
            else:
                self.latency.learn(name, seen[-1])


def check_budget(budget_ms: Optional[float]) -> Optional[float]:
    """A budget in ms; None, or an infinite one, is no budget.

    Raises:
        OptionError: it is no number, NaN, 0 or negative.
    """
    if budget_ms is None:
        return None
    try:
        budget = math.nan if isinstance(budget_ms, (bool, str)) else float(budget_ms)
    except (TypeError, ValueError):
        budget = math.nan
    if not budget > 0:
        raise OptionError(
            f"budget_ms={budget_ms!r}: must be a positive number of milliseconds, or None for no budget"
        )
    return None if math.isinf(budget) else budget


def _texts(values: object) -> List[str]:
    return [str(value) for value in values] if isinstance(values, (list, tuple)) else []
