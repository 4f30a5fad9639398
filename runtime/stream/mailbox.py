"""How one thread hands things to another that may be slower: the newest are kept, and waiting is done on the stream's clock."""

import threading
from collections import deque
from typing import Deque, Generic, Optional, TypeVar

from edgekit.runtime.clock import Clock

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds the last ``keep`` things that nobody has taken yet. Any thread may call anything."""

    def __init__(self, clock: Clock, keep: int = 1) -> None:
        self._clock = clock
        self._keep = keep
        self._things: Deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._wanted = 0  # threads that wait for something

    def put(self, thing: T) -> int:
        """Add one; how many older ones, which nobody took, had to make room. A closed mailbox takes nothing."""
        with self._changed:
            if self._closed:
                return 0
            displaced = 0
            while len(self._things) >= self._keep:
                self._things.popleft()
                displaced += 1
            self._things.append(thing)
            self._clock.notify_all(self._changed)
            return displaced

    def wait_until_wanted(self) -> bool:
        """Wait until somebody waits for something, or the mailbox is closed; False if it is closed."""
        with self._changed:
            while not self._closed and (self._wanted == 0 or self._things):
                self._clock.wait(self._changed, None)
            return not self._closed

    def take(self, until: Optional[float] = None) -> Optional[T]:
        """The oldest that it holds; waits for one until the instant ``until``. None: there is none, and it was closed or late."""
        with self._changed:
            self._wanted += 1
            if self._wanted == 1:
                self._clock.notify_all(self._changed)
            try:
                while not self._things and not self._closed and (until is None or self._clock.now() < until):
                    self._clock.wait(self._changed, until)
                return self._things.popleft() if self._things else None
            finally:
                self._wanted -= 1

    @property
    def closed(self) -> bool:
        """Whether it takes nothing any more; what it holds may still be taken."""
        return self._closed

    def close(self, forget: bool = False) -> None:
        """Take nothing any more; ``forget``: what is there goes too."""
        with self._changed:
            self._closed = True
            if forget:
                self._things.clear()
            self._clock.notify_all(self._changed)
