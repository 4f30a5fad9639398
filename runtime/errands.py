"""Errands: what a thread that works on frames does for those whose frames are over, once they have gone on."""

from typing import Callable, List, Optional, Tuple

# How long a caller in real time may go on before others, in ms: enough to hand his answer on.
GONE_MS = 1.0


class Errands:
    """Calls and the instants at which they are due; whoever uses it holds the lock that its thread waits with."""

    def __init__(self) -> None:
        self._calls: List[Tuple[float, Callable[[], object]]] = []

    def add(self, what: Callable[[], object], at: float) -> None:
        """Let ``what`` be called at the instant ``at``."""
        self._calls.append((at, what))

    @property
    def due(self) -> Optional[float]:
        """When the next one is; None without any."""
        return min((at for at, _ in self._calls), default=None)

    def run(self, now: Optional[float]) -> None:
        """Make the calls that are due at the instant ``now``; with None, all of them."""
        ready = [one for one in self._calls if now is None or one[0] <= now]
        self._calls = [one for one in self._calls if one not in ready]
        for _, what in ready:
            what()
