"""`edgekit bench --data` as a process: the verdict, in words and as a document, and what it refuses."""

import json

import numpy as np
import pytest

from tests.toy_graphs import SIDE, write_exits

CLASSES = 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_exits(str(tmp_path_factory.mktemp("bundle") / "exits.edgekit"), 3, CLASSES).path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    random = np.random.default_rng(0)
    path = str(tmp_path_factory.mktemp("data") / "data.npz")
    images = random.integers(0, 256, (300, SIDE, SIDE, 3)).astype(np.uint8)
    np.savez(path, images=images, labels=random.integers(0, CLASSES, 300))
    return path


def test_the_verdict_is_told_of_every_exit_and_of_the_thresholds_in_the_bundle(edgekit, bundle, data):
    assert edgekit("calibrate", bundle, "--data", data, "--shares", "0.4,0.3,0.3").returncode == 0
    done = edgekit("bench", bundle, "--runs", 20, "--data", data, "--samples", 200, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["early_exits"]
    assert told["samples"] == 200
    assert list(told["exits"]) == ["stage1", "stage2", "stage3"]
    assert told["exits"]["stage1"]["verdict"] is None
    for name in ("stage2", "stage3"):
        assert told["exits"][name]["verdict"] in ("frontier", "dominated", "cannot be told")
    times = [one["mean_ms"] for one in told["exits"].values()]
    assert times == sorted(times)
    assert told["thresholds"]["shares"] == pytest.approx([0.4, 0.3, 0.3], abs=0.1)
    assert told["summary"].startswith(("Early exits", "Whether early exits"))


def test_people_get_a_table_and_a_sentence(edgekit, bundle, data):
    done = edgekit("bench", bundle, "--runs", 20, "--data", data, "--samples", 60)
    assert done.returncode == 0, done.stderr
    assert (
        "Early exits against every exit by itself, at the same accuracy: 60 samples of data.npz"
        in done.stdout
    )
    assert "stage3 (all stages)" in done.stdout
    assert "early exits are" in done.stdout


def test_without_samples_there_is_no_verdict(edgekit, bundle):
    told = json.loads(edgekit("bench", bundle, "--runs", 20, "--json").stdout)
    assert told["early_exits"] is None


def test_what_cannot_be_judged_is_refused(edgekit, bundle, data, stereo, tmp_path):
    np.savez(
        tmp_path / "logits.npz", logits=np.zeros((3, 9, CLASSES), np.float32), labels=np.arange(9) % CLASSES
    )
    four = write_exits(str(tmp_path / "four.edgekit"), 3, CLASSES, batch=4).path
    for arguments, said in (
        ([bundle, "--data", tmp_path / "logits.npz"], "pictures are needed"),
        ([bundle, "--data", tmp_path / "none.npz"], "there is no such file"),
        ([stereo, "--data", data], "is a network for stereo"),
        ([four, "--data", data], "takes 4 pictures at once"),
        ([bundle, "--data", data, "--samples", 1], "all 1 labels are"),
    ):
        done = edgekit("bench", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
