"""`edgekit verify` and `inspect`: what they say of a sound bundle, and that every kind of damage is found and named."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from edgekit.runtime.verbs.verify import compare


def test_a_sound_bundle_is_verified_with_every_variant(edgekit, stereo):
    process = edgekit("verify", stereo, "--all-variants")
    assert process.returncode == 0, process.stderr
    assert "are as they were written (SHA-256)" in process.stdout and process.stdout.endswith(
        "Every answer is right.\n"
    )
    assert "scaled" in process.stdout
    found = json.loads(edgekit("verify", stereo, "--all-variants", "--json").stdout)
    assert found["ok"] and [check["variants"]["stage2"] for check in found["checks"]] == ["plain", "scaled"]
    assert all(
        one["largest"] < 1e-4 and one["within"] == 1.0 for check in found["checks"] for one in check["exits"]
    )


def test_logits_are_compared_relative_to_the_largest(edgekit, classifier):
    found = json.loads(edgekit("verify", classifier, "--json").stdout)
    assert found["ok"] and found["checks"][0]["exits"][0]["unit"] is None


def test_a_flipped_byte_is_found_named_and_not_run(edgekit, own_stereo):
    bundle = own_stereo()
    path = os.path.join(bundle, "stages", "stage2.scaled.onnx")
    with open(path, "r+b") as file:
        file.seek(60)
        byte = file.read(1)
        file.seek(60)
        file.write(bytes([byte[0] ^ 1]))
    process = edgekit("verify", bundle)
    assert (
        process.returncode == 1
        and "stage2.scaled.onnx" in process.stdout
        and "copy or export it again" in process.stdout
    )
    found = json.loads(edgekit("verify", bundle, "--json").stdout)
    assert (
        not found["ok"] and list(found["damaged"]) == ["stages/stage2.scaled.onnx"] and found["checks"] == []
    )
    inspected = edgekit("inspect", bundle)
    assert inspected.returncode == 1 and "1 DAMAGED" in inspected.stdout


@pytest.mark.parametrize("name", ["stages/stage3.plain.onnx", "golden/golden.npz"])
def test_a_missing_file_is_named(edgekit, own_stereo, name):
    bundle = own_stereo()
    os.unlink(os.path.join(bundle, *name.split("/")))
    process = edgekit("verify", bundle)
    assert (
        process.returncode == 1 and name.split("/")[1] in process.stdout and "Traceback" not in process.stderr
    )


def test_a_changed_manifest_is_damage_and_no_manifest_is_no_bundle(edgekit, own_stereo, tmp_path):
    bundle = own_stereo()
    path = os.path.join(bundle, "manifest.json")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace('"tiny"', '"tony"'))
    process = edgekit("verify", bundle)
    assert process.returncode == 1 and "manifest.json" in process.stdout
    os.unlink(path)
    assert edgekit("verify", bundle).returncode == 2
    assert edgekit("verify", tmp_path / "nowhere").returncode == 2


def test_a_bundle_of_a_newer_schema_is_not_called_damaged(edgekit, own_stereo):
    bundle = own_stereo()
    path = os.path.join(bundle, "manifest.json")
    with open(path) as file:
        manifest = json.load(file)
    manifest["schema"] = 99
    with open(path, "w") as file:
        json.dump(manifest, file)
    process = edgekit("verify", bundle)
    assert process.returncode == 2 and "this edgekit reads schemas up to" in process.stderr
    assert "damaged" not in process.stdout + process.stderr


def test_another_answer_than_the_golden_one_fails(edgekit, own_stereo):
    def shift(files):
        import io

        arrays = dict(np.load(io.BytesIO(files["golden/golden.npz"])))
        arrays["stage2"] = arrays["stage2"] + np.float32(0.05)
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        return {**files, "golden/golden.npz": stream.getvalue()}

    process = edgekit("verify", own_stereo(shift))
    assert process.returncode == 1
    (line,) = [line for line in process.stdout.splitlines() if "FAILED" in line]
    assert line.startswith("stage2") and "0.05 px" in line


def test_a_graph_that_the_backend_refuses_fails(edgekit, own_stereo):
    bundle = own_stereo(lambda files: {**files, "stages/stage2.scaled.onnx": b"no graph"})
    assert edgekit("verify", bundle).returncode == 0
    process = edgekit("verify", bundle, "--all-variants")
    assert process.returncode == 1 and "FAILED  stage1 plain, stage2 scaled, stage3 plain: " in process.stdout
    assert edgekit("verify", bundle, "--files-only").returncode == 0


def test_pixels_may_differ_by_tolerance_and_one_in_a_thousand_by_more():
    golden = np.zeros((1, 1, 100, 100), np.float32)
    ours = golden + 0.015
    assert compare("stage1", "d", "px", ours, golden).ok
    ours[0, 0, 0, :9] = 5.0
    assert compare("stage1", "d", "px", ours, golden).ok
    ours[0, 0, 0, :11] = 5.0
    found = compare("stage1", "d", "px", ours, golden)
    assert not found.ok and found.largest == pytest.approx(5.0)


def test_a_nan_an_absent_exit_and_another_shape_are_never_right():
    golden = np.ones((1, 10), np.float32)
    for ours in (np.where(np.arange(10) == 3, np.nan, golden), None, golden[:, :9]):
        found = compare("stage1", "logits", None, ours, golden)
        assert not found.ok and found.largest is None and found.within == 0.0
    assert compare("stage1", "logits", None, golden * 1.0005, golden).ok
    assert not compare("stage1", "logits", None, golden * 1.002, golden).ok


def test_inspect_tells_inputs_recipe_stages_variants_and_provenance(edgekit, stereo):
    text = edgekit("inspect", stereo).stdout
    for words in (
        "tinystereo, stereo, for jetson",
        "left: float32 1x3x40x64 NCHW",
        "fitted into 60 x 37 px",
        "disparity2 1x1x40x64 px *",
        "369 k multiply-adds",
        "all as they were written",
        "maxdisplist [12, 3, 3]",
    ):
        assert words in text
    rows = [line.split() for line in text.splitlines() if "32 bit" in line]
    assert [row[0] for row in rows if "onnxruntime" in row] == ["stage1", "stage2", "stage3"]


def test_inspect_as_json_is_the_manifest_and_the_state_of_the_files(edgekit, stereo):
    document = json.loads(edgekit("inspect", stereo, "--json").stdout)
    with open(os.path.join(stereo, "manifest.json")) as file:
        manifest = json.load(file)
    assert {key: document[key] for key in manifest} == manifest
    assert document["damaged"] == {}


@pytest.mark.parametrize("verb", ["inspect", "verify", "doctor"])
def test_a_bundle_runs_its_own_verbs_from_anywhere(verb, stereo, tmp_path):
    process = subprocess.run(
        [sys.executable, stereo, verb, "--json"], capture_output=True, text=True, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)


def test_a_bundle_copied_to_another_name_is_the_same_bundle(stereo, tmp_path):
    import shutil

    copy = tmp_path / "renamed"
    shutil.copytree(stereo, copy)
    process = subprocess.run(
        [sys.executable, str(copy), "verify"], capture_output=True, text=True, cwd=tmp_path
    )
    assert process.returncode == 0 and process.stdout.endswith("Every answer is right.\n")
    helped = subprocess.run(
        [sys.executable, "renamed", "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "usage: python3 renamed VERB" in helped.stdout


def test_doctor_says_whether_a_bundle_runs_and_was_measured_here(edgekit, own_stereo):
    bundle = own_stereo()
    found = json.loads(edgekit("doctor", bundle, "--json").stdout)
    assert found["bundle"]["profile"] is False and found["bundle"]["fingerprint"]
    assert any(finding["mend"] == f"edgekit bench {bundle}" for finding in found["findings"])
    assert edgekit("bench", bundle, "--runs", 3).returncode == 0
    found = json.loads(edgekit("doctor", bundle, "--json").stdout)
    assert found["bundle"]["profile"] is True
    assert not any(finding["mend"] == f"edgekit bench {bundle}" for finding in found["findings"])


def test_doctor_says_why_a_bundle_cannot_run_here(edgekit, own_stereo):
    bundle = own_stereo(lambda files: {**files, "stages/stage1.plain.onnx": b"no graph"})
    found = json.loads(edgekit("doctor", bundle, "--json").stdout)
    assert any("tiny cannot run here" in finding["what"] for finding in found["findings"])


@pytest.mark.parametrize(("verb", "code"), [("verify", 1), ("bench", 2)])
def test_without_a_backend_the_advice_is_one_sentence(verb, code, stereo, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('built for another machine')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.run([sys.executable, stereo, verb], capture_output=True, text=True, env=environment)
    assert process.returncode == code and "Traceback" not in process.stderr
    assert (process.stdout + process.stderr).count("pip install onnxruntime") == 1
