"""How early callers set out for their deadlines: as early as the promise needs, and no earlier."""

import numpy as np
import pytest

from edgekit.runtime.punctuality import WayBack

BUDGET = 60.0


def test_where_few_come_back_close_to_their_deadline_less_is_reserved_for_it() -> None:
    random = np.random.RandomState(0)
    many, few = WayBack(), WayBack()
    for number, took in enumerate(0.2 + random.exponential(0.1, 2000)):
        many.add(took)
        few.add(took, close=number % 20 == 0)
    assert 0.5 < few.reserve_ms(BUDGET) < 0.8 * many.reserve_ms(BUDGET)


def test_the_ways_back_from_the_middle_of_a_stage_count_where_they_are_longer() -> None:
    way = WayBack()
    for number in range(2000):
        way.add(0.5 if number % 50 == 0 else 0.2, close=number % 50 == 0)
    assert way.reserve_ms(BUDGET) == 0.5


@pytest.mark.parametrize("close_share", [0.01, 0.05, 0.2])
def test_whatever_share_comes_back_close_fewer_are_late_than_is_promised(close_share: float) -> None:
    way, random, late, frames = WayBack(), np.random.RandomState(1), 0, 20_000
    for _ in range(frames):
        close = bool(random.random_sample() < close_share)
        took = (0.3 if close else 0.2) * random.lognormal(0.0, 0.2)
        late += close and took > way.reserve_ms(BUDGET)
        way.add(took, close)
    assert late <= 0.001 * frames


def test_a_deadline_that_becomes_tight_is_noticed_within_a_hundred_frames() -> None:
    way, random = WayBack(), np.random.RandomState(2)
    for took in 0.2 + random.exponential(0.1, 1000):
        way.add(took, close=False)
    loose = way.reserve_ms(BUDGET)
    for took in 0.2 + random.exponential(0.1, 100):
        way.add(took)
    assert way.reserve_ms(BUDGET) > 1.3 * loose
