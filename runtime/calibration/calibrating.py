"""Calibrating a network's exits: temperatures, thresholds for a goal, and what they make of samples not used to set them."""

import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.runtime.calibration.costs import Costs
from edgekit.runtime.calibration.exiting import Evidence, outcome
from edgekit.runtime.calibration.frontier import (
    Point,
    exit_points,
    geometric_points,
    held_out,
    path_points,
    point,
)
from edgekit.runtime.calibration.goals import Certificate, Goal, reach
from edgekit.runtime.calibration.recorded_logits import Recorded
from edgekit.runtime.calibration.temperature import Scaling, scale
from edgekit.runtime.confidence import confidence


class Calibration(NamedTuple):
    """What was found.

    Attributes:
        measure: of confidence, one of `edgekit.runtime.confidence.MEASURES`.
        source: of the samples, in words; ``samples`` is how many.
        costs: of an answer, by exit.
        scalings: of every exit; None where logits are taken as they are.
        exits: every exit by itself.
        frontier: early exits, on samples that their thresholds were not found on.
        goal: what was asked for; None where only the frontier was.
        thresholds: by exit, None where nobody leaves; of the goal.
        seen: what they make of the samples they were found on.
        unseen: what thresholds found in the same way make of samples they were not found on.
        certificate: of a loss of accuracy, where that was the goal.
        notes: what else there is to say.
    """

    measure: str
    source: str
    samples: int
    costs: Costs
    scalings: Optional[Tuple[Scaling, ...]]
    exits: Tuple[Point, ...]
    frontier: Tuple[Point, ...]
    goal: Optional[Goal] = None
    thresholds: Tuple[Optional[float], ...] = ()
    seen: Optional[Point] = None
    unseen: Optional[Point] = None
    certificate: Optional[Certificate] = None
    notes: Tuple[str, ...] = ()

    @property
    def temperatures(self) -> Tuple[float, ...]:
        """By exit; 1 where logits are taken as they are."""
        if self.scalings is None:
            return (1.0,) * len(self.exits)
        return tuple(one.temperature for one in self.scalings)


def calibrate(
    recorded: Recorded, costs: Costs, goal: Optional[Goal], measure: str = "probability", temper: bool = True
) -> Calibration:
    """Find temperatures, the frontier, and the thresholds for ``goal``.

    ``temper`` is whether logits are divided by a temperature first. The budgeted batch procedure of a geometric goal is the
    published one only without it, and with the measure ``probability``.

    Raises:
        OptionError: the goal is none.
        Unreachable: it cannot be reached.
        InputError: the samples are too few for it.
    """
    scalings = tuple(scale(logits, recorded.labels) for logits in recorded.logits) if temper else None
    temperatures = (
        [one.temperature for one in scalings] if scalings is not None else [1.0] * len(recorded.logits)
    )
    evidence = weigh(recorded, measure, temperatures)
    geometric = goal is not None and goal.geometric is not None
    found = Calibration(
        measure,
        recorded.source,
        evidence.samples,
        costs,
        scalings,
        tuple(exit_points(evidence, costs)),
        tuple((geometric_points if geometric else path_points)(evidence, costs)),
    )
    return found if goal is None else _with_goal(found, goal, evidence)


def weigh(recorded: Recorded, measure: str, temperatures: Sequence[float]) -> Evidence:
    """How sure every exit is of every sample, and whether it is right."""
    sure = [confidence(logits, measure, one) for logits, one in zip(recorded.logits, temperatures)]
    return Evidence(np.asarray(sure), recorded.logits.argmax(axis=2) == recorded.labels)


def _with_goal(found: Calibration, goal: Goal, evidence: Evidence) -> Calibration:
    costs = found.costs
    reached = reach(goal, evidence, costs)

    def thresholds(part: Evidence) -> List[np.ndarray]:
        return [reach(goal, part, costs).thresholds]

    unseen = None
    if goal.max_loss is None:
        unseen = point(None, held_out(evidence, thresholds)[0], costs)
    return found._replace(
        goal=goal,
        thresholds=tuple(to_manifest(reached.thresholds.tolist())),
        seen=point(None, outcome(evidence, reached.thresholds), costs),
        unseen=unseen,
        certificate=reached.certificate,
        notes=reached.notes,
    )


def to_manifest(thresholds: Sequence[float]) -> List[Optional[float]]:
    """Thresholds as a manifest keeps them: 0 where everybody leaves, None where nobody does, and None at the last exit."""
    kept: List[Optional[float]] = [
        None if one == math.inf else min(max(float(one), 0.0), 1.0) for one in thresholds[:-1]
    ]
    return [*kept, None]


def from_manifest(thresholds: Sequence[Optional[float]]) -> np.ndarray:
    """The thresholds of `to_manifest` as numbers to compare with."""
    return np.asarray([math.inf if one is None else one for one in thresholds[:-1]] + [-math.inf])


def to_document(found: Calibration) -> Dict[str, object]:
    """The JSON of everything that was found."""
    names = found.costs.exits
    scalings = found.scalings or (None,) * len(names)
    return {
        "measure": found.measure,
        "data": {"source": found.source, "samples": found.samples},
        "costs": found.costs.to_json(),
        "goal": None if found.goal is None else found.goal.to_json(),
        "thresholds": dict(zip(names, found.thresholds)) if found.goal is not None else None,
        "temperatures": dict(zip(names, found.temperatures)),
        "scaling": {name: None if one is None else one.to_json() for name, one in zip(names, scalings)},
        "exits": {name: one.to_json() for name, one in zip(names, found.exits)},
        "frontier": [one.to_json() for one in found.frontier],
        "seen": None if found.seen is None else found.seen.to_json(),
        "unseen": None if found.unseen is None else found.unseen.to_json(),
        "certificate": None if found.certificate is None else dict(found.certificate._asdict()),
        "notes": list(found.notes),
    }
