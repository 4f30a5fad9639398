"""Policies: when an answer is good enough, and what they are not allowed to do."""

import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import pytest

import edgekit
from edgekit.bundle import Bundle, CalibrationSpec, ExitSpec, Manifest
from edgekit.errors import OptionError
from edgekit.runtime.confidence import MEASURES, confidence, confidence_of_one
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.policies import (
    AverageBudget,
    Confidence,
    FixedStage,
    Policy,
    Reached,
)
from edgekit.runtime.scheduler import Scheduler
from edgekit.runtime.session import Session

CLASSES = 10


def logits(probability: float) -> np.ndarray:
    """(1, classes) whose largest softmax is ``probability``."""
    rest = (1 - probability) / (CLASSES - 1)
    return np.log(np.array([[probability] + [rest] * (CLASSES - 1)], np.float32))


def reached(*probabilities: float) -> Reached:
    return Reached(0.0, None, [(f"stage{k + 1}", logits(p)) for k, p in enumerate(probabilities)])


@pytest.fixture
def classifier(classifier_bundle: Bundle) -> Manifest:
    """Two stages with an exit each; no calibrated thresholds."""
    return classifier_bundle.manifest


def checked(policy: Confidence, manifest: Manifest) -> Confidence:
    policy.check(manifest)
    return policy


# --- Confidence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_a_batch_is_told_what_its_samples_are_told_one_by_one(classifier: Manifest, measure: str) -> None:
    policy = checked(Confidence({"stage1": 0.4}, measure), classifier)
    policy.shift = 0.1
    samples = [reached(p) for p in np.linspace(0.1, 0.999, 50)]
    told = policy.stop_each(samples)
    assert list(told) == [policy.stop(one) for one in samples]
    assert None in told and "confident" in told
    fixed: Policy = FixedStage("stage1")
    assert list(fixed.stop_each([reached(0.5), reached(0.5, 0.5)])) == ["fixed", None]


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_one_sample_is_as_sure_as_it_is_among_many_to_the_last_bit(measure: str) -> None:
    many = np.random.RandomState(0).standard_normal((500, 10)).astype(np.float32) * 8
    together = confidence(many, measure, 1.7)
    assert [confidence_of_one(row[None], measure, 1.7) for row in many] == together.tolist()


def test_a_frame_stops_at_the_first_exit_that_is_sure_enough(classifier: Manifest) -> None:
    policy = checked(Confidence({"stage1": 0.8}), classifier)
    assert policy.stop(reached(0.79)) is None
    assert policy.stop(reached(0.81)) == "confident"
    assert policy.stop(reached(0.81, 0.99)) is None  # stage2 has no threshold


def test_the_extremes_of_a_threshold_always_and_never_stop(classifier: Manifest) -> None:
    assert checked(Confidence([0.0]), classifier).stop(reached(0.11)) == "confident"
    assert checked(Confidence([1.0]), classifier).stop(reached(0.999)) is None


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_every_measure_is_0_for_a_uniform_and_1_for_a_certain_answer_and_rises_between(measure: str) -> None:
    values = [float(confidence(logits(p)[0], measure)) for p in (0.1, 0.3, 0.6, 0.9, 1 - 1e-7)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.1 if measure == "probability" else 0.0, abs=1e-6)
    assert values[-1] == pytest.approx(1.0, abs=1e-4)


def test_the_measures_are_those_of_their_definitions() -> None:
    random = np.random.RandomState(0)
    for _ in range(20):
        given = random.randn(CLASSES).astype(np.float32) * 5
        exponents = [float(np.exp(np.float64(value))) for value in given]
        shares = sorted(value / sum(exponents) for value in exponents)
        entropy = -sum(share * np.log(share) for share in shares)
        assert confidence(given, "probability") == pytest.approx(shares[-1])
        assert confidence(given, "margin") == pytest.approx(shares[-1] - shares[-2])
        assert confidence(given, "entropy") == pytest.approx(1 - entropy / np.log(CLASSES))


def test_large_logits_do_not_overflow() -> None:
    for measure in MEASURES:
        assert confidence(np.array([1e4, -1e4, 0], np.float32), measure) == pytest.approx(1.0)


def test_thresholds_that_were_calibrated_into_the_bundle_are_taken(classifier: Manifest) -> None:
    calibrated = classifier._replace(exits={"stage1": ExitSpec(0.6, None), "stage2": ExitSpec(None, 0.9)})
    assert checked(Confidence(), calibrated).thresholds == {"stage1": 0.6}
    with pytest.raises(OptionError, match="no calibrated thresholds"):
        Confidence().check(classifier)


def test_where_calibrating_let_nobody_leave_early_nobody_does(classifier: Manifest) -> None:
    calibrated = classifier._replace(calibration=CalibrationSpec("probability", "record.json"))
    assert checked(Confidence(), calibrated).stop(reached(1.0)) is None
    with pytest.raises(OptionError, match="nobody leaves early, which leaves no threshold to move"):
        AverageBudget(20.0, Confidence()).check(calibrated)


def test_the_measure_and_the_temperatures_of_the_calibration_are_taken(classifier: Manifest) -> None:
    calibrated = classifier._replace(
        exits={"stage1": ExitSpec(0.5, None, None, 4.0)}, calibration=CalibrationSpec("margin", "record.json")
    )
    tempered = logits(0.9) / 4
    margin = float(confidence(tempered[0], "margin"))
    assert 0.1 < margin < 0.5  # less than the threshold, which the logits as they are would pass
    assert float(confidence(logits(0.9)[0], "margin")) > 0.5
    assert checked(Confidence(), calibrated).stop(reached(0.9)) is None
    assert checked(Confidence({"stage1": margin * 0.99}), calibrated).stop(reached(0.9)) == "confident"
    with pytest.raises(OptionError, match="calibrated for margin"):
        Confidence(measure="entropy").check(calibrated)
    assert checked(Confidence([0.1], measure="entropy"), calibrated).stop(reached(0.99)) == "confident"


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ([0.5, 0.5, 0.5], "3 thresholds for 2 exits"),
        ([], "0 thresholds for 2 exits"),
        ({"stage7": 0.5}, "'stage7' has no exit; the stages with one are stage1, stage2"),
        ([1.5], "must be from 0 to 1"),
        ([float("nan")], "must be from 0 to 1"),
        (["high"], "stage1='high' must be from 0 to 1"),
        (0.5, "one number for each exit"),
        ("high", "one number for each exit"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(
    classifier: Manifest, thresholds: Sequence[float], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        Confidence(thresholds).check(classifier)


def test_an_unknown_measure_is_refused_with_what_there_is() -> None:
    with pytest.raises(OptionError, match="probability, margin, entropy"):
        Confidence([0.5], measure="vibes")


def test_confidence_on_a_network_without_logits_is_refused_when_it_is_loaded(stereo_bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="needs logits, and toy is a network for stereo"):
        Session.open(stereo_bundle.path, policies=[Confidence([0.5, 0.5])])


def test_a_confident_classifier_answers_early(classifier_bundle: Bundle) -> None:
    with Session.open(classifier_bundle.path, policies=[Confidence([0.0])]) as session:
        result = session.infer(**session.golden()[0])
        assert (result.stage, result.reason) == ("stage1", "confident")
        assert session.infer(budget_ms=10_000, **session.golden()[0]).reason == "confident"


# --- Others, and together ---------------------------------------------------------------------------------------------


def test_a_fixed_stage_is_the_last(virtual: Callable[..., Session], stereo_bundle: Bundle) -> None:
    with Session.open(stereo_bundle.path, policies=[FixedStage("stage2")]) as session:
        result = session.infer(**session.golden()[0])
        assert (result.stage, result.reason) == ("stage2", "fixed")
    with pytest.raises(OptionError, match="'stage3' has no exit"):
        Session.open(stereo_bundle.path, policies=[FixedStage("stage3")])


class Stop(Policy):
    def __init__(self, word: Optional[str]) -> None:
        self.word = word
        self.asked: List[int] = []

    def stop(self, reached: Reached) -> Optional[str]:
        self.asked.append(len(reached.exits))
        return self.word


def test_policies_are_asked_in_order_and_only_at_exits(stereo_bundle: Bundle) -> None:
    patient, impatient = Stop(None), Stop("enough")
    with Session.open(stereo_bundle.path, policies=[patient]) as session:
        assert session.infer(**session.golden()[0]).reason == "final"
    assert patient.asked == [1, 2]  # not after stage3, which has no exit, nor after the last
    with Session.open(stereo_bundle.path, policies=[patient, impatient]) as session:
        assert session.infer(**session.golden()[0]).reason == "enough"


def test_no_policy_makes_a_stage_run_that_does_not_fit() -> None:
    model = LatencyModel(["stage1", "stage2"])
    model.start("stage2", [50.0] * 3)
    scheduler = Scheduler([("stage1", True), ("stage2", True)], model, [Stop(None)])
    decision = scheduler.next(10.0, 30.0, 1, [("stage1", logits(0.5))])
    assert (decision.run, decision.reason) == (False, "budget")


def test_a_policy_that_raises_leaves_the_answer_and_the_next_frame(stereo_bundle: Bundle) -> None:
    class Broken(Policy):
        frames = 0

        def stop(self, reached: Reached) -> Optional[str]:
            self.frames += 1
            if self.frames == 1:
                raise ZeroDivisionError("mine")
            return None

    for budget in (None, 10_000):
        with Session.open(stereo_bundle.path, policies=[Broken()]) as session:
            result = session.infer(budget_ms=budget, **session.golden()[0])
            assert (result.stage, result.reason) == ("stage1", "error")
            assert result.error == "a policy failed: ZeroDivisionError: mine"
            assert session.infer(budget_ms=budget, **session.golden()[0]).reason == "final"


@pytest.mark.parametrize("given", [FixedStage("stage1"), "fixed", [FixedStage], ["fixed"], [None], 5])
def test_what_is_no_list_of_policies_is_refused_with_an_example(stereo_bundle: Bundle, given: object) -> None:
    with pytest.raises(OptionError, match=r"must be a list of policies, such as \[FixedStage\('stage2'\)\]"):
        Session.open(stereo_bundle.path, policies=given)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"budget_ms": 10_000}, {"budget_ms": 10_000, "overrun": "finish"}])
def test_a_policy_that_raises_when_a_frame_is_over_costs_neither_its_answer_nor_the_next(
    stereo_bundle: Bundle, options: Dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Policy):
        def over(self, elapsed_ms: float) -> None:
            raise ZeroDivisionError("mine")

    with Session.open(stereo_bundle.path, policies=[Broken()]) as session:
        for _ in range(2):
            assert session.infer(**options, **session.golden()[0]).reason == "final"
        assert session.submit(**session.golden()[0]).result(20_000).reason == "final"
    assert "Broken.over raised" in caplog.text


# --- The average budget -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean_ms", [14.0, 20.0, 26.0])
@pytest.mark.parametrize("threshold", [0.3, 0.9])
@pytest.mark.parametrize(
    ("harder", "slower"), [(0.3, 1.0), (0.0, 1.4)], ids=["harder scene", "slower device"]
)
def test_the_mean_latency_is_held_wherever_the_thresholds_began_and_whatever_becomes_otherwise(
    classifier: Manifest, mean_ms: float, threshold: float, harder: float, slower: float
) -> None:
    # Three exits of 10 ms each; how sure a frame is at the first two is drawn anew for every frame.
    three = classifier._replace(
        stages=tuple(classifier.stages[0]._replace(name=f"stage{k}") for k in (1, 2, 3))
    )
    random = np.random.RandomState(0)
    policy = AverageBudget(mean_ms, Confidence([threshold, threshold]), window=100)
    policy.check(three)
    taken: List[float] = []
    for frame in range(1500):
        hard, pace = (harder, slower) if frame >= 1000 else (0.0, 1.0)
        sure = np.clip(random.beta(2, 2, 2) - hard, 0.11, 0.999)
        sure.sort()
        stages = 3
        for k in (1, 2):
            if policy.stop(reached(*sure[:k])):
                stages = k
                break
        taken.append(10.0 * stages * pace)
        policy.over(taken[-1])
    assert np.mean(taken[200:1000]) == pytest.approx(mean_ms, rel=0.03)
    assert np.mean(taken[1100:]) == pytest.approx(mean_ms, rel=0.03)


def test_a_mean_that_cannot_be_held_does_not_wind_the_thresholds_up(classifier: Manifest) -> None:
    policy = AverageBudget(1.0, Confidence([0.5]), window=10)
    policy.check(classifier)
    for _ in range(10_000):
        policy.over(100.0)
    assert policy.stop(reached(0.11)) == "confident"
    for _ in range(60):
        policy.over(0.0)
    assert policy.stop(reached(0.2)) is None


def test_an_average_budget_of_nonsense_is_refused() -> None:
    bad: Dict[str, float] = {"zero": 0.0, "nan": float("nan"), "inf": float("inf"), "negative": -1.0}
    for value in [*bad.values(), "20", None, True]:
        with pytest.raises(OptionError, match="mean_ms"):
            AverageBudget(value, Confidence([0.5]))  # type: ignore[arg-type]
    for window in (1, 2.5, "many"):
        with pytest.raises(OptionError, match="window"):
            AverageBudget(10.0, Confidence([0.5]), window=window)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="confidence=None: must be the Confidence"):
        AverageBudget(10.0, None)  # type: ignore[arg-type]


def test_the_policy_of_ones_own_in_the_documentation_works(repository: Path, stereo_bundle: Bundle) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (repository / "docs" / "scheduler.md").read_text(), re.DOTALL)
    code = next(block for block in blocks if "class Settled" in block).replace(
        "anynet.edgekit", stereo_bundle.path
    )
    names: Dict[str, object] = {"edgekit": edgekit}
    exec(code, names)
    session = names["session"]
    assert isinstance(session, Session)
    with session:
        one = np.random.RandomState(0).randn(1, 3, 16, 32).astype(np.float32)
        # Their difference is 0 everywhere, so stage2 changes nothing
        same = session.infer(left=one, right=one)
        assert (same.stage, same.reason) == ("stage2", "settled")
        assert session.infer(left=one, right=-one).reason == "final"
