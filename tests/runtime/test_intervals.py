"""Intervals hold the truth as often as they promise, and the samples they need are the samples they need."""

import math
from typing import Tuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.intervals import largest_loss, quantile_of_normal, samples_needed


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 0.0), (0.95, 1.6448536), (0.975, 1.9599640), (0.025, -1.9599640), (0.999, 3.0902323)]
)  # fmt: skip
def test_quantiles_of_the_normal_distribution_are_the_tables(share: float, value: float) -> None:
    assert quantile_of_normal(share) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("samples", [200, 2000])
@pytest.mark.parametrize("shares", [(0.02, 0.015), (0.05, 0.045), (0.03, 0.0), (0.01, 0.02)])
def test_the_true_loss_is_rarely_above_the_largest(samples: int, shares: Tuple[float, float]) -> None:
    lost, won = shares
    drawn = np.random.RandomState(0).multinomial(samples, [lost, won, 1 - lost - won], 3000)
    held = [largest_loss(int(one[0]), int(one[1]), samples, 0.95) >= lost - won for one in drawn]
    assert np.mean(held) >= 0.94


@given(st.integers(1, 3000), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_largest_loss_lies_above_the_one_seen_and_grows_with_the_confidence(
    samples: int, data: st.DataObject, confidence: float
) -> None:
    lost = data.draw(st.integers(0, samples))
    won = data.draw(st.integers(0, samples - lost))
    bound = largest_loss(lost, won, samples, confidence)
    assert (lost - won) / samples <= bound <= 1.0
    assert bound <= largest_loss(lost, won, samples, confidence + 0.005) + 1e-12


@given(st.floats(0.0005, 0.1), st.sampled_from([0.9, 0.95, 0.99]))
def test_with_fewer_samples_than_needed_even_no_change_at_all_may_be_a_larger_loss(
    loss: float, confidence: float
) -> None:
    needed = samples_needed(loss, confidence)
    assert largest_loss(0, 0, needed, confidence) <= loss * (1 + 1e-9)
    assert needed == 1 or largest_loss(0, 0, needed - 1, confidence) > loss
    # Close to the exact answer, for which "none of n" means a share of at most 1 - (1 - confidence)^(1 / n).
    exact = math.log(1 - confidence) / math.log(1 - loss)
    assert needed == pytest.approx(exact, rel=0.4, abs=2)
