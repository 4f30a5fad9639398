"""Ratios of times: right on average, honest about what cannot be told, blind to what slows both."""

import numpy as np
import pytest

from edgekit.runtime.comparison import apart, median_interval, paired


def test_the_interval_holds_the_true_median_in_about_95_runs_of_100():
    random = np.random.RandomState(0)
    hits = 0
    for _ in range(1000):
        low, high = median_interval(random.lognormal(0.0, 0.5, 60))
        hits += low <= 1.0 <= high
    assert 925 <= hits <= 985


def test_an_interval_of_few_values_holds_all_of_them():
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([2.0]) == (2.0, 2.0)


def test_what_slows_both_in_the_same_round_does_not_hide_a_difference():
    random = np.random.RandomState(1)
    noise = random.lognormal(0.0, 1.0, 100)
    base = 10.0 * noise
    other = 9.0 * noise * random.lognormal(0.0, 0.01, 100)
    assert (
        paired(other, base).middle == pytest.approx(0.9, rel=0.01) and paired(other, base).verdict == "faster"
    )
    assert apart(other, base).verdict == "cannot be told"


def test_equal_times_cannot_be_told_apart_and_slower_ones_are_told():
    random = np.random.RandomState(2)
    one, other = random.normal(10.0, 1.0, (2, 200))
    assert paired(one, other).verdict == "cannot be told"
    assert paired(one * 1.5, other).verdict == "slower" and apart(one * 1.5, other).verdict == "slower"
    found = apart(one * 1.5, other)
    assert found.low < found.middle < found.high
