"""Times contenders against each other in turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

PAUSE = 0.02  # s before each turn: until then the threads of whoever had the last one have stopped spinning

# A contender runs once and says how long each of its parts took, in ms, by name.
Contender = Callable[[], Mapping[str, float]]


@dataclass
class Times:
    """What interleaved rounds measured: per name, the ms of the fastest run of every round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, milliseconds: float) -> None:
        self.rounds.setdefault(name, []).append(milliseconds)

    def median(self, *names: str) -> float:
        """Median over the rounds of the summed time of ``names``, ms."""
        return float(statistics.median(self._sums(names)))

    def ratio(self, names: Sequence[str], others: Sequence[str]) -> float:
        """Median over the rounds of the summed time of ``names`` divided by that of ``others`` in the same round."""
        pairs = zip(self._sums(names), self._sums(others), strict=True)
        return float(statistics.median(ours / theirs for ours, theirs in pairs))

    def _sums(self, names: Sequence[str]) -> list[float]:
        return [sum(parts) for parts in zip(*(self.rounds[name] for name in names), strict=True)]

    def __contains__(self, name: object) -> bool:
        return name in self.rounds


def whole(name: str, call: Callable[[], object]) -> Contender:
    """A contender whose one part is the whole of ``call``, timed from outside."""

    def run() -> Mapping[str, float]:
        start = time.perf_counter_ns()
        call()
        return {name: (time.perf_counter_ns() - start) / 1e6}

    return run


def interleave(contenders: Mapping[str, Contender], rounds: int, runs: int) -> Times:
    """Let the contenders take turns: in each round, each runs once unmeasured, to wake its caches and threads, then ``runs`` times."""
    times = Times()
    for round_ in range(rounds):
        print(f"\rround {round_ + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        for run in contenders.values():
            time.sleep(PAUSE)
            run()
            measured = [run() for _ in range(runs)]
            # What else the machine does can only add to a run, so the fastest of a turn says most; all its parts together.
            for name, milliseconds in min(measured, key=lambda parts: sum(parts.values())).items():
                times.add(name, milliseconds)
    print(file=sys.stderr)
    return times
