"""How sure an exit is of its class, as a number from 0 to 1, and what calibration makes of its logits before that is asked."""

import math
from typing import Callable, Dict

import numpy as np


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities float64 of logits (..., classes), divided by ``temperature`` first (Guo et al. 2017, section 4.2)."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def largest_probability(probabilities: np.ndarray) -> np.ndarray:
    """The largest probability of (..., classes)."""
    return np.asarray(probabilities.max(axis=-1))


def margin(probabilities: np.ndarray) -> np.ndarray:
    """The largest probability of (..., classes) less the second largest."""
    if probabilities.shape[-1] < 2:
        return np.ones(probabilities.shape[:-1])
    two = np.partition(probabilities, -2, axis=-1)
    return np.asarray(two[..., -1] - two[..., -2])


def certainty(probabilities: np.ndarray) -> np.ndarray:
    """1 less the entropy of (..., classes), as a share of the largest entropy there can be."""
    positive = np.where(probabilities > 0, probabilities, 1.0)
    entropy = -(positive * np.log(positive)).sum(axis=-1)
    return np.asarray(np.clip(1.0 - entropy / math.log(max(probabilities.shape[-1], 2)), 0.0, 1.0))


MEASURES: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "probability": largest_probability,
    "margin": margin,
    "entropy": certainty,
}


def confidence(logits: np.ndarray, measure: str = "probability", temperature: float = 1.0) -> np.ndarray:
    """How sure logits (..., classes) are, by one of `MEASURES`; larger is surer."""
    return MEASURES[measure](softmax(logits, temperature))


def confidence_of_one(logits: np.ndarray, measure: str = "probability", temperature: float = 1.0) -> float:
    """`confidence` of one sample's logits, to the last bit, in fewer passes: a frame that is short waits for it at every exit."""
    if measure != "probability":
        return float(confidence(logits.ravel(), measure, temperature))
    scaled = logits.ravel().astype(np.float64)
    scaled /= temperature
    scaled -= np.maximum.reduce(scaled)
    # The largest weight is exp(0)
    return 1.0 / float(np.add.reduce(np.exp(scaled, scaled)))
