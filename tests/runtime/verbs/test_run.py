"""`edgekit run` as a user types it: what is answered, what is written, and every way to call it wrongly."""

import json

import numpy as np
import pytest

from edgekit.runtime.pictures import read_disparity, read_picture
from edgekit.runtime.pictures.png import encode_png


@pytest.fixture
def pair(tmp_path):
    """Two pictures of one size, other than the network's."""
    for seed, name in enumerate(("left", "right")):
        picture = np.random.default_rng(seed).integers(0, 256, (50, 70, 3)).astype(np.uint8)
        (tmp_path / f"{name}.png").write_bytes(encode_png(picture))
    return ["--left", tmp_path / "left.png", "--right", tmp_path / "right.png"]


def answered(process):
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_every_stage_answers_without_a_budget(edgekit, stereo, pair):
    process = edgekit("run", stereo, *pair)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("stage3 answered (3 of 3) in ")
    assert "stage3: disparity 70 x 50 px" in process.stdout


def test_the_json_names_the_stage_its_times_and_its_slack(edgekit, stereo, pair):
    found = answered(edgekit("run", stereo, *pair, "--budget-ms", 5000, "--json"))
    assert (found["stage"], found["reason"], found["missed"], found["budget_ms"]) == (
        "stage3",
        "final",
        False,
        5000,
    )
    assert found["elapsed_ms"] + found["slack_ms"] == pytest.approx(5000)
    assert set(found["stages"]) == {"stage1", "stage2", "stage3"}
    for times in found["stages"].values():
        assert times["predicted_at_most_ms"] > 0 and times["measured_ms"] > 0
    assert found["exits"][0]["shape"] == [50, 70]


def test_a_stage_that_does_not_fit_is_left_out_and_the_prediction_says_why(edgekit, stereo, pair):
    # The last stage multiplies six 500 x 500 matrices, the first two are next to nothing.
    whole = answered(edgekit("run", stereo, *pair, "--json"))
    budget = whole["elapsed_ms"] - 0.5 * whole["stages"]["stage3"]["measured_ms"]
    for _ in range(10):  # on a busy machine, even the first stage may be late
        process = edgekit("run", stereo, *pair, "--budget-ms", budget, "--json")
        found = json.loads(process.stdout)
        if found["reason"] == "budget" and not found["missed"]:
            break
    assert found["stage"] in ("stage1", "stage2")
    assert found["stages"]["stage3"]["measured_ms"] is None
    assert found["stages"]["stage3"]["predicted_at_most_ms"] > found["budget_ms"] - found["elapsed_ms"] - 2


def test_where_nothing_is_in_time_the_first_exit_comes_late_and_the_exit_code_says_so(
    edgekit, stereo, pair, tmp_path
):
    options = [*pair, "--budget-ms", 0.001, "--save", tmp_path / "late.npy"]
    process = edgekit("run", stereo, *options)
    assert process.returncode == 1, process.stderr
    assert process.stdout.startswith("stage1 answered (1 of 3)") and "MISSED by" in process.stdout
    assert np.load(tmp_path / "late.npy").shape == (50, 70)
    late = json.loads(edgekit("run", stereo, *options, "--json").stdout)
    assert late["missed"] and late["slack_ms"] < 0


def test_the_answer_is_written_in_every_form_and_they_agree(edgekit, stereo, pair, tmp_path):
    files = {kind: tmp_path / f"d.{kind}" for kind in ("png", "npy", "pfm")}
    process = edgekit(
        "run", stereo, *pair, "--save", files["png"], "--save-npy", files["npy"], "--save-pfm", files["pfm"]
    )
    assert process.returncode == 0, process.stderr
    disparity = np.load(files["npy"])
    assert disparity.shape == (50, 70) and disparity.dtype == np.float32
    assert np.array_equal(read_disparity(str(files["pfm"])), disparity)
    assert read_picture(str(files["png"])).shape == (50, 70, 3)
    assert f"wrote {files['png']} (" in process.stdout and "px red)" in process.stdout


def test_save_takes_any_of_the_kinds_and_may_be_repeated(edgekit, stereo, pair, tmp_path):
    process = edgekit("run", stereo, *pair, "--save", tmp_path / "a.npy", "--save", tmp_path / "a.pfm")
    assert process.returncode == 0, process.stderr
    assert np.array_equal(np.load(tmp_path / "a.npy"), read_disparity(str(tmp_path / "a.pfm")))


def test_every_exit_is_told_and_written_beside_the_last(edgekit, stereo, pair, tmp_path):
    found = answered(edgekit("run", stereo, *pair, "--every-exit", "--save", tmp_path / "d.npy", "--json"))
    assert [one["stage"] for one in found["exits"]] == ["stage1", "stage2", "stage3"]
    first, second, last = (np.load(tmp_path / name) for name in ("d.stage1.npy", "d.stage2.npy", "d.npy"))
    assert np.allclose(second, 2 * first, rtol=1e-5)
    assert set(found["written"].values()) == {"stage1", "stage2", "stage3"}
    assert last.mean() > second.mean()


def test_a_stage_can_be_the_last(edgekit, stereo, pair):
    process = edgekit("run", stereo, *pair, "--stage", 2)
    assert process.stdout.startswith("stage2 answered (2 of 3)") and "--stage 2" in process.stdout


def test_the_errors_against_the_truth_are_epe_and_d1(edgekit, stereo, pair, tmp_path):
    edgekit("run", stereo, *pair, "--save-npy", tmp_path / "answer.npy")
    answer = np.load(tmp_path / "answer.npy")
    truth = answer + np.where(np.arange(50)[:, None] < 10, 1000.0, 1.0).astype(np.float32)
    truth[20:30] = np.nan
    np.save(tmp_path / "truth.npy", truth)
    found = answered(edgekit("run", stereo, *pair, "--ground-truth", tmp_path / "truth.npy", "--json"))
    errors = found["exits"][0]["errors"]
    assert errors["pixels"] == 40 * 70
    assert errors["d1"] == pytest.approx(10 / 40)
    assert errors["epe"] == pytest.approx((10 * 1000 + 30 * 1) / 40, rel=1e-4)


def test_a_float_tensor_from_npy_goes_in_as_it_is(edgekit, stereo, tmp_path):
    for name in ("left", "right"):
        np.save(tmp_path / f"{name}.npy", np.zeros((1, 3, 40, 64), np.float32))
    inputs = ["--left", tmp_path / "left.npy", "--right", tmp_path / "right.npy"]
    edgekit("run", stereo, *inputs, "--save", tmp_path / "d.npy")
    assert np.array_equal(np.load(tmp_path / "d.npy"), np.ones((40, 64), np.float32))
    np.save(tmp_path / "left.npy", np.full((1, 3, 40, 64), np.nan, np.float32))
    refused = edgekit("run", stereo, *inputs)
    assert refused.returncode == 2 and "nan" in refused.stderr.lower()
    assert edgekit("run", stereo, *inputs, "--allow-nonfinite", "--json").returncode == 0


def test_a_classifier_names_its_five_likeliest_classes(edgekit, classifier, pair):
    found = answered(edgekit("run", classifier, "--image", pair[1], "--json"))
    top = found["exits"][0]["top"]
    assert len(top) == 5 and top == sorted(top, key=lambda one: -one["probability"])
    process = edgekit("run", classifier, "--image", pair[1])
    assert "class  probability" in process.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--save", "d.gif"], "--save d.gif ends in '.gif': give .png (colours), .npy or .pfm (px)"),
        (["--save", "disparity"], "has no extension"),
        (["--save-npy", "d.png"], "use --save d.png"),
        (["--save", "d.npy", "--save-npy", "d.npy"], "d.npy would be written twice"),
        (["--save", "nowhere/d.png"], "there is no folder nowhere"),
        (["--budget-ms", "0"], "'0' is not a number above 0"),
        (["--budget-ms", "-5"], "is not a number above 0"),
        (["--budget-ms", "nan"], "'nan' is not a number above 0"),
        (["--stage", "4"], "tiny has 3 stages"),
        (["--threads", "0"], "not a whole number of at least 1"),
        (["--provider", "Nonsense"], "Nonsense"),
        (["--image", "x.png"], "tiny does not take --image; give --left FILE and --right FILE"),
        (["--ground-truth", "nowhere.pfm"], "nowhere.pfm"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_writes_nothing(
    refused, stereo, pair, repository, tmp_path, options, sentence
):
    import os

    before = set(os.listdir(tmp_path))
    process = refused("run", stereo, *pair, *options)
    assert process.stdout == ""
    assert sentence in process.stderr and len(process.stderr.splitlines()) == 1
    assert set(os.listdir(tmp_path)) == before and not (repository / "d.npy").exists()


def test_missing_and_unequal_pictures_are_named(refused, stereo, pair, tmp_path):
    assert "needs --left FILE and --right FILE" in refused("run", stereo).stderr
    assert "tiny also needs --right" in refused("run", stereo, *pair[:2]).stderr
    (tmp_path / "small.png").write_bytes(encode_png(np.zeros((10, 10, 3), np.uint8)))
    unequal = refused("run", stereo, *pair[:2], "--right", tmp_path / "small.png")
    assert unequal.returncode == 2 and "one size" in unequal.stderr
    absent = refused("run", stereo, *pair[:2], "--right", tmp_path / "absent.png", "--json")
    assert absent.returncode == 2 and "absent.png" in json.loads(absent.stdout)["error"]["message"]


def test_a_truth_of_another_size_is_refused_before_anything_is_written(refused, stereo, pair, tmp_path):
    np.save(tmp_path / "truth.npy", np.zeros((10, 10), np.float32))
    process = refused(
        "run", stereo, *pair, "--ground-truth", tmp_path / "truth.npy", "--save", tmp_path / "d.png"
    )
    assert "ground truth has 10 x 10 px" in process.stderr
    assert not (tmp_path / "d.png").exists()
