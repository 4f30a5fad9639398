"""Which frames of a source a fixed rate takes, and at which of its instants there was none."""

import math
from typing import Optional

# Cameras do not keep time to the ms: what comes this share of a period too early belongs to the instant after it.
EARLY = 0.25


class Pace:
    """The instants at which a rate wants a frame, counted from the first one; without a rate, every frame is wanted."""

    def __init__(self, rate: Optional[float]) -> None:
        """``rate`` is in frames a second."""
        self.period = None if rate is None else 1e3 / rate
        self._due: Optional[float] = None

    @property
    def due(self) -> Optional[float]:
        """The next instant in ms; None if there is no rate, or no frame has come yet."""
        return self._due

    def admit(self, stamp: float) -> Optional[int]:
        """Whether a frame of this stamp is wanted: None if not, else at how many instants before it there was no frame."""
        if self.period is None:
            return 0
        if self._due is None:
            self._due = stamp + self.period
            return 0
        instant = math.floor((stamp - self._due) / self.period + EARLY)
        if instant < 0:
            return None
        self._due += (instant + 1) * self.period
        return instant

    def restart(self) -> None:
        """Begin anew with the next frame."""
        self._due = None
