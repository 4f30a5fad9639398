"""A neighbour on the processor: stress-ng on some cores, always or on and off, started and stopped by whoever measures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
LONGEST_S = 600  # it ends by itself after so long, whatever becomes of us


class Missing(Exception):
    """stress-ng is not installed."""


class Neighbour:
    """Keeps ``cores`` busy while the context is open; with ``period_s``, so long on and so long off in turns.

    Another process switches it on and off. A thread of the one that measures kept all its other threads waiting while it started
    one: Python holds its lock until the new process has its program, for ms where that one gets no processor.

    Raises:
        Missing: stress-ng is not installed.
    """

    def __init__(self, cores: int, period_s: float | None = None) -> None:
        self._cores = cores
        self._period_s = period_s
        self._process: subprocess.Popen[bytes] | None = None
        if cores and shutil.which("stress-ng") is None:
            raise Missing(
                "stress-ng is not installed: apt-get install stress-ng; without it nothing is said of neighbours"
            )

    def __enter__(self) -> Neighbour:
        if self._cores and self._period_s is None:
            self._process = _busy(self._cores)
        elif self._cores:
            switch = [sys.executable, "-m", __name__, str(self._cores), str(self._period_s)]
            self._process = subprocess.Popen(switch, cwd=ROOT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            _end(self._process)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def alternate(count: int, period_s: float) -> None:
    """Keep ``count`` cores free and busy in turns, until somebody ends this process or the one that began it is gone."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    began, parent = time.monotonic(), os.getppid()
    while os.getppid() == parent and time.monotonic() - began < LONGEST_S:
        time.sleep(period_s)
        busy = _busy(count)
        try:
            time.sleep(period_s)
        finally:
            _end(busy)


def _busy(count: int) -> subprocess.Popen[bytes]:
    command = ["stress-ng", "--cpu", str(count), "--timeout", str(LONGEST_S), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    alternate(int(sys.argv[1]), float(sys.argv[2]))
