"""The shipped MSDNet and IMTA are what their cards say, and an export without a checkpoint takes them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit
from edgekit.bundle import read_bundle
from edgekit.models import imta, msdnet_stages
from edgekit.models.shipped import WEIGHTS, shipped
from edgekit.models.training.classification.batches import Normalise
from edgekit.models.training.classification.data import load_data

FAMILIES = ("msdnet", "imta")
BUILD = {"msdnet": msdnet_stages.build, "imta": imta.build}
SOME = 1000  # test pictures


@pytest.mark.parametrize("family", FAMILIES)
def test_the_card_agrees_with_the_weights(family: str) -> None:
    ours = shipped(family)
    content = ours.weights.read_bytes()
    assert ours.card["sha256"] == hashlib.sha256(content).hexdigest()
    assert ours.card["bytes"] == len(content) < 5_000_000
    staged = BUILD[family](None, {}, None)
    network = staged.imta if isinstance(staged, imta.StagedIMTA) else staged.net
    assert ours.card["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert list(ours.accuracies()) == [stage.name for stage in staged.stages()]
    assert "Krizhevsky" in str(ours.card["licence"])


def test_all_shipped_weights_together_stay_small() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 15_000_000


@pytest.mark.parametrize("family", FAMILIES)
def test_every_exit_is_right_as_often_as_the_card_says(family: str, shared: Path) -> None:
    data = load_data(shared / "data/cifar10/cifar10_jpeg.npz", 1)
    staged, ours = BUILD[family](None, {}, None), shipped(family)
    assert ours.card["data"] == data.name
    spec = staged.inputs[0]
    pictures = Normalise(spec.mean, spec.std)(
        np.ascontiguousarray(data.test.images[:SOME].transpose(0, 3, 1, 2))
    )
    with torch.inference_mode():
        answers = staged.reference(pictures)
    for logits, share in zip(answers, ours.accuracies().values(), strict=True):
        right = float((logits.argmax(1).numpy() == data.test.labels[:SOME]).mean())
        assert right == pytest.approx(share, abs=4 * (share * (1 - share) / SOME) ** 0.5)


def test_an_export_without_a_checkpoint_takes_the_shipped_weights_and_notes_their_accuracy(
    tmp_path: Path,
) -> None:
    edgekit.export(model="msdnet", out=tmp_path / "msdnet.edgekit")
    manifest = read_bundle(tmp_path / "msdnet.edgekit").manifest
    assert manifest.provenance["checkpoint"] == "shipped"
    assert {name: spec.accuracy for name, spec in manifest.exits.items()} == shipped("msdnet").accuracies()


def test_the_card_of_imta_names_the_msdnet_that_it_was_made_from() -> None:
    recipe = shipped("imta").card["recipe"]
    assert isinstance(recipe, dict)
    assert (recipe["exits_from"], recipe["initial"]) == (0, "msdnet.safetensors")
