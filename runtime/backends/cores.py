"""Which cores a stage's own threads have, a core each, and how the thread that runs the stage is kept off them."""

import ctypes
import os
from typing import Callable, List

UNKNOWN = -1  # what `sched_getcpu` says where the kernel does not tell


def cores_to_keep_to(threads: int) -> List[int]:
    """The core of each of a stage's threads, the caller's first; none where they are not to take every core of this process."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return cores if 1 < threads == len(cores) else []


class CallersCore:
    """The one core that a stage's own threads, each kept to another, leave to the thread that calls.

    Between frames that thread sleeps, and a kernel may wake it on the core of one of those that it is going to wait for. The
    two then take turns there for the whole of a short frame. Of frames that came 30 times a second and took 2.7 ms, 2 to 20 %
    began so, by the run, and took 3.9 ms; stepping aside first, 2.8 ms. Beside a busy neighbour it changed nothing (ONNX Runtime
    1.31, two cores).
    """

    def __init__(self, core: int) -> None:
        self._core = core
        self._where = _asking()

    def take(self) -> None:
        """Move the calling thread to its core, unless it is there or is not allowed to be; it may leave it again at once."""
        where = self._where()
        if where in (self._core, UNKNOWN):
            return
        allowed = os.sched_getaffinity(0)
        if self._core not in allowed:
            return
        try:
            os.sched_setaffinity(0, {self._core})
            os.sched_setaffinity(0, allowed)
        except OSError:  # a sandbox that forbids it: frames stay right, and some take longer
            self._where = _unknown


def _asking() -> Callable[[], int]:
    """How to ask for the core that the calling thread is on."""
    try:
        # PyDLL: one that gave up the interpreter's lock for 0.1 us could wait some ms until it has it again.
        asking: Callable[[], int] = ctypes.PyDLL(None).sched_getcpu
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return _unknown
    return asking


def _unknown() -> int:
    return UNKNOWN
