"""The weights that edgekit ships: small, with a card that tells what they are, and as good as the card says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit
from edgekit.errors import CheckpointError, OptionError
from edgekit.models import registry
from edgekit.models.shipped import WEIGHTS, Shipped, shipped
from edgekit.models.training.classification.batches import Normalise
from edgekit.models.training.classification.data import load_data

CLASSIFIERS = sorted(path.stem for path in WEIGHTS.glob("*.safetensors") if path.stem != "anynet")
MIB = 2**20


def _built(name: str) -> tuple[Shipped, registry.StagedModel]:
    family, _, bits = name.partition("-b")
    return shipped(name), registry.build(family, None, {"bits": int(bits)} if bits else {}, None)


def test_condensenet_and_oqa_at_three_bit_widths_are_among_them() -> None:
    assert {"condensenet", "oqa", "oqa-b3", "oqa-b2"} <= set(CLASSIFIERS)


def test_every_file_is_small_and_all_of_them_together_too() -> None:
    sizes = [path.stat().st_size for path in WEIGHTS.glob("*.safetensors")]
    assert max(sizes) < 5 * MIB and sum(sizes) <= 15 * MIB


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_card_is_of_the_very_file_and_says_how_it_came_to_be(name: str) -> None:
    ours = shipped(name)
    data = ours.weights.read_bytes()
    assert ours.card["sha256"] == hashlib.sha256(data).hexdigest() and ours.card["bytes"] == len(data)
    for told in (
        "family",
        "options",
        "data",
        "recipe",
        "seed",
        "epochs",
        "seconds",
        "accuracy",
        "licence",
        "command",
    ):
        assert ours.card[told], told
    assert ours.card["data"] == "JPEG CIFAR-10"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_network_is_as_right_as_its_card_says(name: str, shared: Path) -> None:
    ours, staged = _built(name)
    test = load_data(shared / "data/cifar10/cifar10_jpeg.npz", int(str(ours.card["seed"]))).test
    some = np.random.default_rng(0).permutation(len(test.labels))[:500]
    spec = staged.inputs[0]
    assert (spec.height, spec.width, spec.crop) == (32, 32, 1.0)
    pictures = Normalise(spec.mean, spec.std)(np.ascontiguousarray(test.images[some].transpose(0, 3, 1, 2)))
    told: dict[str, float] = staged.accuracies  # type: ignore[attr-defined]
    with torch.no_grad():
        exits = staged.reference(pictures)
    for stage, logits in zip(staged.stages(), exits, strict=True):
        right = float((logits.argmax(1).numpy() == test.labels[some]).mean())
        # 500 of 10,000: three deviations
        assert right == pytest.approx(told[stage.name], abs=0.06), stage.name


@pytest.mark.parametrize("name", ["condensenet", "oqa"])
def test_a_bundle_of_the_shipped_weights_tells_its_accuracy(name: str, tmp_path: Path) -> None:
    bundle = edgekit.export(model=name, target="jetson", out=tmp_path / f"{name}.edgekit")
    ours, staged = _built(name)
    told = staged.accuracies["stage1"]  # type: ignore[attr-defined]
    exit_ = bundle.manifest.exits["stage1"]
    assert exit_.accuracy == told and exit_.source is None
    assert told in ours.accuracies().values()


def test_another_subnet_of_the_shipped_supernet_claims_no_accuracy() -> None:
    assert registry.build("oqa", None, {"ks": 3}, None).accuracies == {}  # type: ignore[attr-defined]


def test_bits_that_are_not_shipped_are_refused() -> None:
    with pytest.raises(CheckpointError, match="oqa-b8: edgekit ships no weights of this name"):
        registry.build("oqa", None, {"bits": 8}, None)


def test_options_that_contradict_the_shipped_weights_are_refused() -> None:
    with pytest.raises(OptionError, match="contradicts the weights"):
        registry.build("condensenet", None, {"growth": [8, 8, 8]}, None)
