"""How soon answers settle after the stages' processors become one, and two again: of many switches, since a single one says little."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.scheduler_live import RATE, Camera
from edgekit.runtime.session import Session

PHASE = 40  # frames from one switch to the next
SWITCHES = 20  # of either kind
TOGETHER = 5  # frames whose mean exit is looked at
# What is usual in a condition is what so many of the means are not below that begin in the second half of its phases. Of phases in
# which nothing is switched, that calls all but one in fifty settled at once.
USUAL = 0.98


@dataclass(frozen=True)
class LiveRecovery:
    """Many switches within one budget, as frames until answers were what is usual after them; `PHASE`, if they never were.

    Attributes:
        after_step: of every switch to one processor, which makes two threads take twice as long.
        after_end: of every switch back.
        steady: of every phase's middle, where nothing is switched.
    """

    overrun: str
    budget_ms: float
    after_step: tuple[int, ...]
    after_end: tuple[int, ...]
    steady: tuple[int, ...]

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return asdict(self)


def recover(bundle: Path, threads: int, overrun: str, budget_ms: float, switches: int) -> LiveRecovery:
    """Switch ``switches`` times to one core and back on this machine."""
    with Session.open(bundle, threads=threads, warmup=0) as session:
        inputs, camera = session.golden()[0], Camera(RATE)
        exits = [stage.name for stage in session.stages if stage.exit is not None]
        for _ in range(20):
            session.infer(budget_ms=None, overrun="return", reuse=False, **inputs)

        def phase() -> list[int]:
            numbers = []
            for _ in range(PHASE):
                camera.next()
                result = session.infer(budget_ms=budget_ms, overrun=overrun, reuse=False, **inputs)
                numbers.append(0 if result.missed else exits.index(str(result.stage)) + 1)
            return numbers

        phase()
        on_one, on_all = [], []
        for _ in range(switches):
            with _OneCore():
                on_one.append(phase())
            on_all.append(phase())
    (after_step, steady), (after_end, others) = settling(on_one), settling(on_all)
    return LiveRecovery(overrun, budget_ms, after_step, after_end, steady + others)


def settling(phases: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Frames until answers were usual, from the beginnings and from the middles of phases of one condition (phases, frames)."""
    exits = np.asarray(phases, np.float64)
    means = np.stack([np.convolve(row, np.full(TOGETHER, 1 / TOGETHER), "valid") for row in exits])
    length, middle = exits.shape[1], exits.shape[1] // 2
    begun, steady = [], []
    for number, own in enumerate(means):
        others = np.delete(means, number, axis=0)[:, middle:].ravel()
        usual = np.sort(others)[int((1 - USUAL) * len(others))]
        fine = np.flatnonzero(own >= usual - 1e-9)
        begun.append(int(fine[0]) if len(fine) else length)
        later = fine[fine >= middle] - middle
        steady.append(int(later[0]) if len(later) else length)
    return tuple(begun), tuple(steady)


class _OneCore:
    """All of this process on its first core, which makes two threads take twice as long, until the context is left."""

    def __enter__(self) -> None:
        self._before = {int(task): os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")}
        first = {min(os.sched_getaffinity(0))}
        for task in self._before:
            os.sched_setaffinity(task, first)

    def __exit__(self, *_: object) -> None:
        for task, cores_before in self._before.items():
            os.sched_setaffinity(task, cores_before)
