"""At which pace a profile counts: that of the frames of now, unless these cannot be the same device's."""

import argparse
from collections import namedtuple

import numpy as np
import pytest

from edgekit.runtime.calibration.asking import Asking
from edgekit.runtime.calibration.costs import _mean
from edgekit.runtime.profile import Profile, StageProfile, bundle_hash
from edgekit.runtime.session import Session
from edgekit.runtime.verbs.calibrate_costs import costs_of_device
from tests.toy_graphs import write_exits

STAGES = ("stage1", "stage2", "stage3")
PROFILED = (5.0, 10.0, 20.0)
# ms that a frame takes beside its stages, between two of them, and a quarter more for each exit that is asked
OVERHEAD, BETWEEN = 1.0, 0.2
Frame = namedtuple("Frame", "elapsed_ms stage_ms begun_ms")


class Device:
    """A session on a device whose stages take ``pace`` times what its profile says."""

    def __init__(self, opened, profile, asking, pace):
        self.profile = profile
        self.variants = opened.variants
        self.fingerprint = opened.fingerprint
        self.asking = asking
        self.pace = pace

    def infer(self, **_):
        stages = {name: self.pace * ms for name, ms in zip(STAGES, PROFILED)}
        pause = BETWEEN + (0.25 if self.asking.asks else 0.0)
        begun = {name: 0.5 + sum(list(stages.values())[:k]) + k * pause for k, name in enumerate(STAGES)}
        return Frame(sum(stages.values()) + OVERHEAD + 2 * pause, stages, begun)


@pytest.fixture
def priced(tmp_path):
    bundle = write_exits(str(tmp_path / "exits.edgekit"), 3, 4)

    def of(pace, choice):
        asking = Asking(STAGES)
        with Session.open(bundle.path, warmup=0) as opened:
            stages = {name: StageProfile("plain", (ms,) * 50) for name, ms in zip(STAGES, PROFILED)}
            profile = Profile(opened.fingerprint, bundle_hash(bundle), stages)
            device = Device(opened, profile, asking, pace)
            options = argparse.Namespace(profile=None, pace=choice)
            return costs_of_device(options, bundle, device, asking, [[0.0]])

    return of


def answers(pace):
    """What the exits cost: the stages up to them, what comes beside and between these, and asking all but the last."""
    sums = [sum(PROFILED[: k + 1]) * pace for k in range(3)]
    return [total + OVERHEAD + BETWEEN * k + 0.25 * min(k + 1, 2) for k, total in enumerate(sums)]


@pytest.mark.parametrize("pace", [0.63, 0.98, 1.37])
def test_goals_are_of_the_pace_that_frames_have_now_and_both_paces_are_said(priced, pace):
    found = priced(pace, "now")
    assert found.costs.mean == pytest.approx(answers(pace))
    assert found.costs.p99 == pytest.approx(answers(pace))
    assert f"{35 * pace:.4g} ms now, and took 35 when" in found.costs.source
    assert found.pace.to_json() == {"profile_ms": 35.0, "now_ms": pytest.approx(35 * pace)}
    assert not found.missing


@pytest.mark.parametrize("pace", [0.4, 2.5])
def test_a_profile_that_cannot_be_of_this_device_is_kept_to_and_the_difference_is_said(priced, pace):
    found = priced(pace, "now")
    assert found.costs.mean == pytest.approx(answers(1.0))
    assert "too far apart" in found.missing[0] and "edgekit bench" in found.missing[0]


def test_a_profile_counts_as_it_was_measured_where_that_is_asked_for_and_what_becomes_of_means_is_said(
    priced,
):
    found = priced(0.7, "profile")
    assert found.costs.mean == pytest.approx(answers(1.0))
    assert "0.70 of those promised" in found.missing[0] and "--pace now" in found.missing[0]
    assert priced(1.03, "profile").missing == ()


def test_stages_that_are_slowed_by_different_factors_count_each_as_it_is_now(priced, monkeypatch):
    slowed = {"stage1": 1.5, "stage2": 1.0, "stage3": 1.0}
    inferred = Device.infer

    def infer(self, **inputs):
        frame = inferred(self, **inputs)
        more = {name: slowed[name] * ms for name, ms in frame.stage_ms.items()}
        later = {name: begun + (0.0 if name == "stage1" else 2.5) for name, begun in frame.begun_ms.items()}
        return Frame(frame.elapsed_ms + 2.5, more, later)

    monkeypatch.setattr(Device, "infer", infer)
    assert priced(1.0, "now").costs.mean == pytest.approx([ms + 2.5 for ms in answers(1.0)])


def test_one_interrupted_run_does_not_raise_a_mean_by_a_sixth():
    runs = [0.15] * 149 + [4.37]
    assert np.mean(runs) > 1.15 * 0.15 and _mean(np.asarray(runs)) == pytest.approx(0.15, rel=0.02)
    skewed = np.random.RandomState(0).lognormal(0.0, 0.3, 2000)  # what is only skewed keeps its mean
    assert _mean(skewed) == pytest.approx(skewed.mean(), rel=0.01)
