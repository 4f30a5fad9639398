"""How soon the threads that a caller waits for get onto a processor that other processes want too."""

import gc
import os
import threading
from contextlib import suppress
from types import TracebackType
from typing import Callable, Dict, Optional, Tuple, Type

from edgekit.errors import OptionError
from edgekit.runtime.device.system import usable_cores

PRIORITIES = ("normal", "realtime")
# What allows it to whoever types this, from his next login on.
ALLOW = "sudo sh -c 'echo \"$SUDO_USER - rtprio 20\" >> /etc/security/limits.conf'"
# Above everything that is scheduled in turns, and far below the kernel's own threads (50) and a controller's usual 80. Whoever
# waits for an answer comes before the thread that works on it, since all he does is to take it.
WORKING, WAITING = 10, 11


class Priority:
    """Raises the calling thread while a ``with`` block lasts: ``with priority.waiting(): ...``.

    Args:
        name: ``normal`` asks for nothing. ``realtime`` runs before all that is scheduled in turns.

    Raises:
        OptionError: there is no such priority, or this process may not have it.
    """

    def __init__(self, name: str = "normal") -> None:
        if name not in PRIORITIES:
            raise OptionError(f"priority={name!r}: must be one of {', '.join(PRIORITIES)}")
        self.name = name
        self._realtime = name == "realtime"
        if self._realtime:
            try:
                with self.working():
                    pass
            except (OSError, AttributeError) as error:
                raise OptionError(
                    f"priority='realtime': this process may not have it ({error}); start it as root, give it CAP_SYS_NICE, or"
                    f" allow it with a line such as `USER - rtprio 20` in /etc/security/limits.conf: {ALLOW}, and log in again"
                ) from error

    def waiting(self) -> "Raised":
        """For a thread that waits for an answer and returns.

        Where it is in real time, Python collects no garbage meanwhile: that stops every thread, for ms where there is much.
        """
        return Raised(WAITING if self._realtime else 0, True, self._realtime)

    def working(self) -> "Raised":
        """For a thread that runs stages."""
        return Raised(WORKING if self._realtime else 0, True)

    def loading(self, let_move: Callable[[], object]) -> "Raised":
        """For a thread that loads stages: threads that it starts meanwhile work on them, and have that priority for good.

        In real time ``let_move`` is called first, which is to keep none of them to one processor; see `Backend.let_move`.
        """
        if self._realtime:
            let_move()
        return Raised(WORKING if self._realtime else 0, False)


def may_be_realtime() -> bool:
    """Whether this process may run threads before all that is scheduled in turns."""
    try:
        Priority("realtime")
    except OptionError:
        return False
    return True


def raise_all() -> None:
    """Raise every thread of this process that is scheduled in turns, for good, as those that wait for answers are.

    For a process whose threads do little else than carry pictures in and answers out: where others want the processor, one that
    is not raised has an answer in its hands and waits for its turn.
    """
    for task in os.listdir("/proc/self/task"):
        try:
            if os.sched_getscheduler(int(task)) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER:
                urgent = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
                os.sched_setscheduler(int(task), urgent, os.sched_param(WAITING))
        except ProcessLookupError:  # it has ended meanwhile
            continue


Before = Tuple[int, os.sched_param]


class Raised:
    """The calling thread's priority, raised until the block is left; ``tidy``: garbage is not collected before that."""

    def __init__(self, level: int, alone: bool, tidy: bool = False) -> None:
        self._level = level
        self._alone = alone
        self._tidy = tidy
        self._before: Optional[Before] = None
        self._later: Optional[Callable[[Callable[[], object]], object]] = None

    def __enter__(self) -> "Raised":
        self._tidy = self._tidy and gc.isenabled()  # who has switched it off keeps it so
        if self._tidy:
            gc.disable()
        if self._level:
            self._raise()
        return self

    def _raise(self) -> None:
        if _left_raised:
            with _guard:
                last = _left_raised.pop(_own_number(), None)
            if last is not None:
                self._tidy = last._tidy
                self._before = last._before
                if self._before is not None:
                    return
        policy = os.sched_getscheduler(0)
        if policy & ~os.SCHED_RESET_ON_FORK in (os.SCHED_FIFO, os.SCHED_RR):
            return  # the caller has chosen, and may have chosen more
        self._before = policy, os.sched_getparam(0)
        # Without the flag, processes that a caller starts would be as urgent as he is.
        urgent = os.SCHED_FIFO | (os.SCHED_RESET_ON_FORK if self._alone else 0)
        os.sched_setscheduler(0, urgent, os.sched_param(self._level))

    def lower_later(self, later: Callable[[Callable[[], object]], object]) -> None:
        """Leave the block raised: ``later`` is given what lowers its thread, to be called from another one.

        Who is lowered before he goes on has his answer, and may wait for some ms until it is his turn to use it: others want
        the processors, and a stage that was cancelled stays on them until it has stopped. With one processor he is lowered at
        once, for there the other thread would have to wait for him. Garbage is not collected before that either: whoever lets
        Python do so does it himself with his next line, for tens of ms where there is much.
        """
        self._later = later

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._before is not None and (self._later is None or usable_cores() == 1):
            os.sched_setscheduler(0, *self._before)
            self._before = None
        if self._later is not None and (self._before is not None or self._tidy):
            thread = _own_number()
            with _guard:
                _left_raised[thread] = self
            self._later(lambda: self._lower(thread))
        elif self._tidy:
            gc.enable()

    def _lower(self, thread: int) -> None:
        with _guard:
            if _left_raised.get(thread) is not self:
                return  # he waits for his next frame by now, which lowers him
            del _left_raised[thread]
            if self._before is not None:
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.sched_setscheduler(thread, *self._before)
        if self._tidy:
            gc.enable()


def _own_number() -> int:
    """The kernel's number of the calling thread."""
    if not hasattr(_own, "number"):
        # threading.get_native_id is Python 3.8
        _own.number = int(os.path.basename(os.readlink("/proc/thread-self")))
    return int(_own.number)


_own = threading.local()
# Threads that have left their block and are to be lowered later, or garbage to be collected again, by their numbers
_left_raised: Dict[int, Raised] = {}
_guard = threading.Lock()
