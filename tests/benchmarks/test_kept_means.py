"""A calibrated mean is judged at the pace that the machine had while it was held to it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kept_means import Kept, textured


def test_a_machine_that_became_slower_is_not_taken_for_a_broken_promise() -> None:
    slower = Kept(
        "net",
        goal_ms=10.0,
        mean_ms=13.2,
        all_promised_ms=20.0,
        all_ms=26.0,
        shares_ms=10.0,
        error=0.01,
        frames=600,
    )
    assert slower.by_clock == pytest.approx(1.32)
    assert slower.at_pace == pytest.approx(13.2 / 13.0)
    assert slower.reached


def test_a_promise_that_is_broken_at_an_even_pace_is_told() -> None:
    for mean in (9.4, 10.6):
        assert not Kept("net", 10.0, mean, 20.0, 20.0, mean, 0.01, 600).reached


def test_what_a_mean_missed_is_split_into_who_left_where_and_what_that_took() -> None:
    one = Kept("net", 10.0, 13.2, 20.0, 24.0, shares_ms=10.5, error=0.01, frames=600)
    assert one.by_shares == pytest.approx(1.05)
    assert one.by_shares * one.by_times == pytest.approx(one.at_pace)


def test_pictures_made_up_for_it_differ_and_stay_the_same_from_run_to_run() -> None:
    first, second = textured(6, 48), textured(6, 48)
    assert first.shape == (6, 48, 48, 3)
    assert np.array_equal(first, second)
    assert len({picture.tobytes() for picture in first}) == 6
