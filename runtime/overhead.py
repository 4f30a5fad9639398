"""What a frame takes besides its stages: too short to tell anything of the device's pace, and taken in by a caller on his way back."""

import threading
from typing import Optional

from edgekit.runtime.latency import Distribution

SURE = 0.99


class Overhead:
    """The last durations of making an answer, in ms. Threads may share it.

    Not a `edgekit.runtime.latency.LatencyModel`, which keeps runs and takes them in together: whichever caller's turn that was came
    back 0.1 to 0.15 ms later than the others, one in sixteen.
    """

    def __init__(self) -> None:
        self._took = Distribution()
        self._guard = threading.Lock()

    def learn(self, duration: float) -> None:
        """Take in that it has just taken ``duration`` ms."""
        with self._guard:
            self._took.add(duration)

    def predict(self) -> Optional[float]:
        """What all but one of a hundred stayed below; None before the first."""
        with self._guard:
            return self._took.quantile(SURE)
