"""`edgekit calibrate` as a process: what it says, what it writes, and its exit codes."""

import json
import os

import numpy as np
import pytest

from edgekit.bundle import read_bundle
from edgekit.runtime.profile import Profile, StageProfile, bundle_hash, write_profile
from edgekit.runtime.session import Session
from tests.toy_graphs import MEAN, SIDE, STD, exits_logits, exits_weights, write_exits

EXITS, CLASSES = 3, 4
STAGES = tuple(f"stage{k + 1}" for k in range(EXITS))


@pytest.fixture
def bundle(tmp_path):
    """A classifier with three exits, and a profile of this device that gives its stages 5, 10 and 20 ms."""
    made = write_exits(str(tmp_path / "exits.edgekit"), EXITS, CLASSES)
    with Session.open(made.path, warmup=0) as session:
        stages = {
            name: StageProfile("plain", (ms,) * 200)
            for name, ms in zip(STAGES, (5.0, 10.0, 20.0), strict=True)
        }
        write_profile(made, Profile(session.fingerprint, bundle_hash(made), stages))
    return made.path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures whose labels are drawn from what the last exit believes."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (1500, SIDE, SIDE, 3)).astype(np.uint8)
    tensors = ((images / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2).astype(np.float32)
    logits = exits_logits(tensors, exits_weights(EXITS, CLASSES))[-1]
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    labels = (random.random((1500, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, CLASSES - 1)
    path = str(tmp_path_factory.mktemp("data") / "data.npz")
    np.savez(path, images=images, labels=labels)
    return path


def test_the_frontier_is_shown_and_nothing_is_written_without_a_goal(edgekit, bundle, data):
    before = read_bundle(bundle).manifest
    done = edgekit("calibrate", bundle, "--data", data)
    assert done.returncode == 0, done.stderr
    assert "Exits by themselves" in done.stdout
    assert "Early exits" in done.stdout
    assert "No goal was given" in done.stdout
    assert read_bundle(bundle).manifest == before


def test_a_mean_is_written_into_the_bundle_and_kept_by_its_sessions(edgekit, bundle, data, tmp_path):
    logits, plot = tmp_path / "logits.npz", tmp_path / "frontier.png"
    done = edgekit(
        "calibrate",
        bundle,
        "--data",
        data,
        "--mean-ms",
        20,
        "--save-logits",
        logits,
        "--plot",
        plot,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["written"] is True
    assert told["seen"]["cost"] <= 20
    assert told["unseen"]["cost"] == pytest.approx(20, rel=0.05)
    assert plot.read_bytes().startswith(b"\x89PNG")
    kept = read_bundle(bundle, check="hash").manifest
    assert {name: spec.threshold for name, spec in kept.exits.items()} == told["thresholds"]
    # What its sessions do is what was told.
    arrays = np.load(data)
    with Session.open(bundle) as session:
        stages = [result.stage for result in session.infer_batch(arrays["images"])]
    shares = [stages.count(name) / len(stages) for name in STAGES]
    assert shares == pytest.approx(told["seen"]["shares"], abs=0.003)
    # And from the recorded logits comes the same, with the data's own profile and frames.
    again = edgekit("calibrate", bundle, "--data", logits, "--mean-ms", 20, "--dry-run", "--json")
    assert json.loads(again.stdout)["written"] is False
    assert json.loads(again.stdout)["temperatures"] == pytest.approx(told["temperatures"])
    run = edgekit("run", bundle, "--image", picture(tmp_path, arrays["images"][stages.index("stage1")]))
    assert "it is sure enough of its answer" in run.stdout
    every = edgekit("run", bundle, "--image", tmp_path / "one.npy", "--no-early-exit")
    assert "it is the last stage" in every.stdout
    assert edgekit("verify", bundle).returncode == 0


def picture(folder, array):
    np.save(folder / "one.npy", array)
    return folder / "one.npy"


def test_what_cannot_be_reached_is_said_with_the_nearest_and_nothing_is_written(edgekit, bundle, data):
    before = read_bundle(bundle).manifest
    done = edgekit("calibrate", bundle, "--data", data, "--mean-ms", 3)
    assert done.returncode == 1
    assert "NOT REACHED: a mean of 3 ms cannot be reached: leaving always at stage1 takes 5." in done.stdout
    done = edgekit("calibrate", bundle, "--data", data, "--p99-ms", 2, "--json")
    assert done.returncode == 1
    assert "which is the nearest p99 that can" in json.loads(done.stdout)["unreachable"]
    assert read_bundle(bundle).manifest == before


def test_a_loss_is_certified_or_refused_with_the_samples_it_takes(edgekit, bundle, data):
    done = edgekit("calibrate", bundle, "--data", data, "--max-loss", 5, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["certificate"]["at_most"] <= 0.05
    assert told["certificate"]["samples"] == 750
    done = edgekit("calibrate", bundle, "--data", data, "--max-loss", 0.1)
    assert done.returncode == 2
    assert "at least 5406 labelled samples are needed" in done.stderr


def test_the_budgeted_batch_procedure_takes_logits_as_they_are(edgekit, bundle, data):
    told = json.loads(edgekit("calibrate", bundle, "--data", data, "--geometric", 0.5, "--json").stdout)
    assert told["seen"]["shares"] == pytest.approx([4 / 7, 2 / 7, 1 / 7], abs=0.002)
    assert set(told["temperatures"].values()) == {1.0}
    assert len(told["frontier"]) == 40


def test_a_calibration_goes_to_another_copy_of_the_bundle_and_out_of_it_again(
    edgekit, bundle, data, tmp_path
):
    (tmp_path / "robot").mkdir()
    other = write_exits(str(tmp_path / "robot" / "exits.edgekit"), EXITS, CLASSES).path
    file = tmp_path / "t.json"
    assert (
        edgekit("calibrate", bundle, "--data", data, "--shares", "50,30,20", "--save", file).returncode == 0
    )
    assert edgekit("calibrate", other, "--apply", file).returncode == 0
    assert read_bundle(other).manifest.exits == read_bundle(bundle).manifest.exits
    # A bundle says of itself what it was calibrated for.
    assert "threshold" in edgekit("inspect", other).stdout
    assert edgekit("calibrate", other, "--clear").returncode == 0
    assert read_bundle(other).manifest.calibration is None
    assert not os.listdir(os.path.join(other, "calibration"))
    different = write_exits(str(tmp_path / "different.edgekit"), EXITS, CLASSES, seed=3).path
    done = edgekit("calibrate", different, "--apply", file)
    assert done.returncode == 2
    assert "is the calibration of another bundle" in done.stderr


def test_goals_in_ms_need_a_measured_device(edgekit, data, tmp_path):
    unmeasured = write_exits(str(tmp_path / "new.edgekit"), EXITS, CLASSES).path
    done = edgekit("calibrate", unmeasured, "--data", data, "--mean-ms", 10)
    assert done.returncode == 2
    assert "run `edgekit bench BUNDLE` first" in done.stderr
    done = edgekit("calibrate", unmeasured, "--data", data, "--max-loss", 5)
    assert done.returncode == 0
    assert "MMACs" in done.stdout


def test_another_device_is_calibrated_for_by_its_profile(edgekit, bundle, data, tmp_path):
    profile = tmp_path / "robot.json"
    entries = {
        name: {"variant": "plain", "durations_ms": [ms] * 9}
        for name, ms in zip(STAGES, (50, 100, 200), strict=True)
    }
    profile.write_text(json.dumps({"stages": entries}))
    told = json.loads(
        edgekit("calibrate", bundle, "--data", data, "--mean-ms", 200, "--profile", profile, "--json").stdout
    )
    assert [one["mean"] for one in told["costs"]["exits"].values()] == [50, 150, 350]
    assert told["unseen"]["cost"] == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no samples were given"),
        (["--data", "DATA", "--mean-ms", "5", "--max-loss", "1"], "give one goal"),
        (["--data", "DATA", "--shares", "0.5,0.5"], "2 shares for 3 exits"),
        (["--data", "DATA", "--shares", "a,b"], "give numbers such as"),
        (["--data", "nowhere.npz"], "there is no such file or folder"),
        (["--clear", "--mean-ms", "5"], "leave them out"),
        (["--data", "DATA", "--save", "nowhere/t.json", "--mean-ms", "5"], "there is no folder"),
    ],
)  # fmt: skip
def test_a_call_that_is_wrong_is_refused_in_a_sentence(refused, bundle, data, arguments, said):
    done = refused("calibrate", bundle, *[data if one == "DATA" else one for one in arguments])
    assert said in done.stderr


def test_a_network_that_is_no_classifier_is_refused(refused, stereo, data):
    done = refused("calibrate", stereo, "--data", data, "--mean-ms", 5)
    assert "is a network for stereo" in done.stderr


PICTURES = np.random.default_rng(1).integers(0, 256, (60, SIDE, SIDE, 3)).astype(np.uint8)
TENSORS = np.random.default_rng(2).standard_normal((60, 3, SIDE, SIDE)).astype(np.float32)
LABELS = np.arange(60) % CLASSES
LOGITS = np.random.default_rng(3).standard_normal((EXITS, 60, CLASSES)).astype(np.float32)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": PICTURES, "labels": LABELS + 1}, "labels are outside of 0 to 3"),
        ({"images": PICTURES, "labels": LABELS * 0 + 2}, "all 60 labels are 2"),
        ({"images": PICTURES, "labels": LABELS[:59]}, "59 labels for 60 samples"),
        ({"images": PICTURES[:0], "labels": LABELS[:0]}, "no samples"),
        ({"images": np.zeros((0, 3, SIDE, SIDE), np.float32), "labels": LABELS[:0]}, "no samples"),
        ({"images": np.repeat(TENSORS, 2, axis=3), "labels": LABELS}, "picture 0"),
        ({"images": TENSORS[:, :2], "labels": LABELS}, "picture 0"),
        ({"images": np.where(TENSORS[7, 1, 0, 0] == TENSORS, np.nan, TENSORS), "labels": LABELS}, "picture 7"),
        ({"images": PICTURES[:, 0, 0, 0], "labels": LABELS}, ""),
        ({"images": PICTURES.astype(np.int64), "labels": LABELS}, ""),
        ({"logits": LOGITS[:2], "labels": LABELS}, "logits of 2 exits"),
        ({"logits": LOGITS[:, :, :3], "labels": LABELS}, "and 3 classes"),
        ({"logits": np.where(LOGITS[1, 5, 2] == LOGITS, np.nan, LOGITS), "labels": LABELS}, "stage2's of sample 5"),
        ({"logits": LOGITS, "labels": LABELS, "bundle": "another"}, "recorded from another bundle"),
    ],
)  # fmt: skip
def test_samples_that_cannot_be_used_are_refused_and_the_bundle_stays(
    refused, bundle, tmp_path, arrays, said
):
    before = read_bundle(bundle).manifest
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    done = refused("calibrate", bundle, "--data", path, "--mean-ms", 20)
    assert said in done.stderr and done.stderr.strip()
    assert read_bundle(bundle, check="hash").manifest == before


def test_too_few_samples_for_a_loss_are_refused_before_anything_runs(refused, bundle, tmp_path):
    np.savez(tmp_path / "few.npz", images=PICTURES, labels=LABELS)
    done = refused("calibrate", bundle, "--data", tmp_path / "few.npz", "--max-loss", 0.5)
    assert "at least 1078 labelled samples are needed" in done.stderr.replace(",", "")


def test_damaged_samples_are_refused_in_a_sentence(refused, bundle, tmp_path):
    np.savez(tmp_path / "whole.npz", images=PICTURES, labels=LABELS)
    whole = (tmp_path / "whole.npz").read_bytes()
    for number, damaged in enumerate(
        (b"", whole[:100], whole[:-30], whole[:2000] + b"?" * 500 + whole[2500:])
    ):
        path = tmp_path / f"damaged{number}.npz"
        path.write_bytes(damaged)
        done = refused("calibrate", bundle, "--data", path, "--mean-ms", 20)
        assert path.name in done.stderr
