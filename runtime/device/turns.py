"""Short turns: what a thread without any privilege can ask for, so that it gets onto a processor soon after it is woken."""

import ctypes
import os
import struct
import sys
import threading

# Of `sched_setattr`, which no C library wraps on all systems: its number by machine.
SYSCALLS = {"x86_64": 314, "aarch64": 274}
# A turn as long as handing on a picture takes, in ns, and shorter than the kernel's usual 1.4 ms on two cores and more.
TURN_NS = 700000
# struct sched_attr: its size, policy, flags, nice value, realtime priority, runtime, deadline, period.
LAYOUT = "IIQiIQQQ"
_asked = threading.local()


def ask_for_short_turns() -> bool:
    """Let the calling thread run for a shorter while at a time, and sooner in return; whether that was asked for.

    Linux 6.12 and later put a thread that is woken before those with longer turns; others take no notice. Its share of the
    processor stays the same. A thread that is in real time, or nice, is left as it is. One that asks again is not asked for.
    """
    if not hasattr(_asked, "short"):
        _asked.short = _ask()
    return bool(_asked.short)


def _ask() -> bool:
    number = SYSCALLS.get(os.uname().machine) if sys.platform.startswith("linux") else None
    if number is None or os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK != os.SCHED_OTHER or os.nice(0):
        return False
    wanted = struct.pack(LAYOUT, struct.calcsize(LAYOUT), os.SCHED_OTHER, 0, 0, 0, TURN_NS, 0, 0)
    failed: int = ctypes.CDLL(None).syscall(number, 0, ctypes.create_string_buffer(wanted), 0)
    return failed == 0
