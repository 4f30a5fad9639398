"""What the machine was doing while something was measured: memory, clocks, governor, and who else was busy.

Everything is read from files under a root that tests replace. What cannot be read is None, never 0.
"""

import contextlib
import ctypes
import gc
import os
import time
from typing import List, NamedTuple, Optional, Tuple


class Processors(NamedTuple):
    """The CPU: ``model`` name, how many are ``online`` of how many ``present``, and how their clocks are ruled.

    ``governors`` and ``mhz`` have one entry per distinct value and per online CPU; empty where the system hides them.
    """

    model: Optional[str]
    online: Optional[int]
    present: Optional[int]
    usable: int
    governors: Tuple[str, ...]
    mhz: Tuple[float, ...]
    max_mhz: Optional[float]


class Busy(NamedTuple):
    """Seconds of processor time since the machine started: all of it, this process's share, and on which clock."""

    everybody: Optional[float]
    ourselves: float
    at: float


def read_text(root: str, path: str) -> Optional[str]:
    """A file's text without its last newline or NUL; None if it cannot be read."""
    try:
        with open(os.path.join(root, path.lstrip("/")), "rb") as file:
            return file.read().decode("utf-8", "replace").strip("\n\0 ")
    except OSError:
        return None


def read_number(root: str, path: str) -> Optional[float]:
    """The number that a file holds; None if it cannot be read or holds something else."""
    text = read_text(root, path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def listed(root: str, path: str) -> List[str]:
    """The sorted names in a directory; none if it cannot be read."""
    try:
        return sorted(os.listdir(os.path.join(root, path.lstrip("/"))))
    except OSError:
        return []


def peak_memory_bytes(root: str = "/") -> Optional[int]:
    """The most memory that this process has held at once, since it began or since `reset_peak_memory`."""
    return _own_memory(root, "VmHWM:")


def resident_memory_bytes(root: str = "/") -> Optional[int]:
    """The memory that this process holds now."""
    return _own_memory(root, "VmRSS:")


def reset_peak_memory(root: str = "/") -> None:
    """Let the peak begin anew at what is held now, where the kernel can (Linux 4.0 and later, proc(5))."""
    with contextlib.suppress(OSError), open(
        os.path.join(root, "proc/self/clear_refs"), "w", encoding="ascii"
    ) as file:
        file.write("5")


def return_freed_memory() -> None:
    """Let the C library give back what was freed, so that what is measured next is not measured on top of it."""
    gc.collect()
    with contextlib.suppress(OSError, TypeError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _own_memory(root: str, key: str) -> Optional[int]:
    for line in (read_text(root, "proc/self/status") or "").splitlines():
        words = line.split()
        if words[:1] == [key] and len(words) > 1 and words[1].isdigit():
            return int(words[1]) * 1024
    return None


def usable_cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def read_processors(root: str = "/") -> Processors:
    """The CPU as it is now."""
    base = "sys/devices/system/cpu"
    online = _cpu_list(read_text(root, f"{base}/online"))
    present = _cpu_list(read_text(root, f"{base}/present"))
    folders = [f"{base}/cpu{number}/cpufreq" for number in online or []]
    governors = {read_text(root, f"{folder}/scaling_governor") for folder in folders}
    now = [read_number(root, f"{folder}/scaling_cur_freq") for folder in folders]
    most = [read_number(root, f"{folder}/cpuinfo_max_freq") for folder in folders]
    return Processors(
        model=_processor_name(root),
        online=None if online is None else len(online),
        present=None if present is None else len(present),
        usable=usable_cores(),
        governors=tuple(sorted(name for name in governors if name)),
        mhz=tuple(khz / 1000.0 for khz in now if khz is not None),
        max_mhz=max((khz / 1000.0 for khz in most if khz is not None), default=None),
    )


def read_load(root: str = "/") -> Optional[float]:
    """How many processes wanted a CPU, averaged over the last minute."""
    words = (read_text(root, "proc/loadavg") or "").split()
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return None


def read_busy(root: str = "/") -> Busy:
    """The processor time spent so far."""
    everybody = None
    words = (read_text(root, "proc/stat") or "").split("\n")[0].split()
    if words[:1] == ["cpu"] and len(words) >= 9:
        # user nice system idle iowait irq softirq steal (proc(5)); idle and iowait are nobody's work.
        ticks = [int(word) for word in words[1:9]]
        everybody = (sum(ticks) - ticks[3] - ticks[4]) / float(os.sysconf("SC_CLK_TCK"))
    return Busy(everybody, time.process_time(), time.perf_counter())


def others_busy(before: Busy, after: Busy) -> Optional[float]:
    """How many CPUs other programs used on average between two readings; None if unknown or too short to tell."""
    seconds = after.at - before.at
    if before.everybody is None or after.everybody is None or seconds < 0.2:
        return None
    theirs = (after.everybody - before.everybody) - (after.ourselves - before.ourselves)
    return max(0.0, theirs / seconds)


def _processor_name(root: str) -> Optional[str]:
    for line in (read_text(root, "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "hardware") and value.strip():
            return value.strip()
    return None


def _cpu_list(text: Optional[str]) -> Optional[List[int]]:
    """The numbers in a list such as ``0,3-5``, the kernel's way to name CPUs."""
    if not text:
        return None
    numbers: List[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            return None
        numbers += range(int(first), int(last or first) + 1)
    return numbers
