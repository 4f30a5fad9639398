"""How soon the threads that a caller waits for get onto a processor that other processes want too."""

import ctypes
import os
import struct
import sys
from types import TracebackType
from typing import Callable, List, Optional, Tuple, Type

from edgekit.errors import OptionError

PRIORITIES = ("normal", "realtime")
# Above everything that is scheduled in turns, and far below the kernel's own threads (50) and a controller's usual 80. Whoever
# waits for an answer comes before the thread that works on it, since all he does is to take it.
WORKING, WAITING = 10, 11
# Linux 6.12 and later let a thread ask for a shorter turn than the usual one and prefer it when it wakes; it gets no more
# of the processor than others. 0.1 ms is the shortest there is. Older kernels take the number and do nothing with it.
TURN_NS = 100_000
_SYSCALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}  # sched_setattr, sched_getattr
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period
_RUNTIME = 5


class Priority:
    """Raises the calling thread while a ``with`` block lasts: ``with priority.waiting(): ...``.

    Args:
        name: ``normal`` asks for nothing but short turns. ``realtime`` runs before all that is scheduled in turns.

    Raises:
        OptionError: there is no such priority, or this process may not have it.
    """

    def __init__(self, name: str = "normal") -> None:
        if name not in PRIORITIES:
            raise OptionError(f"priority={name!r}: must be one of {', '.join(PRIORITIES)}")
        self.name = name
        self._realtime = name == "realtime"
        self._shorten = None if self._realtime else _short_turns()
        if self._realtime:
            try:
                with self.working():
                    pass
            except (OSError, AttributeError) as error:
                raise OptionError(
                    f"priority='realtime': this process may not have it ({error}); start it as root, give it CAP_SYS_NICE, or"
                    " allow it with a line such as `USER - rtprio 20` in /etc/security/limits.conf"
                ) from error

    def waiting(self) -> "Raised":
        """For a thread that waits for an answer and returns."""
        return Raised(self._shorten, WAITING if self._realtime else 0, True)

    def working(self, inherited: bool = False) -> "Raised":
        """For a thread that runs stages; ``inherited``: threads that it starts meanwhile have the same priority, for good."""
        return Raised(self._shorten, WORKING if self._realtime else 0, not inherited)


class Raised:
    """The calling thread's priority, raised until the block is left."""

    def __init__(self, shorten: "Optional[ShortTurns]", level: int, alone: bool) -> None:
        self._shorten = shorten
        self._level = level
        self._alone = alone
        self._before: Optional[Tuple[int, os.sched_param]] = None
        self._turn: Optional[bytes] = None

    def __enter__(self) -> None:
        if self._level:
            policy = os.sched_getscheduler(0)
            if policy & ~os.SCHED_RESET_ON_FORK in (os.SCHED_FIFO, os.SCHED_RR):
                return  # the caller has chosen, and may have chosen more
            self._before = policy, os.sched_getparam(0)
            # Without the flag, processes that a caller starts would be as urgent as he is.
            urgent = os.SCHED_FIFO | (os.SCHED_RESET_ON_FORK if self._alone else 0)
            os.sched_setscheduler(0, urgent, os.sched_param(self._level))
        elif self._shorten is not None:
            self._turn = self._shorten.begin()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._before is not None:
            os.sched_setscheduler(0, *self._before)
        elif self._turn is not None and self._shorten is not None:
            self._shorten.end(self._turn)


class ShortTurns:
    """Linux's own numbers for one thread, read and written by system calls that Python has no name for."""

    def __init__(self, syscall: Callable[..., int], numbers: Tuple[int, int]) -> None:
        self._syscall = syscall
        self._set, self._get = numbers

    def begin(self) -> Optional[bytes]:
        """Shorten the calling thread's turns; what they were, None if nothing was changed."""
        buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
        if self._syscall(self._get, 0, buffer, _ATTRIBUTES.size, 0):
            return None
        before = buffer.raw
        fields: List[int] = list(_ATTRIBUTES.unpack(before))
        if fields[1] != os.SCHED_OTHER or 0 < fields[_RUNTIME] <= TURN_NS:
            return None
        fields[_RUNTIME] = TURN_NS
        return None if self._syscall(self._set, 0, _ATTRIBUTES.pack(*fields), 0) else before

    def end(self, before: bytes) -> None:
        """Make them again what they were."""
        self._syscall(self._set, 0, before, 0)


def _short_turns() -> Optional[ShortTurns]:
    numbers = _SYSCALLS.get(os.uname().machine) if sys.platform == "linux" else None
    # PyDLL: letting go of the interpreter's lock for so short a call would mean to wait for it afterwards.
    return None if numbers is None else ShortTurns(ctypes.PyDLL(None).syscall, numbers)
