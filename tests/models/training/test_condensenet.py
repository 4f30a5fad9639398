"""CondenseNet's training: it condenses by groups and on schedule, the lasso pulls, the conversion keeps the answers, resuming is exact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgekit.errors import OptionError
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.condensenet import CondenseNet, LearnedGroupConv
from edgekit.models.condensenet_checkpoint import build
from edgekit.models.training.checkpoint import part, read_training
from edgekit.models.training.classification.data import ClassificationData
from edgekit.models.training.classification.recipe import Training
from edgekit.models.training.classification.sources import Labelled
from edgekit.models.training.classification.training import train
from edgekit.models.training.condensenet import CondenseNetRecipe, make, network_options

RECIPE = CondenseNetRecipe(
    epochs=4,
    batch=8,
    seed=3,
    stages=(1, 2, 1),
    growth=(8, 8, 8),
    bottleneck=2,
    group_1x1=4,
    group_3x3=4,
    condense_factor=4,
)


def _pictures(count: int, seed: int) -> Labelled:
    """Two classes, bright and dark."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    images = random.integers(0, 128, (count, 32, 32, 3)) + 127 * labels[:, None, None, None]
    return Labelled(images.astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """48 pictures to learn from instead of a data set."""
    parts = (_pictures(48, 0), _pictures(16, 1), _pictures(16, 2))
    data = ClassificationData("synthetic", ("dark", "bright"), *parts, "free")
    monkeypatch.setattr("edgekit.models.training.classification.training.load_data", lambda *_: data)


def _train(
    out: Path, recipe: CondenseNetRecipe = RECIPE, resume: bool = False, stop_after: int | None = None
) -> Path:
    return train(Training(out, "synthetic", resume, threads=1, stop_after=stop_after), recipe, make)


def _learned(path: Path) -> list[LearnedGroupConv]:
    weights = (
        part(read_training(path)[0], "net.") if path.name.startswith("training") else read_state_dict(path)
    )
    net = CondenseNet(network_options(RECIPE, 2))
    net.load_state_dict(weights)
    return list(net.learned())


@pytest.mark.parametrize(
    ("steps", "stages"), [(3, 0), (5, 1), (9, 2), (13, 3), (24, 3)], ids=lambda value: str(value)
)
def test_after_every_stage_the_right_share_of_the_weights_is_left_in_groups(
    tmp_path: Path, steps: int, stages: int
) -> None:
    # 24 steps: the three stages are due at 4, 8 and 12, and done at the start of the step that follows.
    for conv in _learned(_train(tmp_path, stop_after=steps)):
        assert int(conv._stage) == stages
        assert float(conv.mask.mean()) == 1 - stages / 4
        groups = conv.mask.view(-1, 4, conv.mask.shape[1])
        assert torch.equal(groups, groups[:1].expand_as(groups))
        assert torch.equal(groups[0].sum(1), torch.full((4,), conv.mask.shape[1] * (1 - stages / 4)))


def test_the_gradient_of_the_group_lasso_is_each_weight_over_the_norm_of_its_group() -> None:
    torch.manual_seed(0)
    conv = LearnedGroupConv(8, 8, groups=2, condense_factor=4).double()
    conv.condense(0.2)  # one stage: a quarter of the inputs is gone
    (found,) = torch.autograd.grad(conv.lasso(), conv.conv.weight)
    weight = (conv.conv.weight.detach() * conv._mask)[:, :, 0, 0]
    for output in range(8):
        for inputs in range(8):
            norm = weight[output % 2 :: 2, inputs].norm()  # output o is of group o % 2
            expected = weight[output, inputs] / norm if norm > 0 else torch.tensor(0.0)
            assert float(found[output, inputs, 0, 0]) == pytest.approx(float(expected), abs=1e-9)


def test_the_group_lasso_pulls_weights_to_nothing(tmp_path: Path) -> None:
    free, pulled = (
        _train(tmp_path / name, replace(RECIPE, group_lasso_lambda=strength, decay=0.0))
        for name, strength in (("free", 0.0), ("pulled", 0.05))
    )
    sizes = [
        sum(float((c.conv.weight * c._mask).abs().sum().detach()) for c in _learned(w))
        for w in (free, pulled)
    ]
    assert sizes[1] < 0.7 * sizes[0]


def test_the_rate_falls_along_half_a_cosine_to_nothing() -> None:
    recipe = replace(RECIPE, warmup=0.0, rate=0.1)
    assert [recipe.rate_at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.05, 0.0])
    assert recipe.rate_at(0.25) == pytest.approx(0.1 * (1 + 2**-0.5) / 2)


def test_the_exported_network_is_the_trained_one_and_as_right_as_its_card_says(tmp_path: Path) -> None:
    weights = _train(tmp_path)
    card = json.loads((tmp_path / "condensenet.json").read_text())
    assert set(card["accuracy"]) == {"stage1", "before_conversion", "half_of_classifier"}
    assert card["accuracy"]["stage1"] == card["accuracy"]["before_conversion"]  # the whole classifier is kept
    staged = build(weights, card["options"], None)
    pictures = _pictures(16, 2)
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (staged.inputs[0].mean, staged.inputs[0].std)
    )
    image = (torch.from_numpy(pictures.images).permute(0, 3, 1, 2) / 255 - mean) / std
    (logits,) = staged.reference(image)
    right = float((logits.argmax(1).numpy() == pictures.labels).mean())
    assert right == card["accuracy"]["stage1"] > 0.8


def test_a_training_stopped_among_its_stages_and_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    straight = _train(tmp_path / "straight")
    _train(tmp_path / "halves", stop_after=7)
    resumed = _train(tmp_path / "halves", resume=True)
    one, other = load_file(straight), load_file(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_plain_densenet_is_the_same_network_without_groups(tmp_path: Path) -> None:
    plain = replace(RECIPE, group_1x1=1, group_3x3=1, condense_factor=1, epochs=1)
    for conv in CondenseNet(network_options(plain, 2)).learned():
        conv.condense(1.0)
        assert bool((conv.mask == 1).all())
    weights = _train(tmp_path, plain)
    options = json.loads(weights.with_suffix(".json").read_text())["options"]
    assert build(weights, options, None).options["group_3x3"] == 1


def test_channels_that_do_not_divide_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="growth is 6, which group_3x3=4 does not divide"):
        _train(tmp_path, replace(RECIPE, growth=(6, 8, 8)))
    assert not any(tmp_path.iterdir())
