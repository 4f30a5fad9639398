"""What one network has just shown of the device's pace, for the others, which may not have run for a while.

A neighbour on the processor, or a lower clock, slows all networks. Each one's latency model knows it from its own stages only: a
network that was slow when it last ran, and has not run since because it would not fit, would never hear that the device is fast
again.
"""

from collections import deque
from typing import Deque, Dict, Iterable, Optional, Tuple

from edgekit.runtime.latency import Distribution, LatencyModel

# Frames in which two networks have both run, from which it is known how their slowdowns compare: each counts from what its own
# model began with, which may have been measured in other company.
FRAMES = 15
# Stages from whose runs it is known what comes beside one: choosing it, and handing on what it has reached.
BESIDE = 64
# So many frames more in which they compare as they did in the beginning: one that was slow by chance in its first frames, and
# does not fit any more for that, would be taken for slow for good.
AS_MEASURED = (1.0,) * 5


class Pace:
    """Compares the slowdowns of several latency models, by the names of their networks."""

    def __init__(self, models: Iterable[Tuple[str, LatencyModel]]) -> None:
        self._models = dict(models)
        self._ratios: Dict[Tuple[str, str], Deque[float]] = {}
        self._last: Optional[str] = None
        self._ran: Dict[str, float] = {}
        self._beside = Distribution(BESIDE)

    def beside(self, took_ms: float) -> None:
        """A stage has just run, and besides it the frame took so long."""
        self._beside.add(max(took_ms, 0.0))

    @property
    def beside_ms(self) -> float:
        """What comes beside every stage as often as not."""
        return self._beside.quantile(0.5) or 0.0

    def ran(self, network: str) -> None:
        """A stage of ``network`` has just run, and its model has learned from it."""
        self._last = network
        self._ran[network] = self._models[network].slowdown

    def over(self) -> None:
        """A frame is over."""
        for one, its in self._ran.items():
            for other, others in self._ran.items():
                if one != other:
                    self._ratios.setdefault((one, other), deque(maxlen=FRAMES)).append(its / others)
        self._ran = {}

    def factor(self, network: str) -> float:
        """How many times as long as its own model predicts ``network`` takes, by what ran last."""
        last = self._last
        if last is None or network in self._ran:
            return 1.0
        known = sorted([*self._ratios.get((network, last), ()), *AS_MEASURED])
        usual: float = known[len(known) // 2]
        return usual * self._models[last].slowdown / self._models[network].slowdown
