"""Which exit every sample takes under given thresholds, and what that makes of accuracy and cost."""

from typing import NamedTuple, Sequence

import numpy as np


class Evidence(NamedTuple):
    """What the exits made of samples whose class is known.

    Attributes:
        confidence: float (exits, samples), 0 to 1.
        correct: bool (exits, samples).
    """

    confidence: np.ndarray
    correct: np.ndarray

    @property
    def exits(self) -> int:
        """How many exits there are."""
        return len(self.confidence)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return int(self.confidence.shape[1])

    def part(self, samples: np.ndarray) -> "Evidence":
        """The same of some of the samples, by index or mask."""
        return Evidence(self.confidence[:, samples], self.correct[:, samples])

    def up_to(self, exits: int) -> "Evidence":
        """The same of the first ``exits`` exits."""
        return Evidence(self.confidence[:exits], self.correct[:exits])


class Outcome(NamedTuple):
    """What thresholds make of samples: the exit of each, whether it is right there, and the share of the samples by exit."""

    taken: np.ndarray
    correct: np.ndarray
    shares: np.ndarray

    @property
    def accuracy(self) -> float:
        """The share of the samples that are right, 0 to 1."""
        return float(self.correct.mean())

    def mean(self, costs: Sequence[float]) -> float:
        """The mean cost of a sample, ``costs`` being those of leaving at each exit."""
        return float(np.dot(self.shares, costs))


def exits_taken(confidence: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The first exit of each sample whose confidence (exits, samples) reaches its threshold (exits,); the last takes all."""
    reached = confidence >= np.asarray(thresholds)[:, None]
    reached[-1] = True
    return np.asarray(reached.argmax(axis=0))


def outcome(evidence: Evidence, thresholds: np.ndarray) -> Outcome:
    """What thresholds (exits,) make of samples."""
    taken = exits_taken(evidence.confidence, thresholds)
    correct = evidence.correct[taken, np.arange(len(taken))]
    return Outcome(taken, correct, np.bincount(taken, minlength=evidence.exits) / len(taken))
