"""The figures, against values worked out by hand or published."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.intervals import wilson
from edgekit.runtime.simulation.outcomes import figures, recovery_beside
from edgekit.runtime.simulation.simulate import Outcomes


def outcomes(exits, elapsed, possible, budget=10.0, looked_at=None) -> Outcomes:
    """Two exits; an answer is late if it took longer than the budget, and each exit was reached at the answer."""
    exit_number, elapsed_ms = np.array(exits), np.array(elapsed, float)
    looked = np.ones(len(exits), bool) if looked_at is None else np.array(looked_at)
    reached = np.full((len(exits), 2), np.inf)
    for k in (0, 1):
        reached[exit_number > k, k] = elapsed_ms[exit_number > k]
    missed = (elapsed_ms > budget) | (exit_number == 0) | ~looked
    return Outcomes(
        ("stage1", "stage2"),
        budget,
        2.0,
        looked,
        exit_number,
        elapsed_ms,
        missed,
        np.array(possible),
        reached,
    )


def test_late_answers_count_among_the_frames_that_could_have_been_answered() -> None:
    found = figures(
        outcomes([1, 2, 1, 0], [5, 5, 12, 10], [1, 2, 2, 0]),
        outcomes([1, 2, 2, 0], [5, 5, 5, 10], [1, 2, 2, 0]),
    )
    assert (found.answerable, found.late) == (3, 1)
    assert found.late_share == pytest.approx(1 / 3)
    assert found.mean_exit == 1.0
    assert found.utility == pytest.approx((0.5 + 1.0) / 4)
    assert found.of_oracle == pytest.approx(1.5 / 2.5)
    assert found.regret == pytest.approx(1 / 2.5)
    assert found.overshoot_max_ms == 2.0
    assert found.goodput == 1.0
    assert found.accuracy is None


def test_accuracy_counts_nothing_for_a_late_answer() -> None:
    one = outcomes([1, 2, 2], [5, 5, 12], [2, 2, 2])
    best = outcomes([2, 2, 2], [5, 5, 5], [2, 2, 2])
    found = figures(one, best, (0.6, 0.9))
    assert found.accuracy == pytest.approx((0.6 + 0.9) / 3)
    assert found.accuracy_of_oracle == pytest.approx(1.5 / 2.7)


def test_quality_is_the_area_under_the_best_share_that_was_there() -> None:
    one = outcomes([2], [6], [2])._replace(reached_ms=np.array([[2.0, 6.0]]))
    # Nothing for 2 ms, half of it for 4 ms, all of it for 4 ms.
    assert figures(one, one).quality == pytest.approx((0.5 * 4 + 1.0 * 4) / 10)


def test_frames_that_were_overtaken_count_against_utility_but_are_not_late() -> None:
    one = outcomes([1, 0], [5, 0], [1, 1], looked_at=[True, False])
    found = figures(one, outcomes([1, 1], [5, 5], [1, 1]))
    assert (found.dropped, found.late, found.of_oracle) == (1, 0, 0.5)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 5000), st.floats(0, 1))
def test_the_interval_holds_what_was_seen(trials: int, share: float) -> None:
    hits = round(share * trials)
    low, high = wilson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1


def test_recovery_beside_a_twin_counts_frames_until_answers_are_as_good_as_his() -> None:
    twin = outcomes([2] * 10, [5] * 10, [2] * 10)
    assert recovery_beside(outcomes([1, 1, 2, 1] + [2] * 6, [5] * 10, [2] * 10), twin, 0, 10) == 4
    assert recovery_beside(twin, outcomes([1] * 10, [5] * 10, [2] * 10), 0, 10) == 0
    assert recovery_beside(outcomes([1] * 10, [5] * 10, [2] * 10), twin, 0, 10) is None
