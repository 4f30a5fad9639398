"""What the scheduler is measured against: the whole network always, a fixed stage, means instead of quantiles, and an oracle."""

from collections import deque
from typing import Deque, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Manifest
from edgekit.runtime.alternatives import Alternatives
from edgekit.runtime.latency import WINDOW, LatencyModel
from edgekit.runtime.scheduler import Decision, Scheduler

Exit = Tuple[str, np.ndarray]


class UpToStage(Scheduler):
    """Runs every stage up to ``last`` and no more, whatever the deadline; from ``first`` on, where that begins a network."""

    def __init__(self, stages: Sequence[Tuple[str, bool]], last: str, first: Optional[str] = None) -> None:
        self._all = [name for name, _ in stages]
        super().__init__(stages, LatencyModel(self._all))
        self._run = range(0 if first is None else self._all.index(first), self._all.index(last) + 1)

    def next(
        self,
        now: float,
        deadline: Optional[float],
        finished: int,
        exits: Sequence[Exit] = (),
        confidence: Optional[float] = None,
        cheapest_first: bool = False,
    ) -> Decision:
        """Run on until the stage has been reached."""
        following = max(finished, self._run[0])
        if following not in self._run:
            return Decision(False, None, None, "final")
        return Decision(True, self._all[following], None, "unlimited")


class Oracle(Scheduler):
    """Knows how long every stage of the frame will take, and begins none in vain."""

    def __init__(self, stages: Sequence[Tuple[str, bool]]) -> None:
        super().__init__(stages, LatencyModel(name for name, _ in stages))
        self._stages = list(stages)
        self._durations: List[float] = []

    def foresee(self, durations: Sequence[float]) -> None:
        """Learn the durations in ms of the stages of the frame that comes next."""
        self._durations = list(durations)

    def next(
        self,
        now: float,
        deadline: Optional[float],
        finished: int,
        exits: Sequence[Exit] = (),
        confidence: Optional[float] = None,
        cheapest_first: bool = False,
    ) -> Decision:
        """Run if some exit to come will be there in time."""
        reached = now
        for (_, has_exit), duration in list(zip(self._stages, self._durations))[finished:]:
            reached += duration
            if deadline is not None and reached > deadline:
                break
            if has_exit:
                stage = self._stages[finished][0]
                return Decision(True, stage, self._durations[finished], "fits")
        return Decision(False, None, None, "budget")


class ForeseeingModel(LatencyModel):
    """Knows how long every stage of the frame will take; what it is told of those before does not matter."""

    def __init__(self, stages: Iterable[str]) -> None:
        self._names = list(stages)
        super().__init__(self._names)
        self._known: Dict[str, float] = {}

    def foresee(self, durations: Sequence[float]) -> None:
        """Learn the durations in ms of the stages of the frame that comes next."""
        self._known = dict(zip(self._names, durations))

    def predict(self, stage: str, confidence: Optional[float] = None) -> Optional[float]:
        """What it will take, whatever the confidence."""
        return self._known.get(stage)


class ChoosingOracle(Alternatives):
    """An oracle among several networks."""

    def __init__(self, manifest: Manifest) -> None:
        self._foreseeing = ForeseeingModel(stage.name for stage in manifest.stages)
        super().__init__(manifest, self._foreseeing)

    def foresee(self, durations: Sequence[float]) -> None:
        """Learn the durations in ms of the stages of the frame that comes next."""
        self._foreseeing.foresee(durations)


class MeanModel(LatencyModel):
    """Expects of every stage the mean of its last runs, as a moving average does."""

    def __init__(self, stages: Iterable[str]) -> None:
        names = list(stages)
        super().__init__(names)
        self._last: Dict[str, Deque[float]] = {name: deque(maxlen=WINDOW) for name in names}
        self._sum: Dict[str, float] = dict.fromkeys(names, 0.0)

    def start(self, stage: str, durations: Sequence[float]) -> None:
        """Begin with ``durations`` in ms."""
        self._last[stage].clear()
        self._sum[stage] = 0.0
        for duration in durations:
            self.learn(stage, duration)

    def learn(self, stage: str, duration: float) -> None:
        """Take in that ``stage`` has just taken ``duration`` ms."""
        last = self._last[stage]
        if len(last) == last.maxlen:
            self._sum[stage] -= last[0]
        last.append(duration)
        self._sum[stage] += duration

    def predict(self, stage: str, confidence: Optional[float] = None) -> Optional[float]:
        """The mean in ms, whatever the confidence; None if the stage was never seen."""
        last = self._last[stage]
        return self._sum[stage] / len(last) if last else None
