"""Why a frame was late: whether the machine itself was away meanwhile, as a clock on every core, the hypervisor and the kernel tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from edgekit.runtime.device.priority import may_be_realtime

ROOT = Path(__file__).resolve().parent.parent
PERIOD_MS = 2.0  # between two looks at the clock: they cost a core 0.5 %
LONG_MS = 0.5  # how much later than it should a clock must be looked at for that to be a gap
URGENT = 60  # above all that is in real time here, and the kernel's own threads for interrupts


class Gap(NamedTuple):
    """A clock on ``core`` should have been looked at at ``begun`` and was at ``ended``, in ms of `time.perf_counter`."""

    core: int
    begun: float
    ended: float


class Counts(NamedTuple):
    """What the hypervisor has taken from all cores, in ms and only in steps of 10; how long each thread of ours was ready
    and waited, by its number, and that of the one that asks."""

    stolen_ms: float
    waited_ms: dict[str, float]
    caller: str


@dataclass(frozen=True)
class Away:
    """What kept a frame's threads from running that no thread of ours can help.

    Attributes:
        gap_ms: the longest time of the frame for which a clock stood still that is before all else on its core; None where nobody
            may run one. Neither a neighbour nor edgekit can do that: the machine was away, or its kernel at work.
        cores: on so many cores one did.
        stolen_ms: so much of it the hypervisor counts, in steps of 10 ms.
        waited_ms: the longest that one thread of this process was ready to run, and others ran, or the kernel did.
        caller_waited_ms: the same of the thread that called.
    """

    gap_ms: float | None
    cores: int
    stolen_ms: float
    waited_ms: float
    caller_waited_ms: float

    @property
    def machine_ms(self) -> float:
        """How long the machine was away, by its clocks; where nobody may run any, by its hypervisor, whose steps are coarse."""
        return self.stolen_ms if self.gap_ms is None else self.gap_ms


@dataclass(frozen=True)
class Noted:
    """A frame that came after its deadline, or during which the machine was away: it counts like all others, and is told apart here.

    Attributes:
        frame: its number among those with a budget.
        late: whether it is one of the cell's late ones.
        over_ms: how long after the deadline the caller ran again; negative if before.
        exit: the number of the one that it was answered with; 0 for none.
        stages: of each that ran, when it began after the call, what it took, and what had been predicted, in ms.
        cut: the one that was cancelled; "" if none was.
        preprocess_ms, reserve_ms: as the result says.
        away: what kept its threads from running.
    """

    frame: int
    late: bool
    over_ms: float
    exit: int
    stages: tuple[tuple[float, float, float | None], ...]
    cut: str
    preprocess_ms: float
    reserve_ms: float
    away: Away

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Noted:
        """What `dataclasses.asdict` gave."""
        stages = tuple((begun, took, predicted) for begun, took, predicted in document["stages"])
        return cls(**{**document, "stages": stages, "away": Away(**document["away"])})


class Watch:
    """A clock on every core while the context is open, each a process of its own; `gaps` of these when it is closed.

    Nobody watches where no process may be in real time.
    """

    def __init__(self) -> None:
        self.gaps: list[Gap] | None = None
        self._clocks: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Watch:
        if may_be_realtime():
            self._clocks = [
                subprocess.Popen(
                    [sys.executable, "-m", __name__, str(core)], cwd=ROOT, stdout=subprocess.PIPE, text=True
                )
                for core in sorted(os.sched_getaffinity(0))
            ]
            for clock in self._clocks:
                assert clock.stdout is not None
                clock.stdout.readline()  # it runs
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for clock in self._clocks:
            clock.terminate()
        told = [line.split() for clock in self._clocks for line in clock.communicate()[0].splitlines()]
        if self._clocks:
            self.gaps = [Gap(int(core), float(begun), float(ended)) for core, begun, ended in told]

    def away(self, begun: float, ended: float, before: Counts, after: Counts) -> Away:
        """What was away from ``begun`` to ``ended``, in ms, at whose beginning and end the counts were these."""
        gap_ms, cores = within(self.gaps, begun, ended)
        waited = {thread: ms - before.waited_ms.get(thread, 0.0) for thread, ms in after.waited_ms.items()}
        stolen_ms, longest_ms = after.stolen_ms - before.stolen_ms, max(waited.values(), default=0.0)
        return Away(gap_ms, cores, stolen_ms, longest_ms, waited.get(after.caller, 0.0))


def within(gaps: Sequence[Gap] | None, begun: float, ended: float) -> tuple[float | None, int]:
    """How much of the longest gap lies between two instants, and how many cores had one."""
    if gaps is None:
        return None, 0
    found = [(min(gap.ended, ended) - max(gap.begun, begun), gap.core) for gap in gaps]
    inside = [(ms, core) for ms, core in found if ms > 0]
    return max((ms for ms, _ in inside), default=0.0), len({core for _, core in inside})


def counts() -> Counts:
    """As they are now; of what the system does not tell, nothing."""
    stolen_ms, waited = 0.0, {}
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        stolen_ms = int(words[8]) * 1e3 / os.sysconf("SC_CLK_TCK")
        for thread in os.listdir("/proc/self/task"):
            waited[thread] = int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) * 1e-6
    except (OSError, IndexError):  # another system, or a thread that has just ended
        pass
    return Counts(stolen_ms, waited, str(threading.get_native_id()))


def look(core: int) -> None:
    """Look at the clock again and again on one core, before all else there, and print the gaps until somebody ends this process."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(URGENT))
    print("looking", flush=True)
    due = time.perf_counter() * 1e3 + PERIOD_MS
    found = []
    while not ended:
        time.sleep(PERIOD_MS * 1e-3)
        now = time.perf_counter() * 1e3
        if now - due > LONG_MS:
            found.append(Gap(core, due, now))
        due = now + PERIOD_MS
    for gap in found:
        print(*gap)


if __name__ == "__main__":
    look(int(sys.argv[1]))
