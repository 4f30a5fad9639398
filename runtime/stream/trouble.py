"""How a stream says that something is wrong, when it happens thirty times a second: once, and then how often since."""

import logging
import threading
from typing import Callable, Dict, Optional

from edgekit.runtime.clock import Clock

OnTrouble = Callable[[str], object]

# The same trouble is said again after so many ms at the earliest.
QUIET = 10000.0

log = logging.getLogger("edgekit")


class Trouble:
    """Reports to a function, by default as a warning of Python's ``logging``. Any thread may report.

    Attributes:
        last: the newest trouble, said or not; None if there was none.
    """

    def __init__(self, clock: Clock, listener: Optional[OnTrouble] = None) -> None:
        self._clock = clock
        self._listener: OnTrouble = listener or log.warning
        self._guard = threading.Lock()
        self._said: Dict[str, float] = {}
        self._unsaid: Dict[str, int] = {}
        self.last: Optional[str] = None

    def report(self, kind: str, text: str) -> None:
        """Say ``text``, unless the same ``kind`` of trouble was said just now."""
        now = self._clock.now()
        with self._guard:
            self.last = text
            if kind in self._said and now - self._said[kind] < QUIET:
                self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
                return
            self._said[kind] = now
            again = self._unsaid.pop(kind, 0)
        if again:
            text += f" (and {again} times since it was last said)"
        try:
            self._listener(text)
        except Exception:  # the user's function; the stream goes on
            log.exception("on_trouble raised while it was told: %s", text)
