"""How a stream says that something is wrong, when it happens thirty times a second: once, and then how often since."""

import logging
import threading
from typing import Callable, Dict, NamedTuple, Optional

from edgekit.runtime.clock import Clock

OnTrouble = Callable[[str], object]

# The same trouble is said again after so many ms at the earliest.
QUIET = 10000.0

log = logging.getLogger("edgekit")


class Unsaid(NamedTuple):
    """How often a trouble was not said, and how it was put last."""

    times: int
    text: str


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
        self._unsaid: Dict[str, Unsaid] = {}
        self.last: Optional[str] = None

    def report(self, kind: str, text: str) -> None:
        """Say ``text``, unless the same ``kind`` of trouble was said just now."""
        now = self._clock.now()
        with self._guard:
            self.last = text
            before = self._unsaid.pop(kind, Unsaid(0, "")).times
            if kind in self._said and now - self._said[kind] < QUIET:
                self._unsaid[kind] = Unsaid(before + 1, text)
                return
            self._said[kind] = now
        self._say(f"{text} (and {before} times since it was last said)" if before else text)

    def finish(self) -> None:
        """Say of every kind what was left unsaid, with how it was put last: nothing comes any more that it could be said with."""
        with self._guard:
            unsaid, self._unsaid = list(self._unsaid.values()), {}
        for times, text in unsaid:
            self._say(f"{text} (the last of {times} more)")

    def _say(self, text: str) -> None:
        try:
            self._listener(text)
        except Exception:  # the user's function; the stream goes on
            log.exception("on_trouble raised while it was told: %s", text)
