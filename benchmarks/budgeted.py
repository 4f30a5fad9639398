"""Accuracy at every mean budget: thresholds found on held-out pictures, and what they make of the test pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.models.training.classification.batches import Normalise, in_order
from edgekit.models.training.classification.sources import Labelled
from edgekit.runtime.calibration.exit_path import find_path
from edgekit.runtime.calibration.exiting import Evidence, outcome
from edgekit.runtime.confidence import confidence

POINTS = 25


@dataclass(frozen=True)
class BudgetPoint:
    """What thresholds for a mean of ``goal_ms`` make of the test pictures: mean ms, share that is right, shares by exit."""

    goal_ms: float
    milliseconds: float
    accuracy: float
    shares: tuple[float, ...]


def evidence(net: nn.Module, labelled: Labelled, mean: tuple[float, ...], std: tuple[float, ...]) -> Evidence:
    """How sure every exit of a network is of every picture, and whether it is right."""
    sure, right = [], []
    with torch.inference_mode():
        for batch in in_order(labelled, Normalise(mean, std)):
            logits = [one.numpy() for one in net(batch.pictures)]
            sure.append(np.stack([confidence(one) for one in logits]))
            right.append(np.stack([one.argmax(axis=1) == batch.labels.numpy() for one in logits]))
    return Evidence(np.concatenate(sure, axis=1), np.concatenate(right, axis=1))


def accuracies(found: Evidence) -> list[float]:
    """The share that every exit gets right."""
    return [float(one) for one in found.correct.mean(axis=1)]


def curve(held_out: Evidence, test: Evidence, reached_ms: Sequence[float]) -> list[BudgetPoint]:
    """The test pictures at mean budgets from the first exit's time to the last's."""
    path = find_path(held_out, reached_ms)
    points = []
    for goal in np.linspace(reached_ms[0], reached_ms[-1], POINTS):
        made = outcome(test, path.thresholds(path.place_of_mean(held_out, reached_ms, float(goal))))
        shares = tuple(float(share) for share in made.shares)
        points.append(BudgetPoint(float(goal), made.mean(reached_ms), made.accuracy, shares))
    return points


def thresholds_as_good(held_out: Evidence, reached_ms: Sequence[float]) -> NDArray[np.float64]:
    """The thresholds of the least mean time whose held-out pictures are right as often as by the last exit."""
    path = find_path(held_out, reached_ms)
    last = float(held_out.correct[-1].mean())
    places = np.linspace(1, 0, 201)
    for place in places:
        thresholds = path.thresholds(float(place))
        if outcome(held_out, thresholds).accuracy >= last:
            return thresholds
    return path.thresholds(0.0)


def at_budget(points: Sequence[BudgetPoint], milliseconds: float) -> float:
    """The accuracy of a curve at a mean time, between its points; of points at one time the best."""
    ordered = sorted(points, key=lambda point: (point.milliseconds, point.accuracy))
    return float(np.interp(milliseconds, [p.milliseconds for p in ordered], [p.accuracy for p in ordered]))
