"""The verdict: what pays is called frontier, what does not dominated, and what the samples do not separate is left open."""

from typing import Optional, Tuple

import numpy as np
import pytest

from edgekit.runtime.calibration.exiting import Evidence
from edgekit.runtime.calibration.verdict import DOMINATED, FRONTIER, UNKNOWN, Timed, Verdict, judge, summary

EXITS = ("stage1", "stage2", "stage3")
MS = np.array([10.0, 20.0, 30.0])


def timed(samples: int, telling: float, asking: float = 0.1, seed: int = 0, gain: float = 1.0) -> Timed:
    """Exits of 10, 20 and 30 ms whose confidence tells how ``telling`` (0 to 1) whether they are right.

    ``asking`` is what asking an exit takes, in ms; ``gain`` how much better later exits are.
    """
    random = np.random.RandomState(seed)
    difficulty = random.rand(samples)
    skill = (0.6 + gain * np.array([0.0, 0.15, 0.3]))[:, None]
    right = difficulty < skill
    sure = telling * (skill - difficulty) + (1 - telling) * random.randn(3, samples)
    confidence = 1 / (1 + np.exp(-10 * sure))
    plain = MS[:, None] + random.rand(3, samples)
    return Timed(
        Evidence(confidence, right),
        plain,
        MS[:, None] + random.rand(3, samples) + asking * np.arange(1, 4)[:, None],
    )


def verdicts(verdict: Verdict) -> Tuple[Optional[str], ...]:
    return tuple(one.verdict for one in verdict.comparisons)


def test_exits_that_know_when_they_are_right_pay() -> None:
    found = judge(timed(3000, 1.0), None)
    assert verdicts(found) == (None, FRONTIER, FRONTIER)
    last = found.comparisons[-1]
    # 60 % leave at 10 ms, 15 % at 20 and 25 % at 30: 16.5 ms of 30, and nothing is lost.
    assert last.ratio == pytest.approx(16.5 / 30, abs=0.05)
    low, high = last.ratio_interval
    assert low is not None and high is not None
    assert low <= last.ratio <= high < 1
    assert summary(found, EXITS).startswith("Early exits pay here: the accuracy of all stages in 0.5")
    assert found.standing is None


def test_exits_that_do_not_know_when_they_are_right_do_not_pay() -> None:
    found = judge(timed(3000, 0.0, asking=1.0), None)
    assert found.comparisons[-1].verdict == DOMINATED
    assert found.comparisons[-1].ratio == pytest.approx(1.1, abs=0.05)
    assert "do not pay here" in summary(found, EXITS)


def test_an_exit_that_is_as_accurate_as_all_stages_makes_leaving_early_pointless() -> None:
    found = judge(timed(3000, 1.0, gain=0.0), None)
    assert "stage1 by itself is as accurate as all stages" in summary(found, EXITS)


def test_a_few_samples_are_not_made_to_speak() -> None:
    found = judge(timed(40, 0.5, asking=1.0), None)
    assert found.comparisons[-1].verdict == UNKNOWN
    assert "cannot be told from 40 samples" in summary(found, EXITS)


@pytest.mark.parametrize("seed", range(8))
def test_what_makes_no_difference_is_rarely_given_a_verdict(seed: int) -> None:
    # Asking costs nothing and tells nothing: early exits mix the exits at random, as slow as they are accurate.
    found = judge(timed(400, 0.0, asking=0.0, seed=seed), None)
    assert found.comparisons[-1].verdict != FRONTIER


def test_the_bundles_own_thresholds_are_judged_against_every_exit() -> None:
    data = timed(3000, 1.0)
    right = judge(data, np.array([0.5, 0.5, -np.inf])).standing
    assert right is not None
    assert right.verdict == FRONTIER
    assert right.accuracy == pytest.approx(0.9, abs=0.02)
    assert right.mean_ms == pytest.approx(17, abs=0.7)
    never = judge(data, np.array([np.inf, np.inf, -np.inf])).standing
    assert never is not None
    assert never.verdict == DOMINATED  # all stages by themselves are as accurate, and nobody is asked
    assert never.beaten == 1.0


def test_a_burst_of_a_neighbour_does_not_decide() -> None:
    data = timed(2000, 1.0)
    calm = judge(data, None).comparisons[-1]
    data.asked_ms[:, ::50] *= 30
    loud = judge(data, None).comparisons[-1]
    assert loud.verdict == FRONTIER
    assert loud.ratio == pytest.approx(calm.ratio, abs=0.05)
