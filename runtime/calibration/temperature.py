"""Temperature scaling: one number per exit that makes its confidence mean what it says (Guo et al. 2017, section 4.2)."""

from typing import Dict, NamedTuple, Tuple

import numpy as np

from edgekit.runtime.confidence import largest_probability, softmax

# An exit that is right on every sample would like an infinite certainty, and one that guesses an infinite doubt.
COLDEST, HOTTEST = 0.05, 20.0
CLOSE = 1e-5  # relative change of the temperature at which the search ends
FEW_VALUES = 2_000_000  # logits beyond which the search begins on a part of the samples
BINS = 15  # of the expected calibration error, as in the paper


class Scaling(NamedTuple):
    """The temperature of one exit, and what it does: negative log likelihood in nats, expected calibration error 0 to 1."""

    temperature: float
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float

    @property
    def bounded(self) -> bool:
        """Whether the data would have liked a temperature outside of what is allowed."""
        return not COLDEST * 1.01 < self.temperature < HOTTEST * 0.99

    def to_json(self) -> Dict[str, object]:
        """The figures by name."""
        return dict(self._asdict())


def scale(logits: np.ndarray, labels: np.ndarray) -> Scaling:
    """Find the temperature of one exit; logits (samples, classes), labels (samples,)."""
    found = temperature(logits, labels)
    nll, ece = zip(*(_quality(logits, labels, one) for one in (1.0, found)))
    return Scaling(found, nll[0], nll[1], ece[0], ece[1])


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the negative log likelihood, between `COLDEST` and `HOTTEST`.

    In the inverse temperature that is convex, so Newton's steps, kept between a point where it falls and one where it rises,
    cannot miss the minimum.
    """
    # Any constant may be taken off a sample's logits; in float32 this keeps what matters.
    shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
    start = 1.0
    part = max(FEW_VALUES // 10 // shifted.shape[1], 100)
    if shifted.size > FEW_VALUES and part < len(shifted):
        step = len(shifted) // part
        start = _minimum(shifted[::step], labels[::step], start, 1e-2)
    return min(max(1.0 / _minimum(shifted, labels, start, CLOSE), COLDEST), HOTTEST)


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The mean distance between confidence and accuracy over `BINS` equal bins of the confidence, weighted by samples."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    said = np.bincount(bins, confidence, BINS)
    true = np.bincount(bins, correct.astype(np.float64), BINS)
    return float(np.abs(said - true).sum() / len(confidence))


def _minimum(shifted: np.ndarray, labels: np.ndarray, start: float, close: float) -> float:
    low, high = 1.0 / HOTTEST, 1.0 / COLDEST
    own = shifted[np.arange(len(labels)), labels].mean(dtype=np.float64)
    inverse = start
    for _ in range(60):
        slope, curvature = _derivatives(shifted, own, inverse)
        if slope > 0:
            high = inverse
        else:
            low = inverse
        step = inverse - slope / curvature if curvature > 0 else high
        following = step if low < step < high else (low * high) ** 0.5
        if abs(following - inverse) <= close * inverse:
            return following
        inverse = following
    return inverse


def _derivatives(shifted: np.ndarray, own: float, inverse: float) -> Tuple[float, float]:
    """First and second derivative of the mean negative log likelihood in the inverse temperature."""
    weights = np.exp(shifted * np.float32(inverse))
    total = weights.sum(axis=1)
    weights *= shifted
    first = weights.sum(axis=1) / total
    second = np.einsum("ij,ij->i", weights, shifted) / total
    return float(first.mean(dtype=np.float64) - own), float((second - first * first).mean(dtype=np.float64))


def _quality(logits: np.ndarray, labels: np.ndarray, divisor: float) -> Tuple[float, float]:
    probabilities = softmax(logits, divisor)
    own = probabilities[np.arange(len(labels)), labels]
    nll = float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())
    correct = probabilities.argmax(axis=1) == labels
    return nll, expected_calibration_error(largest_probability(probabilities), correct)
