"""Goals: kept on the samples and on others, monotone, and refused in words where they cannot be reached or told."""

import math
import re
from typing import Dict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError, OptionError
from edgekit.runtime.calibration.calibrating import calibrate
from edgekit.runtime.calibration.costs import MACS, MILLISECONDS, Costs
from edgekit.runtime.calibration.exiting import Evidence, outcome
from edgekit.runtime.calibration.goals import Goal, Unreachable, reach
from edgekit.runtime.calibration.recorded_logits import Recorded

EXITS = ("stage1", "stage2", "stage3", "stage4")
MS = Costs(MILLISECONDS, EXITS, (2.0, 4.0, 7.0, 11.0), (3.0, 5.5, 9.0, 14.0), "a made-up device")


def made(samples: int, seed: int = 0, exits: int = len(EXITS)) -> Evidence:
    """Samples of different difficulty; an exit that is surer is right more often, and a later exit is mostly surer."""
    random = np.random.RandomState(seed)
    difficulty = random.rand(samples)
    skill = np.linspace(0.75, 1.15, exits)[:, None]
    sure = 1 / (1 + np.exp(-(8 * (skill - difficulty) + random.randn(exits, samples))))
    # One draw for all exits: what an exit has right, a surer one has right.
    correct = random.rand(samples) < sure
    return Evidence(sure, correct)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(2.0, 13.0), st.floats(2.0, 13.0))
def test_a_mean_is_kept_on_the_samples_themselves_and_thresholds_follow_it(
    seed: int, a: float, b: float
) -> None:
    evidence = made(300, seed)
    lower, higher = sorted((a, b))
    found = [reach(Goal(mean_ms=goal), evidence, MS).thresholds for goal in (lower, higher)]
    for goal, thresholds in zip((lower, higher), found):
        reached = outcome(evidence, thresholds)
        assert reached.mean(MS.mean) <= goal + 1e-9
        assert reached.shares.sum() == pytest.approx(1.0)
    assert (found[0] <= found[1]).all()


@pytest.mark.parametrize("goal", [2.5, 4.0, 6.0, 8.0, 10.5])
def test_a_mean_is_met_within_5_percent_on_samples_that_were_not_used(goal: float) -> None:
    thresholds = reach(Goal(mean_ms=goal), made(3000), MS).thresholds
    assert outcome(made(20000, seed=1), thresholds).mean(MS.mean) == pytest.approx(goal, rel=0.05)


def test_few_samples_are_said_to_tell_the_mean_of_others_as_badly_as_they_do() -> None:
    """Against the spread of means of 300 other sets of as many samples."""
    (note,) = reach(Goal(mean_ms=6.0), made(100), MS).notes
    thresholds = reach(Goal(mean_ms=6.0), made(20000, seed=1), MS).thresholds
    others = [outcome(made(100, seed), thresholds).mean(MS.mean) for seed in range(2, 302)]
    within = 100 * float(np.quantile(np.abs(np.asarray(others) / 6.0 - 1), 0.95))
    said = re.match(
        r"100 samples tell the mean of others to within (\d+) % with 95 % confidence; (\d+) would", note
    )
    assert said is not None
    assert float(said[1]) == pytest.approx(within, rel=0.25)
    assert reach(Goal(mean_ms=6.0), made(int(said[2]) + 200), MS).notes == ()


def test_a_mean_below_the_first_exit_is_refused_with_the_nearest() -> None:
    with pytest.raises(Unreachable, match=r"a mean of 1\.5 ms cannot be reached: .* stage1 takes 2 ms"):
        reach(Goal(mean_ms=1.5), made(100), MS)


def test_a_mean_above_the_last_exit_lets_nobody_leave_and_says_so() -> None:
    found = reach(Goal(mean_ms=20), made(100), MS)
    assert np.isinf(found.thresholds[:-1]).all()
    assert "nobody need leave early" in found.notes[0]


def test_a_p99_lets_nobody_beyond_the_last_exit_within_it() -> None:
    found = reach(Goal(p99_ms=9.5), made(500), MS)
    assert outcome(made(500, seed=2), found.thresholds).shares.tolist() == [0, 0, 1, 0]
    assert found.notes == ("nobody goes beyond stage3, whose p99 is 9 ms",)
    assert np.isinf(reach(Goal(p99_ms=14.0), made(500), MS).thresholds[:-1]).all()
    with pytest.raises(Unreachable, match=r"a p99 of 2\.9 ms cannot be reached: stage1 alone takes 3 ms"):
        reach(Goal(p99_ms=2.9), made(500), MS)


def test_a_mean_within_a_p99_keeps_both() -> None:
    reached = outcome(made(500), reach(Goal(mean_ms=4.0, p99_ms=9.5), made(500), MS).thresholds)
    assert reached.shares[3] == 0
    assert 3.8 < reached.mean(MS.mean) <= 4.0


@pytest.mark.parametrize("points", [0.5, 1.0, 3.0])
def test_a_loss_that_was_certified_is_rarely_exceeded_in_truth(points: float) -> None:
    truth = made(100_000, seed=99)
    held = []
    for seed in range(30):
        try:
            found = reach(Goal(max_loss=points / 100), made(4000, seed), MS)
        except Unreachable:
            held.append(True)
            continue
        reached = outcome(truth, found.thresholds)
        loss = truth.correct[-1].mean() - reached.correct.mean()
        held.append(loss <= points / 100)
        assert found.certificate is not None
        assert found.certificate.at_most <= points / 100
        assert reached.mean(MS.mean) < MS.mean[-1]
    assert np.mean(held) >= 0.9  # 95 % are promised


def test_the_more_loss_is_allowed_the_earlier_samples_leave() -> None:
    found = [reach(Goal(max_loss=loss), made(4000), MS).thresholds for loss in (0.01, 0.02, 0.05)]
    means = [outcome(made(4000), thresholds).mean(MS.mean) for thresholds in found]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1]


def test_too_few_samples_for_a_loss_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(InputError, match="at least 1078 labelled samples are needed") as refused:
        reach(Goal(max_loss=0.005), made(1000), MS)
    assert "1000 samples cannot show" in str(refused.value)
    with pytest.raises(InputError, match="at least 2154"):
        reach(Goal(max_loss=0.005, confidence=0.99), made(1000), MS)
    assert reach(Goal(max_loss=0.05), made(1000), MS).certificate is not None


def test_a_loss_that_leaving_early_always_exceeds_is_refused_with_the_nearest() -> None:
    right = np.array([[False], [False], [False], [True]])
    guessing = Evidence(made(1200).confidence, np.repeat(right, 1200, axis=1))
    with pytest.raises(
        Unreachable, match=r"cannot be reached by leaving early.* the nearest that can is at most"
    ):
        reach(Goal(max_loss=0.005), guessing, MS)


def test_shares_are_met() -> None:
    shares = (0.4, 0.3, 0.2, 0.1)
    reached = outcome(made(1000), reach(Goal(shares=shares), made(1000), MS).thresholds)
    assert reached.shares.tolist() == pytest.approx(list(shares), abs=0.0015)


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ({}, "give one goal"),
        ({"mean_ms": 5.0, "max_loss": 0.1}, "give one goal"),
        ({"shares": (0.5, 0.5, 0.0, 0.0), "p99_ms": 9.0}, "cannot be added to shares"),
        ({"shares": (0.5, 0.5)}, "2 shares for 4 exits"),
        ({"shares": (0.5, 0.5, 0.5, 0.5)}, "sum to 1"),
        ({"shares": (1.5, -0.5, 0.0, 0.0)}, "sum to 1"),
        ({"shares": (math.nan, 0.5, 0.5, 0.0)}, "sum to 1"),
        ({"shares": (0.5, 0.5, math.nan, 0.0)}, "sum to 1"),
        ({"geometric": 1e-300}, "no shares in float32"),
        ({"geometric": 1e30}, "no shares in float32"),
        ({"geometric": 1e300}, "no shares in float32"),
        ({"max_loss": 1.5}, "between 0 and 1"),
        ({"mean_ms": math.nan}, "positive number"),
        ({"max_loss": 0.01, "confidence": 1.0}, "less than 1"),
    ],
)
def test_what_is_no_goal_is_refused(goal: Dict[str, float], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        reach(Goal(**goal), made(100), MS)  # type: ignore[arg-type]


def test_milliseconds_need_a_measured_device() -> None:
    counted = Costs(MACS, EXITS, (1.0, 2.0, 3.0, 4.0), None, "multiply-adds")
    with pytest.raises(OptionError, match="edgekit bench"):
        reach(Goal(mean_ms=2.0), made(100), counted)
    assert reach(Goal(max_loss=0.05), made(1000), counted).certificate is not None


def recorded(samples: int, classes: int = 10, seed: int = 0, exits: int = len(EXITS)) -> Recorded:
    """Logits of exits that see the true class ever more clearly; too sure of themselves by a factor of 2.5."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, classes, samples)
    clear = 2.0 * np.abs(random.randn(samples, 1)) * np.eye(classes)[labels]
    noise = random.randn(exits, samples, classes)
    logits = 2.5 * (np.linspace(1.0, 2.5, exits)[:, None, None] * clear + noise)
    return Recorded(logits.astype(np.float32), labels, "made up")


def test_a_calibration_tells_what_it_found_and_keeps_its_goal_on_unseen_samples() -> None:
    found = calibrate(recorded(4000), MS, Goal(mean_ms=5.0))
    assert found.seen is not None and found.unseen is not None
    assert found.seen.cost <= 5.0
    assert found.unseen.cost == pytest.approx(5.0, rel=0.05)
    assert found.unseen.accuracy == pytest.approx(found.seen.accuracy, abs=0.02)
    assert found.scalings is not None
    for scaling in found.scalings:
        assert scaling.nll_after < scaling.nll_before
        assert scaling.ece_after < scaling.ece_before
    accuracies = [one.accuracy for one in found.frontier]
    assert accuracies[0] == pytest.approx(found.exits[0].accuracy)
    assert accuracies[-1] == pytest.approx(found.exits[-1].accuracy, abs=0.01)
    for one in found.frontier:
        assert sum(one.shares) == pytest.approx(1.0)
        assert one.interval[0] <= one.accuracy <= one.interval[1]
    # Early exits are not below the line from exit to exit.
    between = np.interp([one.cost for one in found.frontier], MS.mean, [one.accuracy for one in found.exits])
    assert (np.asarray(accuracies) >= between - 0.01).all()


def test_the_geometric_frontier_is_that_of_the_published_settings() -> None:
    found = calibrate(recorded(600), MS, Goal(geometric=0.5), temper=False)
    assert [one.goal for one in found.frontier][:3] == [0.05, 0.1, 0.15]
    assert len(found.frontier) == 40
    assert found.temperatures == (1.0,) * 4
