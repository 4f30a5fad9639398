"""Frames that run in the background: a job for whoever submitted one, and the one thread that works on them."""

import threading
from collections import deque
from typing import Deque, Optional

from edgekit.errors import EdgekitError
from edgekit.runtime.clock import Clock
from edgekit.runtime.execution import Execution
from edgekit.runtime.result import Result


class Job:
    """A submitted frame. Its methods may be called from any thread, at any time."""

    def __init__(self, execution: Execution, clock: Clock) -> None:
        self._execution = execution
        self._clock = clock
        self._changed = threading.Condition()
        self._final: Optional[Result] = None
        self._failed: Optional[EdgekitError] = None
        self._over = False

    def best(self) -> Optional[Result]:
        """The best exit so far; None if there is none yet. Never waits."""
        if self._over:
            return self._final
        return self._execution.result() if self._execution.progress.exits else None

    def done(self) -> bool:
        """Whether no more exits will come."""
        return self._over

    def cancel(self) -> None:
        """Stop now: what was reached stays; nothing happens if the job is done."""
        self._execution.stop("cancelled")

    def result(self, timeout_ms: Optional[float] = None) -> Result:
        """Wait for the end, at most ``timeout_ms``, and return what was reached by then.

        Raises:
            TimeoutError: nothing was reached within ``timeout_ms``; the job goes on.
            BackendError: the first stage failed.
        """
        until = None if timeout_ms is None else self._clock.now() + timeout_ms
        self.wait(until)
        if self._failed is not None:
            raise self._failed
        best = self.best()
        if best is None:
            raise TimeoutError(f"no exit within {timeout_ms} ms; the job goes on: wait longer, or cancel it")
        return best

    def wait(self, until: Optional[float]) -> None:
        """Wait for the end, or for the instant ``until``."""
        with self._changed:
            while not self._over and (until is None or self._clock.now() < until):
                self._clock.wait(self._changed, until)

    def work(self) -> None:
        """Run the frame to its end, on the worker's thread."""
        try:
            while self._execution.step():
                pass
        finally:
            self.finish()

    def finish(self) -> None:
        """Keep the result of a frame that is over, and wake whoever waits for it."""
        try:
            self._final = self._execution.result()
        except EdgekitError as error:
            self._failed = error
        with self._changed:
            self._over = True
            self._clock.notify_all(self._changed)

    def drop(self, reason: str) -> None:
        """End a job that has not begun."""
        self._execution.end(reason)
        self.finish()


class Worker:
    """One named thread that works on jobs in the order of their coming; it starts with the first one."""

    def __init__(self, name: str, turn: threading.Lock, clock: Clock) -> None:
        self._name = name
        self._turn = turn
        self._clock = clock
        self._waiting: Deque[Job] = deque()
        self._current: Optional[Job] = None
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None
        self._closed = False

    def add(self, job: Job) -> None:
        """Queue ``job``.

        Raises:
            EdgekitError: the worker was closed.
        """
        with self._changed:
            if self._closed:
                raise EdgekitError("the session is closed")
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._clock.notify_all(self._changed)

    def close(self) -> None:
        """Cancel the job that runs, drop those that wait, and join the thread."""
        with self._changed:
            self._closed = True
            dropped, thread = list(self._waiting), self._thread
            self._waiting.clear()
            if self._current is not None:
                self._current.cancel()
            self._clock.notify_all(self._changed)
        for job in dropped:
            job.drop("cancelled")
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._clock.wait(self._changed, None)
                if self._closed:
                    return
                job = self._current = self._waiting.popleft()
            with self._turn:
                job.work()
            with self._changed:
                self._current = None
