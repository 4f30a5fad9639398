"""A stream's threads: each has a name, takes part in the stream's clock while it lives, and is joined."""

import threading
from typing import Callable

from edgekit.runtime.clock import Clock
from edgekit.runtime.device.turns import ask_for_short_turns


class StreamThread:
    """Runs ``body`` once, on a thread of its own called ``name``, which hands things on and is not to wait long for its turn."""

    def __init__(self, name: str, body: Callable[[], object], clock: Clock) -> None:
        self._body = body
        self._clock = clock
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start it; it takes part in the clock when this returns."""
        self._thread.start()
        self._begun.wait()

    def join(self, timeout_s: float) -> bool:
        """Wait for its end, unless it is the calling thread; False if it has not ended in time."""
        if self._thread is threading.current_thread() or not self._begun.is_set():
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._clock.enter()
        self._begun.set()
        ask_for_short_turns()
        try:
            self._body()
        finally:
            self._clock.leave()
