"""MSDNet computes what the authors' implementation computes, reads what they wrote, and is cut where nothing is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.msdnet import MSDNet, MSDNetOptions, plan
from edgekit.models.msdnet_stages import StagedMSDNet, build, portions
from edgekit.models.msdnet_weights import from_weights, infer_options, jsonable

SMALL = MSDNetOptions(nBlocks=3, base=2, step=1, stepmode="even", nChannels=8, growthRate=4)


def _weights(options: MSDNetOptions) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return MSDNet(options).state_dict()


def _seen(net: nn.Module, image: Tensor) -> None:
    """Give the batch norms statistics of their own."""
    for norm in net.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = None
    with torch.no_grad():
        net.train()(image)
    net.eval()


def test_every_golden_case_is_met_to_a_ten_thousandth(shared: Path) -> None:
    cases = sorted((shared / "golden").glob("msdnet_*.json"))
    assert cases
    for case in cases:
        facts, arrays = json.loads(case.read_text()), np.load(case.with_suffix(".npz"))
        path = case.with_name(facts["checkpoint"])
        # What the tensors tell alone, and what the file says beside them
        for config in (
            {},
            facts["config"],
        ):
            net = from_weights(read_state_dict(path), config, str(path))
            with torch.no_grad():
                exits = net(torch.from_numpy(arrays[facts["inputs"][0]]))
            assert len(exits) == len(facts["outputs"])
            for name, exit_ in zip(facts["outputs"], exits, strict=True):
                error = np.abs(exit_.numpy() - arrays[name]).max() / np.abs(arrays[name]).max()
                assert error <= 1e-4, f"{case.name} {name}: {error:.1e}"


def test_a_file_without_its_configuration_tells_all_of_it(shared: Path) -> None:
    for case in sorted((shared / "golden").glob("msdnet_*.json")):
        facts = json.loads(case.read_text())
        weights = read_state_dict(case.with_name(facts["checkpoint"]))
        assert jsonable(infer_options(weights, facts["config"], "w")) == facts["config"]
        again = MSDNet(infer_options(weights, {}, "w")).state_dict()
        assert {name: t.shape for name, t in weights.items()} == {name: again[name].shape for name in weights}


options = st.builds(
    lambda data, scales, blocks, base, step, mode, channels, growth, wide, narrow, bottleneck, prune, reduction: (
        MSDNetOptions(
            data=data, num_classes=7, nBlocks=blocks, base=base, step=step, stepmode=mode, nScales=scales,
            nChannels=channels, growthRate=growth, grFactor=wide[:scales], bnFactor=narrow[:scales],
            bottleneck=bottleneck, prune=prune, reduction=reduction,
        )
    ),
    st.sampled_from(["cifar10", "ImageNet"]), st.integers(2, 4), st.integers(1, 4), st.integers(1, 3),
    st.integers(1, 2), st.sampled_from(["even", "lin_grow"]), st.sampled_from([4, 8, 12]), st.sampled_from([4, 6]),
    st.sampled_from([(1, 2, 4, 4), (1, 1, 2, 4), (2, 2, 4, 8)]), st.sampled_from([(1, 2, 4, 4), (1, 1, 1, 1)]),
    st.booleans(), st.sampled_from(["min", "max"]), st.sampled_from([0.5, 0.0, 0.4]),
)  # fmt: skip


def _possible(wanted: MSDNetOptions) -> bool:
    layers = [layer for block in plan(wanted) for layer in block]
    return all(layer.finest < wanted.nScales and layer.channels > 0 for layer in layers)


@settings(max_examples=25, deadline=None)
@given(options.filter(_possible))
def test_whatever_the_options_the_weights_tell_a_network_of_the_same_tensors(wanted: MSDNetOptions) -> None:
    with torch.device("meta"):
        weights = MSDNet(wanted).state_dict()
    told = {} if wanted.data == "ImageNet" else {"data": "cifar10", "num_classes": 7}
    inferred = infer_options(weights, told, "w")
    with torch.device("meta"):
        again = MSDNet(inferred).state_dict()
    assert {n: t.shape for n, t in again.items()} == {n: t.shape for n, t in weights.items()}


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_network_narrower_than_a_multiple_of_its_factors_is_read(bottleneck: bool) -> None:
    """7 channels are narrowed here, and 8-16-32 is among the factors that the widths of the first layer allow."""
    narrow = MSDNetOptions(
        nBlocks=4, base=1, step=1, prune="min", nChannels=8, growthRate=2, bottleneck=bottleneck
    )
    weights = _weights(narrow)
    assert infer_options(weights, {}, "w").grFactor == (1, 2, 4)
    from_weights(weights, {}, "w")


@settings(max_examples=15, deadline=None)
@given(options.filter(_possible))
def test_stages_one_after_the_other_are_the_uncut_network(wanted: MSDNetOptions) -> None:
    unit = 2 ** (wanted.nScales - 1) * (4 if wanted.data == "ImageNet" else 1)
    torch.manual_seed(0)
    net = MSDNet(wanted)
    image = torch.randn(2, 3, 5 * unit, 6 * unit)
    _seen(net, image)
    staged = StagedMSDNet(net, (5 * unit, 6 * unit))
    known = {"image": image}
    with torch.no_grad():
        for stage in staged.stages():
            out = stage.module(*(known[name] for name in stage.inputs))
            known.update(zip(stage.outputs, out, strict=True))
        for number, exit_ in enumerate(staged.reference(image), 1):
            torch.testing.assert_close(known[f"logits{number}"], exit_, rtol=1e-4, atol=1e-5)


def test_a_stage_computes_no_map_twice_and_none_that_no_exit_reads() -> None:
    """Lazy evaluation: the finer scales of a block's last layers wait until the next exit needs them."""
    net = MSDNet(replace(SMALL, nScales=3, base=4, nBlocks=2, step=3))
    cut = portions(net)
    computed = [node for portion in cut for node in portion.computes]
    assert len(computed) == len(set(computed))
    assert (4, 2) in cut[0].computes and (4, 0) not in cut[0].computes and (4, 1) in cut[1].computes
    assert [node for portion in cut for node in portion.writes if node not in cut[1].reads] == []
    last = max(layer for layer, _ in computed)
    assert [scale for layer, scale in computed if layer == last] == [2]


def test_gradients_reach_every_parameter_that_an_exit_reads() -> None:
    net = MSDNet(replace(SMALL, prune="max", nBlocks=3, base=1, step=1)).train()
    sum(exit_.square().mean() for exit_ in net(torch.randn(4, 3, 32, 32))).backward()  # type: ignore[union-attr]
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"nBlocks": 4}, ("nBlocks=4", "nBlocks=3")),
        ({"base": 3}, ("base=3", "base=2")),
        ({"stepmode": "lin_grow"}, ("stepmode=lin_grow", "stepmode=even")),
        ({"growthRate": 6}, ("growthRate=6", "growthRate=4")),
        ({"nChannels": 16}, ("nChannels=16", "nChannels=8")),
        ({"grFactor": "1-2-8"}, ("grFactor=1-2-8", "grFactor=1-2-4")),
        ({"bnFactor": [1, 1, 1]}, ("bnFactor=1-1-1", "bnFactor=1-2-4")),
        ({"bottleneck": False}, ("bottleneck=False", "bottleneck=True")),
        ({"prune": "min"}, ("prune=min", "prune=max")),
        ({"reduction": 0.25}, ("reduction=0.25", "reduction=0.5")),
        ({"nScales": 4}, ("nScales=4", "nScales=3")),
        ({"data": "ImageNet", "num_classes": 10}, ("data=ImageNet", "data=cifar10")),
        ({"data": "cifar100"}, ("data=cifar100 has 100 classes", "num_classes=10")),
        ({"nChannel": 8}, ("nChannel", "nChannels")),
        ({"reduction": 2}, ("reduction=2", "0 to 1")),
        ({"grFactor": "1-2", "nScales": 3}, ("grFactor=1-2", "nScales=3")),
        ({"step": 0}, ("step=0", "positive")),
        ({"prune": "none"}, ("prune='none'", "min or max")),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_config_that_contradicts_the_weights_is_refused_naming_both(
    config: dict[str, object], words: tuple[str, ...]
) -> None:
    with pytest.raises(OptionError) as raised:
        from_weights(_weights(SMALL), config, "weights")
    assert all(word in str(raised.value) for word in words), raised.value


def test_what_the_weights_leave_open_is_taken_from_the_config() -> None:
    # Two blocks of 2 and 1 layers: even with step 1 is all that fits
    weights = _weights(replace(SMALL, nBlocks=2))
    wide = _weights(replace(SMALL, nBlocks=2, step=2))  # but 2 and 2 are also lin_grow with step 1
    assert infer_options(weights, {}, "w").stepmode == "even"
    assert infer_options(wide, {}, "w").step == 2
    assert infer_options(wide, {"stepmode": "lin_grow", "step": 1}, "w").depths == (2, 2)
    assert infer_options(_weights(SMALL), {"bnFactor": "1-2-4"}, "w").bnFactor == (1, 2, 4)


def test_weights_of_something_else_are_refused_with_a_sentence(tmp_path: Path) -> None:
    def refused(weights: dict[str, Tensor]) -> str:
        torch.save({"state_dict": weights}, tmp_path / "c.pth")
        with pytest.raises(CheckpointError) as raised:
            build(tmp_path / "c.pth", {}, None)
        return str(raised.value)

    assert "not an MSDNet" in refused(nn.Linear(2, 2).state_dict())
    short = _weights(SMALL)
    short.pop("classifier.2.linear.bias")
    assert "classifier.2.linear.bias" in refused(short)
    broken = _weights(SMALL)
    broken["blocks.1.0.layers.0.conv_normal.net.0.weight"][0] = float("nan")
    assert "NaN" in refused(broken)


def test_a_size_that_the_classifiers_cannot_pool_to_one_pixel_is_refused(tmp_path: Path) -> None:
    torch.save(_weights(SMALL), tmp_path / "c.pth")
    assert build(tmp_path / "c.pth", {}, None).inputs[0].shape == (1, 3, 32, 32)
    assert build(tmp_path / "c.pth", {}, (40, 24)).inputs[0].shape == (1, 3, 40, 24)
    with pytest.raises(OptionError, match=r"64x64.*17 to 48 px"):
        build(tmp_path / "c.pth", {}, (64, 64))
