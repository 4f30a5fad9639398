"""The way from leaving nowhere to leaving at once: steady in cost and thresholds, and close to the best that there is."""

import itertools
from typing import List, Sequence, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.runtime.calibration.exit_path import find_path
from edgekit.runtime.calibration.exiting import Evidence, outcome


def made(seed: int, exits: int, samples: int, levels: int = 0) -> Evidence:
    """Samples of different difficulty: later exits are right more often, and the surer the oftener; ``levels``: ties."""
    random = np.random.RandomState(seed)
    difficulty = random.rand(samples)
    skill = np.linspace(0.6, 0.9, exits)[:, None]
    confidence = 1 / (1 + np.exp(-(6 * (skill - difficulty) + random.randn(exits, samples))))
    correct = random.rand(exits, samples) < confidence
    if levels:
        confidence = np.round(confidence * levels) / levels
    return Evidence(confidence, correct)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 300), st.sampled_from([0, 3, 20]),
    st.lists(st.floats(0.1, 10.0), min_size=6, max_size=6),
)  # fmt: skip
def test_along_the_way_thresholds_and_mean_cost_only_fall(
    seed: int, exits: int, samples: int, levels: int, steps: Sequence[float]
) -> None:
    evidence, costs = made(seed, exits, samples, levels), np.cumsum(steps)[:exits]
    path = find_path(evidence, costs)
    places = [path.thresholds(place) for place in np.linspace(0.0, 1.0, 60)]
    means = [outcome(evidence, thresholds).mean(costs) for thresholds in places]
    for (a, b), (mean_a, mean_b) in zip(zip(places, places[1:]), zip(means, means[1:])):
        assert (b <= a).all()
        assert mean_b <= mean_a + 1e-9
    assert means[0] == pytest.approx(costs[-1])
    assert means[-1] == pytest.approx(costs[0])
    for thresholds in places:
        assert outcome(evidence, thresholds).shares.sum() == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 6),
    st.integers(20, 400),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_a_mean_that_is_asked_for_is_kept_and_used_up_on_the_samples_themselves(
    seed: int, exits: int, samples: int, share: float, other: float
) -> None:
    evidence, costs = made(seed, exits, samples), np.arange(1.0, exits + 1)
    path = find_path(evidence, costs)
    lower, higher = sorted(1.0 + one * (exits - 1) for one in (share, other))
    found = [path.thresholds(path.place_of_mean(evidence, costs, goal)) for goal in (lower, higher)]
    for goal, thresholds in zip((lower, higher), found):
        mean = outcome(evidence, thresholds).mean(costs)
        assert mean <= goal + 1e-9
        # One sample more, at each of the exits at once, is what can be missing.
        assert mean >= goal - (exits - 1) * exits / samples - 1e-9
    assert (found[0] <= found[1]).all()


@pytest.mark.parametrize("seed", range(6))
def test_with_two_exits_no_threshold_is_better_at_the_same_cost(seed: int) -> None:
    evidence, costs = made(seed, 2, 400), (1.0, 3.0)
    path = find_path(evidence, costs)
    alone = [
        outcome(evidence, np.array([one, -np.inf]))
        for one in np.concatenate(([np.inf], evidence.confidence[0]))
    ]
    hull = _hull([(one.mean(costs), one.accuracy) for one in alone])
    for mean, accuracy in hull:
        reached = outcome(evidence, path.thresholds(path.place_of_mean(evidence, costs, mean)))
        assert reached.accuracy >= accuracy - 2.5 / 400


@pytest.mark.parametrize("seed", range(4))
def test_with_three_exits_it_comes_close_to_a_search_of_all_pairs(seed: int) -> None:
    evidence, costs = made(seed, 3, 300), (1.0, 2.0, 4.0)
    path = find_path(evidence, costs)
    grid = [
        np.concatenate((np.quantile(one, np.linspace(0, 1, 14)), [np.inf])) for one in evidence.confidence[:2]
    ]
    points = []
    for pair in itertools.product(*grid):
        one = outcome(evidence, np.array([*pair, -np.inf]))
        points.append((one.mean(costs), one.accuracy))
    for mean, accuracy in _hull(points):
        reached = outcome(evidence, path.thresholds(path.place_of_mean(evidence, costs, mean)))
        assert reached.accuracy >= accuracy - 0.02


def test_one_exit_alone_takes_everybody() -> None:
    evidence = made(0, 1, 10)
    assert find_path(evidence, [2.0]).thresholds(0.5).tolist() == [-np.inf]


def test_exits_that_cost_nothing_more_are_refused() -> None:
    with pytest.raises(InputError, match="each must cost more"):
        find_path(made(0, 3, 10), [1.0, 1.0, 2.0])


def _hull(points: Sequence[Tuple[float, float]]) -> List[Tuple[float, float]]:
    """The upper left convex hull of (cost, accuracy)."""
    kept: List[Tuple[float, float]] = []
    for cost, accuracy in sorted(points):
        if kept and accuracy <= kept[-1][1]:
            continue
        while len(kept) > 1 and (kept[-1][1] - kept[-2][1]) * (cost - kept[-2][0]) <= (
            accuracy - kept[-2][1]
        ) * (kept[-1][0] - kept[-2][0]):
            kept.pop()
        kept.append((cost, accuracy))
    return kept
