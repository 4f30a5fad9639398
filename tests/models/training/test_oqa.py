"""OQA's chain of trainings: float, then 4, 3 and 2 bits; every one resumable, measured on subnets with batch norms of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.oqa_space import subnet_config
from edgekit.models.oqa_staged import supernet_of
from edgekit.models.staged import IMAGENET_MEAN, IMAGENET_STD
from edgekit.models.training.classification.batches import Normalise
from edgekit.models.training.classification.data import ClassificationData
from edgekit.models.training.classification.recipe import Training
from edgekit.models.training.classification.sources import Labelled
from edgekit.models.training.classification.training import train
from edgekit.models.training.oqa import OqaRecipe, make

FLOAT = OqaRecipe(
    epochs=6, batch=16, seed=2, rate=0.05, width_mult=0.25, shrunk_by=1.0, largest_share=0.9, distil=0.0
)


def _pictures(count: int, seed: int) -> Labelled:
    """Two classes, bright and dark."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    images = random.integers(0, 128, (count, 32, 32, 3)) + 127 * labels[:, None, None, None]
    return Labelled(images.astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 pictures to learn from instead of a data set."""
    data = ClassificationData(
        "synthetic", ("dark", "bright"), _pictures(64, 0), _pictures(16, 1), _pictures(32, 2), "free"
    )
    monkeypatch.setattr("edgekit.models.training.classification.training.load_data", lambda *_: data)


def _train(out: Path, recipe: OqaRecipe, resume: bool = False, stop_after: int | None = None) -> Path:
    return train(Training(out, "synthetic", resume, threads=1, stop_after=stop_after), recipe, make)


@pytest.fixture
def float_weights(tmp_path: Path) -> Path:
    return _train(tmp_path / "float", FLOAT)


def _lower(bits: int, initial: Path, initial_bits: int = 32, **options: object) -> OqaRecipe:
    chosen = {
        "bits": bits,
        "initial": str(initial),
        "initial_bits": initial_bits,
        "epochs": 2,
        "distil": 0.5,
        **options,
    }
    return replace(FLOAT, **chosen)  # type: ignore[arg-type]


def test_the_weights_are_a_supernet_s_and_its_largest_subnet_is_as_right_as_the_card_says(
    tmp_path: Path, float_weights: Path
) -> None:
    weights = _train(tmp_path / "four", _lower(4, float_weights, epochs=4))
    card = json.loads(weights.with_suffix(".json").read_text())
    assert set(card["accuracy"]) == {"largest", "middle", "smallest"} and card["options"]["bits"] == 4
    supernet = supernet_of(read_state_dict(weights), card["options"], "the training")
    net = supernet.subnet(subnet_config(supernet.options, {}))
    pictures = _pictures(32, 2)
    with torch.no_grad():
        logits = net(Normalise(IMAGENET_MEAN, IMAGENET_STD)(pictures.images.transpose(0, 3, 1, 2).copy()))
    right = float((logits.argmax(1).numpy() == pictures.labels).mean())
    assert right == pytest.approx(card["accuracy"]["largest"], abs=1e-4)
    assert right > 0.8


def test_steps_and_weights_learn_on_the_way_down_to_two_bits(tmp_path: Path, float_weights: Path) -> None:
    four = _train(tmp_path / "four", _lower(4, float_weights, rate=0.001))
    three = _train(tmp_path / "three", _lower(3, four, 4, shrunk_by=0.0, rate=0.001))
    two = load_file(_train(tmp_path / "two", _lower(2, three, 3, shrunk_by=0.0, rate=0.001)))
    before = load_file(three)
    for kind in (".sa", ".sw", "conv.weight"):
        moved = [name for name in two if name.endswith(kind) and not torch.equal(two[name], before[name])]
        assert moved, kind
    assert all(bool(torch.isfinite(tensor).all()) for tensor in two.values())


@pytest.mark.slow
def test_a_training_stopped_among_its_subnets_and_resumed_ends_with_the_same_bits(
    tmp_path: Path, float_weights: Path
) -> None:
    recipe = _lower(4, float_weights, largest_share=0.3, shrunk_by=0.5)
    straight = _train(tmp_path / "straight", recipe)
    _train(tmp_path / "halves", recipe, stop_after=3)
    resumed = _train(tmp_path / "halves", recipe, resume=True)
    one, other = load_file(straight), load_file(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_named_teacher_is_learned_from_and_the_card_tells_its_file_alone(
    tmp_path: Path, float_weights: Path
) -> None:
    own = _train(tmp_path / "own", _lower(4, float_weights, epochs=1))
    recipes = {name: _lower(4, own, 4, epochs=1, teacher=name) for name in ("", str(float_weights))}
    untaught, taught = (_train(tmp_path / f"on{k}", recipe) for k, recipe in enumerate(recipes.values()))
    assert json.loads(taught.with_suffix(".json").read_text())["recipe"]["teacher"] == float_weights.name
    one, other = load_file(untaught), load_file(taught)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_float_weights_are_needed_before_bits(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="quantisation begins with trained weights"):
        replace(FLOAT, bits=4)


def test_bits_that_the_initial_weights_do_not_have_are_refused(tmp_path: Path, float_weights: Path) -> None:
    with pytest.raises(OptionError, match="bits are inherited one at a time"):
        _train(tmp_path / "two", _lower(2, float_weights, 4))


def test_initial_weights_of_another_width_are_refused_by_name(tmp_path: Path, float_weights: Path) -> None:
    with pytest.raises(CheckpointError, match=r"float/oqa.safetensors: .* is .*, these options need"):
        _train(tmp_path / "four", _lower(4, float_weights, width_mult=0.5))


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match=r"distil=2: must be from 0 to 1"):
        replace(FLOAT, distil=2)
