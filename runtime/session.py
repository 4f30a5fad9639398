"""A loaded bundle on one backend: frames in, the best answers that their budgets allow out."""

import os
import threading
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.bundle import Bundle, Manifest, StageSpec, read_bundle
from edgekit.errors import EdgekitError
from edgekit.runtime.alternatives import scheduler_of
from edgekit.runtime.backends import Backend
from edgekit.runtime.batches import Batches, Pictures
from edgekit.runtime.budget import (
    check_budget,
    check_callback,
    check_deadline,
    check_opening,
    check_overrun,
    check_sure,
)
from edgekit.runtime.clock import Clock
from edgekit.runtime.closing import Closing
from edgekit.runtime.device.fingerprint import Fingerprint, fingerprint_of
from edgekit.runtime.device.priority import Priority
from edgekit.runtime.entrance import Entrance
from edgekit.runtime.execution import Call, Execution, Plan
from edgekit.runtime.guess import find_profiles, first_durations
from edgekit.runtime.job import Job, OnExit
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.loading import choose_variants, find_input, load_stages, read_golden
from edgekit.runtime.opening import open_with
from edgekit.runtime.overhead import Overhead
from edgekit.runtime.policies import Policy, calibrated_policies, check_policies
from edgekit.runtime.result import Result
from edgekit.runtime.returning import Returning
from edgekit.runtime.warmup import prepare_model

# How sure the scheduler must be that a stage fits where it is waited for; where the choice is among networks, since the others are
# left then; and where it is cancelled in time, so that to try costs no answer: see docs/scheduler.md.
SURE, EVEN, TRIED = 0.99, 0.5, 0.2


class Session(Closing):
    """A bundle that is ready to run. Its methods may be called from several threads: frames take turns.

    Attributes:
        bundle: what was loaded.
        backend: what runs the stages; see `edgekit.runtime.backends.base.Backend` for its name, version and settings.
        network: the one that was loaded of several; None where all of them were, or there is only one.
        variants: the graph taken for every stage.
        fingerprint: what measurements on this session are valid for.
        profile, guess: what was measured here, else what another device measured and is guessed from; None without.
        latency: what the scheduler knows of the stages' durations.
        clock: where its instants come from.
        plan, turn, trying, priority: for who runs or awaits its stages beside it (`edgekit.runtime.arbiter`, `.stream`): what its
            frames share, the lock to hold while a stage runs, how sure to be of one that is cancelled in time, and of its threads.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        variants: Optional[Mapping[str, str]] = None,
        clock: Optional[Clock] = None,
        allow_nonfinite: bool = False,
        warmup: int = 5,
        confidence: Optional[float] = None,
        policies: Optional[Sequence[Policy]] = None,
        network: Optional[str] = None,
        priority: str = "normal",
    ) -> None:
        """Load every stage into ``backend``, which the session owns from then on; see `open` for the arguments."""
        check_opening(warmup, confidence, clock)
        self._manifest = bundle.manifest if network is None else bundle.manifest.only(network)
        policies = calibrated_policies(self._manifest) if policies is None else policies
        check_policies(policies, self._manifest)
        self.bundle = bundle
        self.network = network
        self.backend = backend
        self.clock = clock or Clock()
        self.fingerprint: Fingerprint = fingerprint_of(backend.name, backend.version, backend.settings)
        self.profile, self.guess = find_profiles(bundle, self.fingerprint)
        self.variants = choose_variants(self._manifest, backend.name, self.profile, variants)
        self.priority = Priority(priority)
        with self.priority.loading(backend.let_move):
            load_stages(bundle, backend, self.fingerprint, self.variants)
        self.latency = LatencyModel([stage.name for stage in self.stages], confidence or SURE)
        trying = EVEN if self._manifest.networks else TRIED
        self.trying = confidence or (trying if backend.cancels else SURE)
        scheduler = scheduler_of(self._manifest, self.latency, policies)
        self.plan = Plan(self._manifest, scheduler, self.latency, Overhead(), self.clock)
        self._entrance = Entrance(self._manifest, backend, allow_nonfinite)
        self.turn = threading.Lock()
        self._batches = Batches(self.plan, backend, self.turn, allow_nonfinite)
        self._returning = Returning(self.plan, f"edgekit-{bundle.manifest.name}", self.turn, self.priority)
        self._last: Optional[Tuple[float, np.ndarray]] = None
        self._closed = False
        self._observer: Optional[Callable[[Execution], None]] = None
        known = first_durations(self.profile, self.guess, self.variants)
        finish, guessed = self._returning.warm_up, bool(self.guess)
        with self._returning.worker.kept():
            prepare_model(self.plan, bundle, network, backend, self._entrance, finish, known, guessed, warmup)
        self.latency.end(self.clock.now())

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
        confidence: Optional[float] = None,
        policies: Optional[Sequence[Policy]] = None,
        spin: bool = True,
        build: bool = False,
        network: Optional[str] = None,
        priority: str = "normal",
    ) -> "Session":
        """Read the bundle at ``path`` and make it ready to run.

        Args:
            path: the bundle's directory; it may be on a read-only disk.
            backend, providers, threads, spin, build, policies: see `edgekit.load`.
            variants: graph to take per stage; by default the profile's, else the bundle's default for the backend.
            clock: where time comes from.
            allow_nonfinite: let NaN and Inf in the inputs pass.
            warmup: frames of the golden input to run first. Without any, and without a profile, no stage after the first
                exit is run under a budget until a frame without one has shown how long it takes.
            confidence: how sure the scheduler must be that a stage fits into a budget. By default 0.99 where an overrun is waited
                for, and 0.2 with ``overrun="return"``, which costs no answer; among several networks, 0.5.
            network: of a bundle with several, the one to load and always run; by default all of them, of which the best that
                fits answers a frame: see `edgekit.runtime.alternatives.Alternatives`.

        Raises:
            BundleError: no bundle, or a damaged one.
            BackendError: the backend is missing, refuses a graph, or fails on the golden input.
            OptionError: an option is wrong.
        """
        bundle = read_bundle(path)
        options = (variants, clock, allow_nonfinite, warmup, confidence, policies, network, priority)

        def make(opened: Backend) -> "Session":
            return cls(bundle, opened, *options)

        return open_with(make, bundle, backend, providers, threads, spin, build, variants)

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about the network, or the networks, that this session runs."""
        return self._manifest

    @property
    def stages(self) -> Tuple[StageSpec, ...]:
        """The network's stages, in the order in which they run; of several networks, one network after the other."""
        return self._manifest.stages

    def infer(
        self,
        budget_ms: Optional[float] = None,
        overrun: str = "return",
        reuse: bool = False,
        **inputs: object,
    ) -> Result:
        """The best answer to one frame that the budget allows.

        Args:
            budget_ms: from this call to its return, preprocessing included; None runs every stage of the best network.
            overrun: what happens when a stage takes longer than expected and the budget runs out. ``return``: the answer
                of the stages before it is returned on time, and the stage is cancelled; ``output`` is None if there is no
                answer yet. ``finish``: the stage finishes, and its answer is late.
            reuse: if there is no answer in time, give the last frame's ``output`` with its age; ``missed`` stays true.
            inputs: by name, ``left`` and ``right`` or ``image``; see `edgekit.runtime.preprocess.Preprocessor.prepare`.

        Raises:
            InputError: an input cannot be used.
            OptionError: the budget is not a positive number, or ``overrun`` is something else.
            BackendError: the first stage failed. Any later one that fails leaves the answer before it.
            EdgekitError: the session is closed.
        """
        started = self.clock.now()
        return self._infer(started, check_budget(budget_ms), overrun, reuse, inputs)

    def infer_by(
        self, deadline: float, overrun: str = "return", reuse: bool = False, **inputs: object
    ) -> Result:
        """The best answer to one frame by an instant of the session's clock, such as ``session.clock.now() + 30``.

        A deadline that has passed gives no answer, at once; the other arguments are those of `infer`.

        Raises:
            OptionError: the deadline is no number, or of another clock.
            InputError, BackendError, EdgekitError: as `infer`.
        """
        started = self.clock.now()
        return self._infer(started, check_deadline(deadline, started), overrun, reuse, inputs)

    def anytime(self, budget_ms: Optional[float] = None, **inputs: object) -> Iterator[Result]:
        """One result an exit, best last; a stage runs when its result is asked for. Of several networks, the soonest is first.

        A stage that overruns is waited for, and its result has ``missed``. If a stage fails, the best result comes once
        more with ``reason="error"``.

        Raises:
            InputError, OptionError, BackendError, EdgekitError: as `infer`.
        """
        started = self.clock.now()
        return self._exits(self.begin(started, check_budget(budget_ms), inputs, cheapest_first=True))

    def submit(
        self,
        budget_ms: Optional[float] = None,
        latest: bool = False,
        on_exit: Optional[OnExit] = None,
        confidence: Optional[float] = None,
        **inputs: object,
    ) -> Job:
        """Run a frame in the background, after those that were submitted before it.

        The inputs are converted or copied before this returns, and may then be overwritten.

        Args:
            budget_ms: from this call until the last exit; a stage that overruns it is waited for.
            latest: drop the frames that wait and have not begun; their jobs end with ``reason="replaced"``.
            on_exit: called on the session's own thread with a `Result` for every exit, whose reason is "partial" if a better one
                may come: be quick, and do not wait there for another frame.
            confidence: how sure the scheduler must be that a stage fits into the budget; by default the session's.
            inputs: as for `infer`.

        Raises:
            InputError, OptionError, EdgekitError: as `infer`.
        """
        started = self.clock.now()
        budget_ms, sure = check_budget(budget_ms), check_sure(confidence)
        check_callback(on_exit)
        execution = self.begin(started, budget_ms, inputs, True, cheapest_first=True, confidence=sure)
        job = Job(execution, self.clock, on_exit)
        self._returning.worker.add(job, latest)
        return job

    def infer_batch(self, images: Pictures, budget_ms: Optional[float] = None) -> List[Result]:
        """The best answer to every picture, in their order, each with its own exit; see `Batches.run` for how."""
        return self._batches.run(self.clock.now(), images, check_budget(budget_ms))

    def golden(self) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
        """The bundle's golden network inputs by name, and the exits that they must give, by stage.

        Raises:
            BundleError: they are damaged or missing.
        """
        return read_golden(self.bundle, self.network)

    def input_view(self, name: str) -> np.ndarray:
        """A zeroed array of the network input ``name`` that stages read with as few copies as this device allows.

        Ask once, write every frame's normalised values into it, and give it to `infer`; on a Jetson with TensorRT the GPU
        reads them where they are. It belongs to the session, and to one frame at a time.

        Raises:
            InputError: there is no such input.
            BackendError: there is no memory for it.
        """
        return self.backend.input_view(find_input(self.manifest, name))

    def observe(self, callback: Optional[Callable[[Execution], None]]) -> None:
        """Call ``callback`` with every frame that is over from now on, on the thread that ran it; None: no longer."""
        self._observer = callback

    def close(self) -> None:
        """Cancel what runs in the background, join its thread and give everything back; may be called twice."""
        self._closed = True
        self._returning.worker.close(self.backend.close)

    def begin(
        self,
        started: float,
        budget_ms: Optional[float],
        inputs: Mapping[str, object],
        copy: bool = False,
        returning: bool = False,
        cheapest_first: bool = False,
        plan: Optional[Plan] = None,
        confidence: Optional[float] = None,
    ) -> Execution:
        """A frame whose inputs are ready and of which nothing has run; ``plan`` in place of the session's own."""
        if self._closed:
            raise EdgekitError("the session is closed; load the bundle again")
        if not copy and self._returning.worker.is_current():
            raise EdgekitError(
                "on_exit runs on the session's own thread, which cannot wait for itself: submit() the frame"
            )
        entered = self._entrance.enter(inputs, copy)
        reserve = self._returning.reserve_ms(budget_ms, returning)
        confidence = self.trying if returning else confidence
        ready, placement = self.clock.now(), entered.placement
        call = Call(started, ready, budget_ms, reserve, placement, confidence, cheapest_first)

        def over() -> None:
            entered.release()
            if self._observer is not None:
                self._observer(execution)

        execution = Execution(plan or self.plan, entered.frame, call, over)
        return execution

    def _infer(
        self,
        started: float,
        budget_ms: Optional[float],
        overrun: str,
        reuse: bool,
        inputs: Mapping[str, object],
    ) -> Result:
        check_overrun(overrun)
        returning = budget_ms is not None and overrun == "return"
        with self.priority.waiting() if returning else self.priority.working() as raised:
            execution = self.begin(started, budget_ms, inputs, returning=returning)
            if returning:
                result, gone = self._returning.run(execution, raised)
            else:
                with self.turn:
                    execution.finish()
                result = execution.result("budget")
        if result.output is not None:
            self._last = started, result.output.copy() if reuse else result.output
        elif reuse and self._last is not None:
            result = result._replace(output=self._last[1].copy(), age_ms=self.clock.now() - self._last[0])
        if returning:
            gone()
        return result

    def _exits(self, execution: Execution) -> Iterator[Result]:
        try:
            with self.turn:
                stage = execution.decide()
            while stage is not None:
                reached = len(execution.progress.exits)
                with self.turn, self.priority.working():
                    execution.run(stage)
                    stage = execution.decide()
                if len(execution.progress.exits) > reached or execution.progress.error is not None:
                    yield execution.result()
                    with self.turn:
                        stage = execution.decide()  # time has passed since
        finally:
            execution.end("cancelled")
