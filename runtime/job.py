"""Frames that run in the background: a job for whoever submitted one, and the one thread that works on them."""

import logging
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import Any, Callable, Deque, Generator, Iterator, List, Optional, Tuple

from edgekit.errors import EdgekitError
from edgekit.runtime.budget import check_timeout
from edgekit.runtime.clock import Clock
from edgekit.runtime.device.priority import Priority
from edgekit.runtime.errands import Errands
from edgekit.runtime.execution import Execution
from edgekit.runtime.result import Result

OnExit = Callable[[Result], object]

log = logging.getLogger("edgekit")

# How long a frame's thread keeps still for one who is to take an exit; a few times what it takes on a slow machine.
TAKING_S = 2e-3
# How long it lets one go first who goes on without it: as long as he takes to be woken, and no longer than he needs.
GOING_S = 2e-4


class Job:
    """A submitted frame. Its methods may be called from any thread, at any time; in asyncio, ``await job`` is its result.

    Attributes:
        worker: whose turn to run it is awaited; None before it was given to one.
    """

    def __init__(self, execution: Execution, clock: Clock, on_exit: Optional[OnExit] = None) -> None:
        self._execution = execution
        self._clock = clock
        self._on_exit = on_exit
        self._changed = threading.Condition()
        self._over = False
        self._watched = False  # somebody waits for the next exit
        self._taken = threading.Lock()  # held until he who watched has it
        self._final: Optional[Result] = None
        self._when_over: List[Callable[[], object]] = []
        self._until: Optional[float] = None  # whoever still waits goes on then
        self.worker: Optional[Worker] = None

    def best(self) -> Optional[Result]:
        """The best exit so far; None if there is none. Never waits."""
        if self._over:
            return (
                self._end()
                if self._execution.progress.error is None or self._execution.progress.exits
                else None
            )
        return self._execution.result() if self._execution.progress.exits else None

    def done(self) -> bool:
        """Whether no more exits will come."""
        return self._over

    @property
    def ended(self) -> Optional[Tuple[str, Optional[str]]]:
        """Why no more exits will come, and what a failed stage said; None while more may come."""
        progress = self._execution.progress
        return None if progress.reason is None else (progress.reason, progress.error)

    def cancel(self) -> None:
        """Stop now: what was reached stays; nothing happens if the job is done."""
        if self.worker is None:
            self.stop("cancelled")
        else:
            self.worker.withdraw(self, "cancelled")

    def stop(self, reason: str) -> None:
        """Cancel for another reason."""
        self._execution.stop(reason)

    def result(self, timeout_ms: Optional[float] = None) -> Result:
        """Wait for the end, at most ``timeout_ms``, and return what was reached by then.

        Raises:
            TimeoutError: nothing was reached within ``timeout_ms``; the job goes on.
            OptionError: ``timeout_ms`` is no number.
            BackendError: the first stage failed.
        """
        timeout_ms = check_timeout(timeout_ms)
        self.wait(None if timeout_ms is None else self._clock.now() + timeout_ms)
        if self._over:
            return self._end()
        best = self.best()
        if best is None:
            raise TimeoutError(
                f"no exit within {timeout_ms:g} ms; the job goes on: wait longer, or cancel it"
            )
        return best

    def wait(self, until: Optional[float], goes: bool = True, awake: bool = False) -> bool:
        """Wait for the end, or for the instant ``until``; whether the end came first. He who ``goes`` then is let go first.

        He who is ``awake`` meanwhile keeps a processor from the frame, and goes at that very instant.
        """
        self._until = until if goes else None
        if awake and until is not None:
            self._clock.stay_awake(self.done, until)
        with self._changed:
            while not self._over and (until is None or self._clock.now() < until):
                self._clock.wait(self._changed, until)
            self._until = None
            return self._over

    def wait_for_exit(self, until: float) -> bool:
        """Wait for the first exit, for the end, or for the instant ``until``; whether one of the others came first.

        Whoever waits calls `taken` when he has the answer.
        """
        with self._changed:
            self._taken.acquire()
            self._watched = True
            while not (self._over or self._execution.progress.exits) and self._clock.now() < until:
                self._clock.wait(self._changed, until)
            return self._over or bool(self._execution.progress.exits)

    def taken(self) -> None:
        """Let the frame go on after `wait_for_exit`."""
        if self._watched:
            self._watched = False
            self._taken.release()

    def __await__(self) -> Generator[Any, None, Result]:
        """The result, in an asyncio task; cancelling the task cancels the job.

        Raises:
            BackendError: the first stage failed.
        """
        import asyncio  # 30 ms that only its users should pay

        loop = asyncio.get_event_loop()
        over: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not over.done():
                over.set_result(None)

        self._call_when_over(lambda: loop.call_soon_threadsafe(wake))
        try:
            yield from over
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self._end()

    def work(self) -> None:
        """Run the frame to its end, on the worker's thread."""
        try:
            told = 0
            stage = self._execution.decide()
            while stage is not None:
                self._execution.run(stage, self._hand_over)
                # Decided before anybody is told, so that what is told says whether a better answer may come.
                stage = self._execution.decide()
                reached = self._tell(told)
                if stage is not None and reached > told and self._on_exit is not None:
                    stage = self._execution.decide()  # time has passed since
                told = reached
        except BaseException as error:  # a user's sys.exit() must leave nobody waiting
            self._execution.end("error", f"{type(error).__name__}: {error}")
            raise
        finally:
            self._finish()

    def drop(self, reason: str) -> None:
        """End a job that has not begun."""
        self._execution.end(reason)
        self._finish()

    def _hand_over(self) -> None:
        """Wake whoever watches, and keep still until he has his answer: of two threads, Python runs one at a time.

        A stage that ends just when its caller goes on without it would keep him for as long as it takes to learn from it.
        """
        if self._watched:
            with self._changed:
                self._clock.notify_all(self._changed)
            if self._taken.acquire(timeout=TAKING_S):
                self._taken.release()
        elif self._until is not None and self._clock.now() >= self._until:
            time.sleep(GOING_S)

    def _tell(self, told: int) -> int:
        reached = len(self._execution.progress.exits)
        if self._on_exit is not None and reached > told:
            try:
                self._on_exit(self._execution.result())
            except BaseException:  # the user's code, such as sys.exit(): the frame and those after it go on
                log.exception("on_exit raised")
        return reached

    def _finish(self) -> None:
        with self._changed:
            self._over = True
            waiting, self._when_over = self._when_over, []
            self._clock.notify_all(self._changed)
        for call in waiting:
            _call_quietly(call)

    def _end(self) -> Result:
        with self._changed:
            if self._final is None:
                self._final = self._execution.result(at=self._execution.progress.reached)
            return self._final

    def _call_when_over(self, call: Callable[[], object]) -> None:
        with self._changed:
            if not self._over:
                self._when_over.append(call)
                return
        _call_quietly(call)


class Worker:
    """One named thread that works on jobs in the order of their coming; it starts with the first one."""

    def __init__(self, name: str, turn: threading.Lock, clock: Clock, priority: Priority) -> None:
        self._name = name
        self._priority = priority
        self._turn = turn
        self._clock = clock
        self._waiting: Deque[Job] = deque()
        self._errands = Errands()
        self._current: Optional[Job] = None
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None
        self._closed = False

    def add(self, job: Job, latest: bool = False) -> None:
        """Queue ``job``; ``latest`` drops those that wait before it.

        Raises:
            EdgekitError: the worker was closed.
        """
        replaced: List[Job] = []
        with self._changed:
            if self._closed:
                raise EdgekitError("the session is closed; load the bundle again")
            if latest:
                replaced = list(self._waiting)
                self._waiting.clear()
            self._waiting.append(job)
            job.worker = self
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._clock.notify_all(self._changed)
        for old in replaced:
            old.drop("replaced")

    def call(self, what: Callable[[], object], at: float) -> None:
        """Call ``what`` on the worker's thread between frames: at the instant ``at``, or when the worker is closed."""
        with self._changed:
            if not self._closed:
                if self._errands.add(what, at) and self._current is None:
                    self._clock.notify_all(self._changed)
                return
        what()

    def withdraw(self, job: Job, reason: str) -> None:
        """Stop ``job`` if it runs; if it still waits, drop it."""
        with self._changed:
            waits = job in self._waiting
            if waits:
                self._waiting.remove(job)
        if waits:
            job.drop(reason)
        else:
            job.stop(reason)

    def close(self, then: Callable[[], object] = lambda: None) -> None:
        """Cancel the job that runs, drop those that wait, join the thread, and do ``then`` when nobody runs a stage."""
        with self._changed:
            self._closed = True
            dropped, thread = list(self._waiting), self._thread
            self._waiting.clear()
            if self._current is not None:
                self._current.cancel()
            self._clock.notify_all(self._changed)
        for job in dropped:
            job.drop("cancelled")
        if self.is_current():  # closed by a callback, between two stages: it is this thread's turn
            then()
            return
        if thread is not None:
            thread.join()
        with self._turn:
            then()

    def is_current(self) -> bool:
        """Whether the calling thread is this worker's, as in `Job`'s callbacks."""
        return self._thread is threading.current_thread()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Close the worker if what happens in a ``with`` block fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _work(self) -> None:
        with self._priority.working():
            while self._take():
                pass

    def _take(self) -> bool:
        """Wait for the next job and run it; False once the worker was closed."""
        with self._changed:
            self._errands.frame_over(self._clock.now())
            while not self._waiting and not self._closed:
                self._clock.wait(self._changed, self._errands.sleep_until(self._clock.now()))
            if self._closed:
                self._errands.run(None)
                return False
            job = self._current = self._waiting.popleft()
        with self._turn:
            try:
                job.work()
            except BaseException:
                # Such as an observer's: those that wait for the frames after it do not deserve it
                log.exception("a frame ended with an error")
        with self._changed:
            self._current = None
        return True


def _call_quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except RuntimeError as error:  # an event loop that was closed in the meantime
        log.debug("nobody waits for this job any more: %s", error)
