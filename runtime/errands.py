"""Errands: what a thread that works on frames does for those whose frames are over, a little after they have gone on."""

from typing import Callable, List, Optional, Tuple

# How long a caller in real time may go on before others, in ms: enough to hand his answer on.
GONE_MS = 1.0


class Errands:
    """Calls and the instants at which they are due. Whoever uses it holds the lock that its thread waits with.

    He who asks for one is on his way back, and to wake a thread takes some of his time: so the thread looks by itself once after
    every frame, if anybody ever asked, and is woken only where it would sleep longer.
    """

    def __init__(self) -> None:
        self._calls: List[Tuple[float, Callable[[], object]]] = []
        self._asked = False
        self._sleeps_until: Optional[float] = None

    def add(self, what: Callable[[], object], at: float) -> bool:
        """Let ``what`` be called at the instant ``at``; whether the thread, if it sleeps, must be woken for that."""
        self._asked = True
        self._calls.append((at, what))
        return self._sleeps_until is None or self._sleeps_until > at

    def run(self, now: Optional[float]) -> None:
        """Make the calls that are due at the instant ``now``; with None, all of them."""
        ready = [one for one in self._calls if now is None or one[0] <= now]
        self._calls = [one for one in self._calls if one not in ready]
        for _, what in ready:
            what()

    def frame_over(self, now: float) -> None:
        """Make the calls that are due, and look for those that come soon now: he who has this frame's answer may ask."""
        self.run(now)
        self._sleeps_until = now + GONE_MS if self._asked else None

    def sleep_until(self, now: float) -> Optional[float]:
        """Make the calls that are due at ``now``; when to look again, None for not before somebody wakes the thread."""
        self.run(now)
        instants = [at for at, _ in self._calls]
        if self._sleeps_until is not None and self._sleeps_until > now:
            instants.append(self._sleeps_until)
        self._sleeps_until = min(instants, default=None)
        return self._sleeps_until
