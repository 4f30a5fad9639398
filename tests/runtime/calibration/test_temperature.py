"""Temperature scaling finds the temperature that the labels were drawn with, and the minimum that a plain search finds."""

from typing import Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.runtime.calibration.temperature import (
    COLDEST,
    HOTTEST,
    expected_calibration_error,
    scale,
    temperature,
)
from edgekit.runtime.confidence import MEASURES, confidence, softmax


def drawn(
    true: float, samples: int = 10000, classes: int = 10, seed: int = 0
) -> Tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the probabilities that they have at the temperature ``true``."""
    random = np.random.RandomState(seed)
    logits = random.randn(samples, classes).astype(np.float32) * 3
    chances = softmax(logits, true).cumsum(axis=1)
    return logits, np.minimum((random.rand(samples, 1) > chances).sum(axis=1), classes - 1)


def nll(logits: np.ndarray, labels: np.ndarray, divisor: float) -> float:
    return float(-np.log(np.maximum(softmax(logits, divisor)[np.arange(len(labels)), labels], 1e-300)).mean())


@pytest.mark.parametrize("true", [0.3, 0.7, 1.0, 1.8, 4.0])
def test_the_temperature_of_the_labels_is_found_and_the_confidence_then_means_what_it_says(
    true: float,
) -> None:
    logits, labels = drawn(true)
    found = scale(logits, labels)
    assert found.temperature == pytest.approx(true, rel=0.08)
    assert not found.bounded
    assert found.nll_after <= found.nll_before
    assert found.ece_after < 0.025
    if not 0.8 < true < 1.2:
        assert found.ece_after < found.ece_before / 3


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 400),
    st.integers(2, 30),
    st.floats(0.1, 30.0),
    st.floats(0.0, 1.0),
)
def test_no_temperature_of_a_plain_search_is_better(
    seed: int, samples: int, classes: int, spread: float, right: float
) -> None:
    random = np.random.RandomState(seed)
    logits = random.randn(samples, classes).astype(np.float32) * np.float32(spread)
    guesses = random.randint(0, classes, samples)
    labels = np.where(random.rand(samples) < right, logits.argmax(axis=1), guesses)
    found = temperature(logits, labels)
    assert COLDEST <= found <= HOTTEST
    best = min(nll(logits, labels, one) for one in np.geomspace(COLDEST, HOTTEST, 200))
    assert nll(logits, labels, found) <= best * (1 + 1e-4) + 1e-4


def test_many_classes_are_begun_on_a_part_of_the_samples_and_end_at_the_same_minimum() -> None:
    logits, labels = drawn(1.7, samples=4000, classes=600)
    found = temperature(logits, labels)
    assert found == pytest.approx(1.7, rel=0.05)
    for near in (found * 0.99, found * 1.01):
        assert nll(logits, labels, found) < nll(logits, labels, near)


def test_an_exit_that_is_always_right_gets_the_coldest_temperature_and_says_so() -> None:
    logits = np.eye(5, dtype=np.float32)[np.arange(50) % 5]
    found = scale(logits, np.arange(50) % 5)
    assert found.temperature == pytest.approx(COLDEST, rel=1e-3)
    assert found.bounded


def test_large_logits_overflow_nowhere() -> None:
    logits = np.float32(1e4) * np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    with np.errstate(all="raise", under="ignore"):
        found = scale(logits, np.array([0, 1, 2, 1]))
    assert np.isfinite([found.temperature, found.nll_before, found.nll_after]).all()


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    sure = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    assert expected_calibration_error(sure, right) == pytest.approx(0.05)


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_many_samples_at_once_are_as_sure_as_each_alone(measure: str) -> None:
    logits, _ = drawn(1.0, samples=50)
    together = confidence(logits, measure, 1.3)
    assert together.tolist() == [float(confidence(one, measure, 1.3)) for one in logits]
    assert ((together >= 0) & (together <= 1)).all()
