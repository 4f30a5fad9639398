"""A neighbour on the processor: stress-ng on some cores, always or on and off, started and stopped by whoever measures."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from types import TracebackType

LONGEST_S = 600  # stress-ng ends by itself after so long, whatever becomes of us


class Missing(Exception):
    """stress-ng is not installed."""


class Neighbour:
    """Keeps ``cores`` busy while the context is open; with ``period_s``, so long on and so long off in turns.

    Raises:
        Missing: stress-ng is not installed.
    """

    def __init__(self, cores: int, period_s: float | None = None) -> None:
        self._command = ["stress-ng", "--cpu", str(cores), "--timeout", str(LONGEST_S), "--quiet"]
        self._period_s = period_s
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._switch = threading.Thread(target=self._alternate, name="neighbour", daemon=True)
        if cores and shutil.which("stress-ng") is None:
            raise Missing(
                "stress-ng is not installed: apt-get install stress-ng; without it nothing is said of neighbours"
            )

    def __enter__(self) -> Neighbour:
        if self._command[2] == "0":
            return self
        if self._period_s is None:
            self._start()
        else:
            self._switch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._switch.ident is not None:
            self._switch.join()
        self._stop()

    def _alternate(self) -> None:
        while not self._over.wait(self._period_s):
            if self._process is None:
                self._start()
            else:
                self._stop()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))
