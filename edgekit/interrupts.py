"""Ctrl-C that is neither mistaken for another error nor lost, wherever in the program it comes."""

import signal
import sys
import threading
from contextlib import contextmanager
from types import FrameType
from typing import Any, Iterator, List, Optional

# Seconds after which a Ctrl-C is tried again that came where Python would have ignored it.
SOON = 0.01


@contextmanager
def remembered() -> Iterator[List[int]]:
    """A list that every Ctrl-C lengthens, beside what it does otherwise.

    Python prints and forgets whatever is raised in a finaliser, in the garbage collector's or in the importer's own callbacks;
    a Ctrl-C in the first second of `edgekit bench`, which is spent importing, was lost there. Such a one is raised a moment
    later.
    """
    interrupts: List[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    again = getattr(signal, "SIGALRM", None)  # Windows has none
    before_again = None if again is None else signal.getsignal(again)
    report = getattr(sys, "unraisablehook", None)  # what Python 3.8 and newer tell of ignored errors

    def remember(number: int, frame: Optional[FrameType]) -> None:
        interrupts.append(number)
        if again is not None and _ignored_in(frame):
            signal.setitimer(signal.ITIMER_REAL, SOON)
        else:
            signal.default_int_handler(number, frame)

    def ignored(error: Any) -> None:
        if again is not None and issubclass(error.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, SOON)
        elif report is not None:
            report(error)

    signal.signal(signal.SIGINT, remember)
    if again is not None:
        signal.signal(again, remember)
    if report is not None:
        sys.unraisablehook = ignored
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
        if again is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(again, before_again)
        if report is not None:
            sys.unraisablehook = report


def _ignored_in(frame: Optional[FrameType]) -> bool:
    """Whether Python ignores what is raised here, as far as the names of functions tell; all that older ones offer."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or (
            code.co_name == "cb" and code.co_filename.startswith("<frozen importlib")
        ):
            return True
        frame = frame.f_back
    return False
