"""What the latency model expects, against distributions that are known."""

import math
from typing import Dict, List

import numpy as np
import pytest

from edgekit.runtime.latency import TOGETHER, WINDOW, LatencyModel

BASES = {"stage1": 8.0, "stage2": 5.0, "stage3": 12.0, "stage4": 3.0}


def warmed(random: np.random.RandomState, runs: int = 20) -> LatencyModel:
    model = LatencyModel(BASES)
    for stage, base in BASES.items():
        model.start(stage, [base * noise(random) for _ in range(runs)])
    return model


def noise(random: np.random.RandomState) -> float:
    return float(random.lognormal(0, 0.05))


def frames(model: LatencyModel, random: np.random.RandomState, count: int, slowdown: float = 1.0) -> None:
    for _ in range(count):
        for stage, base in BASES.items():
            model.learn(stage, base * slowdown * noise(random))


def test_a_stage_that_was_never_seen_has_no_prediction() -> None:
    assert LatencyModel(["stage1"]).predict("stage1") is None


def test_a_steady_stage_exceeds_its_prediction_in_about_one_run_of_a_hundred() -> None:
    random = np.random.RandomState(0)
    model = warmed(random)
    frames(model, random, 300)
    late = 0
    for _ in range(2000):
        for stage, base in BASES.items():
            predicted = model.predict(stage)
            duration = base * noise(random)
            assert predicted is not None
            late += duration > predicted
            model.learn(stage, duration)
    assert late / (2000 * len(BASES)) < 0.02


def test_a_steady_stage_is_not_predicted_much_above_its_real_99th_percentile() -> None:
    random = np.random.RandomState(1)
    model = warmed(random)
    frames(model, random, 300)
    for stage, base in BASES.items():
        real = base * float(np.quantile([noise(random) for _ in range(20000)], 0.99))
        predicted = model.predict(stage)
        assert predicted is not None
        assert real * 0.95 < predicted < real * 1.25


@pytest.mark.parametrize("slowdown", [2.0, 3.0, 0.5])
def test_a_step_and_its_end_are_followed_within_five_frames(slowdown: float) -> None:
    random = np.random.RandomState(2)
    model = warmed(random)
    frames(model, random, 200)
    before = {stage: model.predict(stage) for stage in BASES}
    frames(model, random, 5, slowdown)
    for stage in BASES:
        assert model.predict(stage) == pytest.approx(before[stage] * slowdown, rel=0.2)
    frames(model, random, 5)
    for stage in BASES:
        assert model.predict(stage) == pytest.approx(before[stage], rel=0.2)


def test_what_slows_the_first_stages_is_expected_of_one_that_has_not_run_since() -> None:
    random = np.random.RandomState(3)
    model = warmed(random)
    frames(model, random, 50)
    before = model.predict("stage4")
    for stage in ("stage1", "stage2", "stage3"):
        model.learn(stage, BASES[stage] * 2)
    assert before is not None
    assert model.predict("stage4") == pytest.approx(2 * before, rel=0.25)


def test_one_outlier_hardly_changes_a_prediction_and_not_for_long() -> None:
    random = np.random.RandomState(4)
    model = warmed(random)
    frames(model, random, 200)
    before = {stage: model.predict(stage) for stage in BASES}
    model.learn("stage2", 500.0)
    for stage in BASES:
        assert model.predict(stage) == pytest.approx(before[stage], rel=0.2)
    frames(model, random, 1)
    for stage in BASES:
        assert model.predict(stage) == pytest.approx(before[stage], rel=0.1)


def test_a_stage_that_follows_the_one_before_it_is_predicted_from_that_and_others_are_not() -> None:
    apart: Dict[bool, List[float]] = {True: [], False: []}
    for seed in range(8):
        for follows, found in apart.items():
            random = np.random.RandomState(seed)
            model = warmed(random)
            for _ in range(300):
                pace = math.exp(random.normal(0.0, 0.1))
                for stage in BASES:
                    own = pace if follows else math.exp(random.normal(0.0, 0.1))
                    model.learn(stage, BASES[stage] * own)
            model.learn("stage1", BASES["stage1"] * 0.9)
            after_a_quick_one = model.predict("stage2", 0.5)
            for _ in range(3):
                for stage in BASES:
                    model.learn(stage, BASES[stage])
            model.learn("stage1", BASES["stage1"] * 1.15)
            after_a_slow_one = model.predict("stage2", 0.5)
            assert after_a_quick_one is not None and after_a_slow_one is not None
            found.append(after_a_slow_one / after_a_quick_one)
    assert np.mean(apart[True]) > 1.1
    assert np.mean(apart[False]) < 1.08


@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_after_a_slow_and_uneven_warm_up_half_of_the_runs_take_longer_than_is_expected_of_half(
    slower: float,
) -> None:
    random = np.random.RandomState(10)
    model = LatencyModel(BASES)
    for (stage, base), uneven in zip(BASES.items(), (1.0, 1.1, 1.05, 1.15)):
        model.start(stage, [base * slower * uneven * noise(random) for _ in range(20)])
    frames(model, random, 300)
    shares = [0.2, 0.5, 0.8]
    above = np.zeros((len(BASES), len(shares)))
    for _ in range(1000):
        for number, (stage, base) in enumerate(BASES.items()):
            duration = base * noise(random)
            above[number] += [duration > float(model.predict(stage, share) or 0.0) for share in shares]
            model.learn(stage, duration)
    assert above / 1000 == pytest.approx(1 - np.array([shares] * len(BASES)), abs=0.15)


def test_the_slowdown_of_a_steady_device_does_not_drift_away() -> None:
    random = np.random.RandomState(11)
    model = warmed(random)
    frames(model, random, 20_000)
    assert 0.5 < model.slowdown < 2.0


def test_a_stage_that_is_tried_in_vain_again_and_again_is_expected_to_take_longer() -> None:
    random = np.random.RandomState(12)
    model = warmed(random)
    frames(model, random, 300)
    left, tried = BASES["stage4"], []
    for frame in range(600):  # from now on it takes 15 % longer, and is cancelled before
        for stage in ("stage1", "stage2", "stage3"):
            model.learn(stage, BASES[stage] * noise(random))
        tried.append(float(model.predict("stage4", 0.2) or 0.0) <= left)
        if tried[-1]:
            model.learn_at_least("stage4", left)
        model.end(40.0 * frame)
    assert np.mean(tried[:50]) > 0.7
    assert np.mean(tried[300:]) < 0.3


def test_a_stage_that_alone_has_become_slower_is_believed_after_a_few_runs() -> None:
    random = np.random.RandomState(5)
    model = warmed(random)
    frames(model, random, 300)
    for _ in range(8):
        for stage, base in BASES.items():
            model.learn(stage, base * (3 if stage == "stage3" else 1))
    predicted = model.predict("stage3")
    assert predicted is not None
    assert predicted > 0.9 * 3 * BASES["stage3"]


def test_a_spike_in_a_short_warm_up_is_outvoted_by_the_first_frames() -> None:
    model = LatencyModel(["stage1", "stage2"])
    model.start("stage1", [0.05, 4.0])
    model.start("stage2", [20.0, 21.0])
    for _ in range(10):
        model.learn("stage1", 0.05)
    predicted = model.predict("stage2")
    assert predicted is not None
    assert predicted > 15


def test_outliers_do_not_keep_a_stage_from_being_run_for_ever() -> None:
    random = np.random.RandomState(7)
    model = warmed(random)
    frames(model, random, 300)
    usual = model.predict("stage4")
    for _ in range(3):
        model.learn("stage4", 5 * BASES["stage4"])
    feared = model.predict("stage4")
    assert usual is not None
    assert feared is not None
    assert feared > 3 * usual
    for frame in range(400):  # in which stage4 was not run, since it did not fit
        for stage in ("stage1", "stage2", "stage3"):
            model.learn(stage, BASES[stage] * noise(random))
        model.end(40.0 * frame)
    assert model.predict("stage4") == pytest.approx(usual, rel=0.1)


def test_a_stage_that_is_not_run_keeps_its_ordinary_spread() -> None:
    random = np.random.RandomState(8)
    model = warmed(random)
    frames(model, random, 300)
    before = model.predict("stage4")
    assert before is not None
    usual = before / model.slowdown
    for frame in range(2000):
        for stage in ("stage1", "stage2", "stage3"):
            model.learn(stage, BASES[stage] * noise(random))
        model.end(40.0 * frame)
    after = model.predict("stage4")
    assert after is not None
    assert after / model.slowdown == pytest.approx(usual, rel=0.05)


def test_few_measurements_are_not_trusted_to_show_the_spread() -> None:
    model = LatencyModel(["stage1"])
    model.start("stage1", [10.0, 10.0, 10.0])
    predicted = model.predict("stage1")
    assert predicted is not None
    assert predicted > 11


def test_memory_does_not_grow_with_the_number_of_runs() -> None:
    model = LatencyModel(["stage1"])
    for k in range(5 * WINDOW):
        model.learn("stage1", 5.0 + k % 7)
    assert model._stages["stage1"].count == WINDOW


def test_the_first_frame_after_a_pause_is_expected_to_be_as_slow_as_those_after_earlier_pauses() -> None:
    random = np.random.RandomState(6)
    model = warmed(random)
    now = 0.0

    def frame(pause: float, slowdown: float) -> List[float]:
        nonlocal now
        now += pause
        model.begin(now)
        expected = []
        for stage, base in BASES.items():
            predicted = model.predict(stage)
            assert predicted is not None
            expected.append(predicted / base)
            now += base * slowdown
            model.learn(stage, base * slowdown * noise(random))
        model.end(now)
        return expected

    for _ in range(100):
        usual = frame(5.0, 1.0)
    first = frame(2000.0, 2.0)
    assert first[0] == pytest.approx(usual[0], rel=0.2)  # nobody could know
    assert first[2] == pytest.approx(2 * usual[2], rel=0.2)  # but the first stages have told
    for _ in range(3):
        after = frame(5.0, 1.0)
        # A pause says nothing about the frames after the next
        assert after[0] == pytest.approx(usual[0], rel=0.2)
        again = frame(2000.0, 2.0)
        assert again[0] == pytest.approx(2 * usual[0], rel=0.2)


def test_it_does_not_matter_how_often_a_model_is_asked_only_what_ran() -> None:
    random = np.random.RandomState(7)
    seldom, often = (warmed(np.random.RandomState(1)) for _ in range(2))
    for _ in range(3 * TOGETHER):
        for stage, base in BASES.items():
            duration = base * noise(random)
            seldom.learn(stage, duration)
            often.learn(stage, duration)
            often.predict(stage)
    assert [seldom.predict(stage) for stage in BASES] == [often.predict(stage) for stage in BASES]
    assert seldom.slowdown == often.slowdown


def test_what_is_only_reported_is_never_many_runs_behind() -> None:
    model = warmed(np.random.RandomState(8))
    before = model.predicted("stage1")
    assert before == model.predict("stage1")
    for _ in range(TOGETHER // 4):  # of four stages each
        frames(model, np.random.RandomState(9), 1, slowdown=3.0)
    assert model.predicted("stage1") == model.predict("stage1") != before


def test_one_slow_run_says_nothing_of_a_frame_long_after_it() -> None:
    model = LatencyModel(BASES)
    for stage, base in BASES.items():
        model.start(stage, [base] * 20)
        model.learn(stage, base)
    model.learn("stage4", 1.5 * BASES["stage4"])
    soon = model.predict("stage1", 0.5)
    model.rest()
    later = model.predict("stage1", 0.5)
    assert soon is not None and soon > 1.02 * BASES["stage1"]  # in the same frame, stages are slow together
    assert later == pytest.approx(BASES["stage1"])
