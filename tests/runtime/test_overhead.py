"""What a frame takes besides its stages."""

import numpy as np

from edgekit.runtime.overhead import Overhead


def test_of_an_overhead_that_nobody_has_seen_nothing_is_known() -> None:
    assert Overhead().predict() is None


def test_about_one_of_a_hundred_takes_longer_than_what_is_predicted() -> None:
    random, overhead, longer = np.random.RandomState(0), Overhead(), 0
    for number in range(5000):
        took = float(random.lognormal(-3, 0.3))
        longer += number >= 1000 and took > (overhead.predict() or 0.0)
        overhead.learn(took)
    assert 20 <= longer <= 60


def test_a_machine_that_has_become_quicker_is_believed_when_its_slow_answers_are_long_ago() -> None:
    overhead = Overhead()
    for took in [1.0] * 10 + [0.25] * 256:
        overhead.learn(took)
    assert overhead.predict() == 0.25
