"""How early callers set out for their deadlines: as early as the promise needs, and no earlier."""

import numpy as np
import pytest

from edgekit.runtime.punctuality import WayBack

BUDGET = 60.0
EARLY = 5.0  # ms before the latest instant


def test_where_few_come_back_close_to_their_deadline_less_is_reserved_for_it() -> None:
    random = np.random.RandomState(0)
    many, few = WayBack(), WayBack()
    for number, took in enumerate(0.2 + random.exponential(0.1, 2000)):
        many.add(took)
        few.add(took, None if number % 20 == 0 else EARLY)
    assert 0.5 < few.reserve_ms(BUDGET) < 0.8 * many.reserve_ms(BUDGET)


def test_the_ways_back_from_the_middle_of_a_stage_count_where_they_are_longer() -> None:
    way = WayBack()
    for number in range(2000):
        way.add(*((0.5, None) if number % 50 == 0 else (0.2, EARLY)))
    assert way.reserve_ms(BUDGET) == 0.5


@pytest.mark.parametrize("close_share", [0.01, 0.05, 0.2])
def test_whatever_share_comes_back_close_fewer_are_late_than_is_promised(close_share: float) -> None:
    way, random, late, frames = WayBack(), np.random.RandomState(1), 0, 20_000
    for _ in range(frames):
        close = bool(random.random_sample() < close_share)
        took = (0.3 if close else 0.2) * random.lognormal(0.0, 0.2)
        late += close and took > way.reserve_ms(BUDGET)
        way.add(took, None if close else EARLY)
    assert late <= 0.001 * frames


def test_a_deadline_that_becomes_tight_is_noticed_within_a_hundred_frames() -> None:
    way, random = WayBack(), np.random.RandomState(2)
    for took in 0.2 + random.exponential(0.1, 1000):
        way.add(took, EARLY)
    loose = way.reserve_ms(BUDGET)
    for took in 0.2 + random.exponential(0.1, 100):
        way.add(took)
    assert way.reserve_ms(BUDGET) > 1.3 * loose


def test_for_answers_that_come_just_before_the_latest_instant_as_much_is_reserved_as_they_need() -> None:
    way, random, late, frames = WayBack(), np.random.RandomState(3), 0, 20_000
    for _ in range(frames):
        left, took = (
            float(random.uniform(0.0, 20.0)),
            0.3 * random.lognormal(0.0, 0.3),
        )  # one in twenty within a ms
        late += took > left + way.reserve_ms(BUDGET)
        way.add(took, left)
    assert late <= 0.001 * frames
    assert way.reserve_ms(BUDGET) < 0.9  # less than the longest


def test_a_stall_says_nothing_of_those_answers() -> None:
    way, random = WayBack(), np.random.RandomState(4)
    for took in 0.3 * random.lognormal(0.0, 0.3, 1000):
        way.add(took, float(random.uniform(0.0, 20.0)))
    before = way.reserve_ms(BUDGET)
    way.add(50.0, 0.5)
    assert way.reserve_ms(BUDGET) < before + 0.2
