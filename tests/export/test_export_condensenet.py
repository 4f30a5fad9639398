"""CondenseNet in a bundle: the golden vectors through export and ONNX Runtime, in every form that a bundle holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError
from edgekit.export.parity import Graphs


def _logits(bundle: Bundle, images: np.ndarray) -> dict[str, np.ndarray]:
    """The logits of every variant."""
    (stage,) = bundle.manifest.stages
    found = {}
    for variant in stage.variants:
        graphs = Graphs({stage.name: {variant.name: bundle.read_bytes(variant.graph)}})
        rows = [graphs.run(stage.name, variant.name, {"image": image[None]})["logits1"] for image in images]
        found[variant.name] = np.concatenate(rows)
    return found


@pytest.mark.slow
def test_every_golden_case_is_met_in_onnx_runtime_from_both_forms(shared: Path, tmp_path: Path) -> None:
    cases = sorted((shared / "golden").glob("condensenet_*.json"))
    assert cases
    for case in cases:
        spec, arrays = json.loads(case.read_text()), np.load(case.with_suffix(".npz"))
        files = spec["checkpoints"]
        for number, (form, more, answer) in enumerate([
            ("train", {"classifier_share": 1}, "logits_train"), ("train", {}, "logits_converted"), ("converted", {}, "logits_converted"),
        ]):  # fmt: skip
            bundle = edgekit.export(
                model="condensenet", checkpoint=case.parent / files[form], config={**spec["config"], **more},
                size=arrays["image"].shape[2:], out=tmp_path / f"{case.stem}-{number}.edgekit", parity=False,
            )  # fmt: skip
            wanted = arrays[answer]
            for variant, logits in _logits(bundle, arrays["image"]).items():
                error = np.abs(logits - wanted).max() / np.abs(wanted).max()
                assert error <= 1e-3, f"{case.stem}, {form}, {answer}, {variant}"


def test_the_command_says_that_a_training_checkpoint_was_converted(shared: Path, tmp_path: Path) -> None:
    file = shared / "golden" / "condensenet_cifar_train.pth.tar"
    words = ["export", "--model", "condensenet", "--checkpoint", str(file), "--config", "data=cifar10"]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *words, "--out", str(tmp_path / "x.edgekit"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert "parity is proven against the converted network" in document["notes"][0]
    assert document["manifest"]["provenance"]["notes"] == document["notes"]
    assert document["manifest"]["inputs"][0]["shape"] == [1, 3, 32, 32]


def test_without_a_checkpoint_the_shipped_weights_are_taken_and_their_options_cannot_be_others(
    tmp_path: Path,
) -> None:
    bundle = edgekit.export(model="condensenet", out=tmp_path / "x.edgekit")
    assert bundle.manifest.provenance["checkpoint"] == "shipped"
    with pytest.raises(EdgekitError, match="growth"):
        edgekit.export(model="condensenet", config={"growth": [4, 4, 4]}, out=tmp_path / "y.edgekit")
