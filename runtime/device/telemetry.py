"""Watches what the device draws while something runs: its sensors' files, else the `tegrastats` that is installed."""

import os
import subprocess
import threading
import time
from typing import Callable, List, NamedTuple, Optional, Tuple, TypeVar

from edgekit.runtime.device.power import Power, read_power
from edgekit.runtime.device.tegrastats import parse_line

# Where L4T has it: since 32.1, and before.
TEGRASTATS = ("usr/bin/tegrastats", "home/nvidia/tegrastats")
INTERVAL_MS = 50  # between two readings; the sensors themselves average over some milliseconds
SENSORS, PROGRAM = "INA3221 sensors in sysfs", "tegrastats"
UNREADABLE = "the power rails cannot be read: run as root, or allow reading them (`edgekit doctor` says how)"
NO_TOTAL = "no rail, and no set of rails known to add up, feeds this whole module"
ABSENT = "this device has no power sensors that edgekit knows"

T = TypeVar("T")


class Source(NamedTuple):
    """Where power is read from; ``name`` None: nowhere, and ``why``."""

    name: Optional[str]
    why: Optional[str]
    program: Optional[str] = None


def find_source(root: str = "/") -> Source:
    """The sensors if they tell what the module draws, else tegrastats if it is installed."""
    power = read_power(root)
    if power is not None and power.total is not None:
        return Source(SENSORS, None)
    for path in TEGRASTATS:
        program = os.path.join(root, path)
        if os.access(program, os.X_OK):
            return Source(PROGRAM, None, program)
    if power is None:
        return Source(None, ABSENT)
    return Source(None, NO_TOTAL if all(watts is not None for watts in power.rails.values()) else UNREADABLE)


def watched(source: Source, work: Callable[[], T], root: str = "/") -> Tuple[T, List[Power]]:
    """Do ``work``, and read the power meanwhile; readings without the module's total are left out."""
    reader = _Program(source.program) if source.program is not None else _Files(root)
    try:
        result = work()
    finally:
        reader.stop()
    return result, [power for power in reader.readings if power.total is not None]


class _Files:
    """Reads the sensors' files on a thread of its own."""

    def __init__(self, root: str) -> None:
        self.readings: List[Power] = []
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL_MS * 1e-3):
            power = read_power(self._root)
            if power is not None:
                self.readings.append(power)


class _Program:
    """Reads tegrastats' lines on a thread of its own; one that fails or says nothing leaves no readings."""

    def __init__(self, program: str) -> None:
        self.readings: List[Power] = []
        self._process: Optional[subprocess.Popen[bytes]] = None
        try:
            self._process = subprocess.Popen(
                [program, "--interval", str(INTERVAL_MS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                said = parse_line(line.decode("utf-8", "replace"))
                if said is not None and said.power is not None:
                    self.readings.append(said.power)


class Energy(NamedTuple):
    """What one inference takes out of the supply, while one follows the other.

    Attributes:
        frames, seconds: how many were run, in how long.
        watts: the module's, on average.
        millijoules: of one inference, everything that the module drew meanwhile included.
        rails: millijoules of one inference by rail; None for one that could not be read.
        readings: how many there are of the power.
    """

    frames: int
    seconds: float
    watts: float
    millijoules: float
    rails: Tuple[Tuple[str, Optional[float]], ...]
    readings: int


def measure_energy(
    source: Source,
    frame: Callable[[], object],
    seconds: float,
    root: str = "/",
    now: Callable[[], float] = time.perf_counter,
) -> Optional[Energy]:
    """Run ``frame`` again and again for at least ``seconds``; None if no power could be read meanwhile."""

    def run() -> Tuple[int, float]:
        begin, frames = now(), 0
        while frames == 0 or now() - begin < seconds:
            frame()
            frames += 1
        return frames, now() - begin

    (frames, took), readings = watched(source, run, root)
    totals = [power.total for power in readings if power.total is not None]
    if not totals:
        return None
    watts = sum(totals) / len(totals)
    each = 1e3 * took / frames
    return Energy(frames, took, watts, watts * each, tuple(_rails(readings, each)), len(totals))


def _rails(readings: List[Power], each: float) -> List[Tuple[str, Optional[float]]]:
    found: List[Tuple[str, Optional[float]]] = []
    for name in readings[0].rails:
        watts = [power.rails.get(name) for power in readings]
        known = [value for value in watts if value is not None]
        found.append((name, each * sum(known) / len(known) if known else None))
    return found
