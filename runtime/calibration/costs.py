"""What an answer costs by the exit that gives it: milliseconds measured on a device or, before anything is, multiply-adds."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Manifest
from edgekit.errors import InputError

MILLISECONDS, MACS = "ms", "MMACs"
# A run that takes so many times what is usual was interrupted. How often that happens, the one or two among 150 runs do not tell:
# of a stage of 0.15 ms, one of 4 ms raises their mean by a sixth.
INTERRUPTED = 3.0


class Costs(NamedTuple):
    """The cost of an answer at every exit, in the exits' order.

    Attributes:
        unit: ``ms`` from the call to the answer, or ``MMACs``, millions of multiply-adds.
        exits: their stages.
        mean: of one answer.
        p99: in ms; None where nothing was measured.
        source: where the figures come from, in words.
    """

    unit: str
    exits: Tuple[str, ...]
    mean: Tuple[float, ...]
    p99: Optional[Tuple[float, ...]]
    source: str

    def to_json(self) -> Dict[str, object]:
        """The figures by exit."""
        p99 = self.p99 or (None,) * len(self.exits)
        exits = {name: {"mean": mean, "p99": tail} for name, mean, tail in zip(self.exits, self.mean, p99)}
        return {"unit": self.unit, "source": self.source, "exits": exits}


def exit_stages(manifest: Manifest) -> Tuple[str, ...]:
    """The stages that have an exit, in order."""
    return tuple(stage.name for stage in manifest.stages if stage.exit is not None)


def measured_costs(
    manifest: Manifest,
    durations: Mapping[str, Sequence[float]],
    overhead_ms: Sequence[float],
    source: str,
    asking_ms: float = 0.0,
    saved_ms: Optional[Mapping[str, float]] = None,
) -> Costs:
    """Costs in ms.

    Args:
        manifest: of the network.
        durations: of runs of every stage, in ms.
        overhead_ms: what frames took besides their stages, in ms; empty where that is not known.
        source: where the durations come from.
        asking_ms: what it takes to ask one exit how sure it is; the last one is never asked.
        saved_ms: by exit, what of the overhead a frame that leaves there does not have; see `saved_by_leaving`.

    What makes one stage slow makes the others slow, so the 99th percentile of an exit is the sum of those of its stages. In means,
    a run that was interrupted counts as `INTERRUPTED` times the median.
    """
    parts = [np.asarray(overhead_ms if len(overhead_ms) else [0.0], np.float64)]
    exits: List[str] = []
    mean: List[float] = []
    p99: List[float] = []
    asked = len(exit_stages(manifest)) - 1
    for stage in manifest.stages:
        if not len(durations.get(stage.name, ())):
            raise InputError(f"{source} has no durations of {stage.name}; measure this very bundle")
        parts.append(np.asarray(durations[stage.name], np.float64))
        if stage.exit is not None:
            exits.append(stage.name)
            beside = asking_ms * min(len(exits), asked) - (saved_ms or {}).get(stage.name, 0.0)
            mean.append(sum(map(_mean, parts)) + beside)
            p99.append(float(sum(np.percentile(part, 99.0) for part in parts)) + beside)
    return Costs(MILLISECONDS, tuple(exits), tuple(mean), tuple(p99), source)


def saved_by_leaving(
    begun_ms: Sequence[Mapping[str, float]], stage_ms: Sequence[Mapping[str, float]], exits: Sequence[str]
) -> Dict[str, float]:
    """What comes between the stages after each exit, in ms: deciding, and handing on what a stage has reached; medians.

    Args:
        begun_ms, stage_ms: of frames that ran every stage, when each began and how long it took.
        exits: their stages, in order.
    """
    between: Dict[str, List[float]] = {name: [] for name in exits}
    for begun, took in zip(begun_ms, stage_ms):
        ends = {name: begun[name] + took[name] for name in took}
        last = max(ends.values())
        for name in exits:
            later = sum(took[other] for other in took if begun[other] > begun[name])
            between[name].append(last - ends[name] - later)
    return {name: max(float(np.median(its)), 0.0) for name, its in between.items()}


def _mean(runs: np.ndarray) -> float:
    return float(np.minimum(runs, INTERRUPTED * np.median(runs)).mean())


def counted_costs(manifest: Manifest) -> Costs:
    """Costs in millions of multiply-adds; a stage counts as one at least."""
    total = np.cumsum([max(stage.macs, 1) for stage in manifest.stages]) / 1e6
    mean = tuple(float(cost) for cost, stage in zip(total, manifest.stages) if stage.exit is not None)
    return Costs(MACS, exit_stages(manifest), mean, None, "multiply-adds of the manifest")
