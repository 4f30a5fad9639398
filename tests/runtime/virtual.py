"""A backend without a network and a clock without waiting: threads run for real, time passes only when all of them wait."""

import threading
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Set

import numpy as np

from edgekit.bundle import StageSpec
from edgekit.runtime.backends import Backend, Frame, StageCancelled
from edgekit.runtime.clock import VirtualClock


class Waiter(NamedTuple):
    condition: threading.Condition
    until: Optional[float]
    woken: threading.Event


class JumpingClock(VirtualClock):
    """Jumps to the next instant that somebody waits for, once every thread that knows this clock waits."""

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._known: Set[int] = {threading.get_ident()}
        self._waiters: List[Waiter] = []

    def wait(self, condition: threading.Condition, until: Optional[float]) -> None:
        waiter = Waiter(condition, until, threading.Event())
        with self._guard:
            self._known.add(threading.get_ident())
            self._waiters.append(waiter)
            if len(self._waiters) == len(self._known):
                self._jump()
        condition.release()
        waiter.woken.wait(20)
        condition.acquire()
        assert waiter.woken.is_set(), "every thread waits for ever"

    def notify_all(self, condition: threading.Condition) -> None:
        with self._guard:
            for waiter in [one for one in self._waiters if one.condition is condition]:
                self._wake(waiter)

    def enter(self) -> None:
        with self._guard:
            self._known.add(threading.get_ident())

    def leave(self) -> None:
        """The calling thread is going to wait for something else than this clock, such as the end of another thread."""
        with self._guard:
            self._known.discard(threading.get_ident())
            if len(self._waiters) == len(self._known):
                self._jump()

    def _jump(self) -> None:
        timed = [(waiter.until, k) for k, waiter in enumerate(self._waiters) if waiter.until is not None]
        if timed:
            until, k = min(timed)
            self._now = max(self._now, until)
            self._wake(self._waiters[k])

    def _wake(self, waiter: Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.woken.set()


class FakeBackend(Backend):
    """Stages that write their number everywhere, after ``durations(stage, frame number)`` ms of ``clock``.

    ``failing`` names stages that raise; ``cancel_ms`` is how long a stage goes on after it was cancelled.
    """

    name = "fake"
    version = "1"

    def __init__(
        self, clock: JumpingClock, durations: Callable[[str, int], float], cancel_ms: float = 0.0
    ) -> None:
        self.clock = clock
        self.durations = durations
        self.cancel_ms = cancel_ms
        self.failing: Set[str] = set()
        self.begun: List[str] = []
        self.frames = 0
        self.running = 0
        self.closed = 0
        self.specs: Dict[str, StageSpec] = {}
        self.settings = {"threads": 1}

    def load(self, stage: StageSpec, graph: bytes, source: str) -> None:
        self.specs[stage.name] = stage

    def start(self, inputs: Mapping[str, np.ndarray]) -> "FakeFrame":
        self.frames += 1
        return FakeFrame(self, self.frames)

    def close(self) -> None:
        self.closed += 1


class FakeFrame(Frame):
    def __init__(self, backend: FakeBackend, number: int) -> None:
        self.backend = backend
        self.number = number
        self.tensors: Dict[str, np.ndarray] = {}
        self.changed = threading.Condition()
        self.cancelled = False

    def run(self, stage: str) -> None:
        backend = self.backend
        assert not backend.running, "two stages at once"
        backend.running += 1
        backend.begun.append(stage)
        try:
            self._take(backend.durations(stage, self.number), interruptible=True)
            if self.cancelled:
                self._take(backend.cancel_ms, interruptible=False)
                raise StageCancelled(stage)
            if stage in backend.failing:
                raise RuntimeError(f"{stage} broke")
        finally:
            backend.running -= 1
        for spec in backend.specs[stage].outputs:
            self.tensors[spec.name] = np.full(spec.shape, int(stage[len("stage") :]), np.float32)

    def read(self, name: str) -> np.ndarray:
        return self.tensors[name]

    def cancel(self) -> None:
        with self.changed:
            self.cancelled = True
            self.backend.clock.notify_all(self.changed)

    def _take(self, duration: float, interruptible: bool) -> None:
        clock = self.backend.clock
        until = clock.now() + duration
        with self.changed:
            while clock.now() < until and not (interruptible and self.cancelled):
                clock.wait(self.changed, until)
