"""OQA's supernet and subnets compute what the authors' do, and their checkpoints say what is wrong with them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit.errors import CheckpointError, OptionError
from edgekit.export.macs import CostCounter
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.lsq import LsqConv2d, activation_levels, codes, fits, weight_levels
from edgekit.models.oqa import Supernet
from edgekit.models.oqa_catalogue import PublishedSubnet, find, published
from edgekit.models.oqa_space import SubnetConfig, SupernetOptions, largest, subnet_config
from edgekit.models.oqa_staged import StagedOqa, build, infer_options, supernet_of
from tests.golden_subnets import golden_subnets

ABSORBED, SHOWN = (
    1e-5,
    1e-3,
)  # relative change of the logits below and above which a flipped code has not or has reached them
NARROW = SupernetOptions(bits=3, width_mult=0.25, num_classes=5)


def _weights(options: SupernetOptions = NARROW) -> dict[str, Tensor]:
    """A random supernet with LSQ's first steps."""
    torch.manual_seed(0)
    supernet = Supernet(options)
    weights = supernet.state_dict()
    for name, weight in weights.items():
        if name.endswith(".sw"):
            weight = weights[name.removesuffix("sw") + "weight"].uniform_(-0.2, 0.2)
            weights[name] = 2 * weight.abs().mean().view(1) / weight_levels(options.bits)[1] ** 0.5
    return weights


def _one(checkpoint: Path, config: dict[str, object], size: tuple[int, int] | None) -> StagedOqa:
    staged = build(checkpoint, config, size)
    assert isinstance(staged, StagedOqa)
    return staged


def test_every_golden_subnet_is_met(shared: Path) -> None:
    cases = sorted((shared / "golden").glob("oqa_*.json"))
    assert cases
    for case in cases:
        spec: dict[str, Any] = json.loads(case.read_text())
        arrays = np.load(case.with_suffix(".npz"))
        checkpoint = case.parent / spec["checkpoint"]
        config = {**spec["config"], "bits": spec["bits"]}
        supernet = supernet_of(read_state_dict(checkpoint), config, str(checkpoint))
        for output, subnet in zip(spec["outputs"], spec["subnets"], strict=True):
            net = supernet.subnet(subnet_config(supernet.options, subnet))
            with torch.no_grad():
                logits = net(torch.from_numpy(arrays["image"])).numpy()
            error = np.abs(logits - arrays[output]).max() / np.abs(arrays[output]).max()
            assert error <= 1e-4, f"{case.name}, {output}: {error:.1e}"


class TorchsQuantisers(torch.nn.Module):
    """A quantised convolution by torch's own fake quantisation, which knows nothing of ours but the trained numbers."""

    def __init__(self, conv: LsqConv2d) -> None:
        super().__init__()
        self.step, self.top = conv.sa.abs().item(), 2**conv.bits - 1
        half = 2 ** (conv.bits - 1)
        self.weight = torch.fake_quantize_per_tensor_affine(
            conv.weight.detach(), conv.sw.abs().item(), 0, -half, half - 1
        )
        self.stride, self.groups = conv.stride, conv.groups
        self.seen = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        quantised = torch.fake_quantize_per_tensor_affine(x, self.step, 0, 0, self.top)
        self.seen = (quantised / self.step).round()
        pad = self.weight.shape[-1] // 2
        return torch.nn.functional.conv2d(quantised, self.weight, None, self.stride, pad, 1, self.groups)


def test_every_layer_of_the_golden_subnets_has_the_codes_of_torchs_own_quantisers(shared: Path) -> None:
    """Two networks side by side, each on its own activations: the one with torch's quantisers meets the reference's logits as well."""
    for case, net, image, wanted in golden_subnets(shared):
        judge, mine = copy.deepcopy(net), dict[str, Tensor]()
        for name, layer in net.quantised().items():
            judge.set_submodule(f"{name}.conv", TorchsQuantisers(layer.conv))
            layer.conv.register_forward_pre_hook(
                lambda conv, given, name=name, mine=mine: mine.update({name: conv.input_codes(given[0])})
            )
        with torch.no_grad():
            logits = judge(torch.from_numpy(image)).numpy()
            net(torch.from_numpy(image))
        assert np.abs(logits - wanted).max() <= 1e-4 * np.abs(wanted).max()
        for name, layer in judge.quantised().items():
            theirs = cast(TorchsQuantisers, layer.conv).seen
            assert theirs.shape == mine[name].shape and len(theirs.unique()) > 1
            assert float((theirs == mine[name]).double().mean()) >= 0.9999, f"{case}: {name}"


def test_a_code_that_differs_would_be_seen_in_the_golden_logits(shared: Path) -> None:
    """The vectors hold logits alone. A single code flipped anywhere either is rounded away behind it, or moves them a thousand
    times as far as they are from the reference's: so agreeing logits leave no room for codes that differ and matter."""
    case = shared / "golden" / "oqa_b4.json"
    spec: dict[str, Any] = json.loads(case.read_text())
    arrays = np.load(case.with_suffix(".npz"))
    config = {**spec["config"], "bits": spec["bits"]}
    supernet = supernet_of(read_state_dict(case.parent / spec["checkpoint"]), config, case.name)
    net = supernet.subnet(subnet_config(supernet.options, spec["subnets"][0]))
    image, wanted = torch.from_numpy(arrays["image"][:1]), arrays[spec["outputs"][0]][:1]
    generator = torch.Generator().manual_seed(0)

    def flipped(conv: LsqConv2d, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        found = conv.input_codes(inputs[0])
        one = int(torch.randint(found.numel(), (1,), generator=generator))
        flat = found.view(-1)
        flat[one] += 1 if flat[one] < activation_levels(conv.bits)[1] else -1
        return (found * conv.sa.abs(),)

    with torch.no_grad():
        own = net(image).numpy()
        changes = []
        for layer in net.quantised().values():
            handle = layer.conv.register_forward_pre_hook(flipped)
            changes.append(np.abs(net(image).numpy() - own).max() / np.abs(wanted).max())
            handle.remove()
    assert np.abs(own - wanted).max() / np.abs(wanted).max() < ABSORBED
    assert not [change for change in changes if ABSORBED <= change <= SHOWN]
    assert sum(change > SHOWN for change in changes) > len(changes) / 3


def test_what_the_shapes_and_untouched_steps_tell_need_not_be_said(shared: Path) -> None:
    for case in sorted((shared / "golden").glob("oqa_*.json")):
        spec = json.loads(case.read_text())
        told = infer_options(read_state_dict(case.parent / spec["checkpoint"]), {}, case.name)
        config = {name: tuple(v) if isinstance(v, list) else v for name, v in spec["config"].items()}
        assert told == SupernetOptions(bits=spec["bits"], **config)


@pytest.mark.parametrize("published_subnet", published(), ids=lambda subnet: subnet.name)
def test_macs_and_parameters_are_the_published_ones_to_the_last_digit(
    published_subnet: PublishedSubnet,
) -> None:
    with torch.device("meta"):
        supernet = Supernet(SupernetOptions(published_subnet.bits))
        net = supernet.subnet(published_subnet.subnet)
        image = torch.empty(1, 3, published_subnet.image_size, published_subnet.image_size)
    with torch.no_grad(), CostCounter(net) as cost:
        net(image)
    assert round(cost.macs / 1e6, 3) == published_subnet.macs_m
    assert round(cost.parameters / 1e6, 3) == published_subnet.params_m


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_codes_are_those_of_torchs_own_fake_quantisation(bits: int) -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(bits))
    for low, high in (activation_levels(bits), weight_levels(bits)):
        for step in (0.25, -0.25):  # a power of two: x / step and x * (1 / step) round alike
            judged = torch.fake_quantize_per_tensor_affine(x, 0.25, 0, low, high)
            assert torch.equal(codes(x, torch.tensor([step]), low, high) * 0.25, judged)


def test_a_ready_subnet_is_one_stage_with_logits_named_after_it(tmp_path: Path) -> None:
    torch.save({"state_dict": _weights()}, tmp_path / "net.pth")
    staged = _one(tmp_path / "net.pth", {"d": 2, "ks": 3, "e": 3}, (64, 64))
    (stage,) = staged.stages()
    assert (stage.name, stage.inputs, stage.exit) == ("stage1", ("image",), "logits1")
    assert staged.reference(torch.zeros(1, 3, 64, 64))[0].shape == (1, 5)
    assert staged.options["bits"] == 3 and staged.options["d"] == [2] * 5
    json.dumps(staged.options)


def test_a_subnet_is_a_copy_that_its_supernet_does_not_feel() -> None:
    supernet = Supernet(NARROW)
    net = supernet.subnet(largest(NARROW))
    before = supernet.state_dict()["blocks.1.mobile_inverted_conv.depth_conv.bn.bn.running_mean"].clone()
    net.train()(torch.randn(2, 3, 64, 64))
    assert torch.equal(
        supernet.state_dict()["blocks.1.mobile_inverted_conv.depth_conv.bn.bn.running_mean"], before
    )


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"ks": [3] * 19}, "ks has 19 numbers, and must have 20"),
        ({"d": [2] * 6}, "d has 6 numbers, and must have 5"),
        ({"e": 5}, "e: 5 is outside the supernet's space, which has 3, 4, 6"),
        ({"e": "3,4"}, "which has 3, 4, 6; several are written [3,4,...]"),
        ({"ks": [3] * 19 + [9]}, "ks: 9 is outside"),
        ({"d": [True] * 5}, "outside"),
        ({"bits": 8}, "bits=8: OQA's networks have 2, 3, 4 bits"),
        ({"bits": 3.0}, "bits=3.0: OQA's networks have 2, 3, 4 bits"),
        ({"bits": 4}, "bits=4 contradicts its step sizes, which were trained for 3 bits"),
        ({"bits": 2}, "bits=2 contradicts its step sizes, which were trained for 3 bits"),
        ({"width_mult": 1.0}, "width_mult=1.0 contradicts the weights, which have width_mult=0.25"),
        ({"num_classes": 7}, "num_classes=7 contradicts"),
        ({"ks_list": [3, 5]}, "ks_list=[3, 5] contradicts"),
        ({"depth_list": [2, 3]}, "depth_list=[2, 3] contradicts the weights, which go up to 4"),
        ({"growth": 1}, "OQA has no option 'growth'"),
        ({"subnet": "oqa-b4-71.4"}, "did you mean oqa-b4-71.3"),
        ({"subnet": "oqa-b4-71.3", "bits": 2}, "bits=2 was given too"),
    ],
    ids=str,
)
def test_what_the_weights_or_the_space_contradict_is_refused(
    config: dict[str, object], says: str, tmp_path: Path
) -> None:
    torch.save({"state_dict": _weights()}, tmp_path / "net.pth")
    with pytest.raises(OptionError) as raised:
        build(tmp_path / "net.pth", config, (64, 64))
    if "contradicts" in says and "=[" in says:
        assert "contradicts" in str(raised.value)
    else:
        assert says in str(raised.value)


@pytest.mark.parametrize("step", [0.0, float("nan"), float("inf"), 1e-42, -3e38])
def test_a_step_that_spans_no_grid_is_refused_by_name(step: float) -> None:
    weights = _weights()
    name = "blocks.3.mobile_inverted_conv.depth_conv.conv.conv.sa"
    weights[name] = torch.tensor([step])
    with pytest.raises(CheckpointError, match=r"blocks\.3.*sa is .*spans no grid"):
        supernet_of(weights, {"bits": 3}, "net.pth")


def test_another_networks_weights_are_refused() -> None:
    with pytest.raises(CheckpointError, match="not an OQA supernet"):
        infer_options({"conv.weight": torch.zeros(1)}, {}, "net.pth")
    weights = _weights()
    del weights["blocks.7.mobile_inverted_conv.depth_conv.bn.bn.running_var"]
    with pytest.raises(CheckpointError, match="1 tensors missing"):
        supernet_of(weights, {}, "net.pth")


def test_trained_steps_leave_the_bits_open_unless_they_exclude_them() -> None:
    """Steps that minimise the error of Gaussian weights: 0.335, 0.586 and 0.996 of their deviation for 4, 3 and 2 bits."""
    torch.manual_seed(0)
    for bits, step in ((4, 0.335), (3, 0.586), (2, 0.996)):
        weights = {f"{k}.weight": torch.randn(4000) for k in range(8)}
        weights |= {f"{k}.sw": torch.tensor([step]) for k in range(8)}
        assert fits(weights, bits)
        assert not fits(weights, 2) if bits == 4 else not fits(weights, 4) if bits == 2 else True


def test_an_image_size_that_was_not_published_is_warned_of(tmp_path: Path) -> None:
    torch.save({"state_dict": _weights(SupernetOptions(bits=2))}, tmp_path / "net.pth")
    with pytest.warns(UserWarning, match="published for pictures of 224x224 px; at 64x64"):
        staged = _one(tmp_path / "net.pth", {"subnet": "oqa-b2-64.1"}, (64, 64))
    assert staged.inputs[0].shape == (1, 3, 64, 64) and staged.options["subnet"] == "oqa-b2-64.1"


def test_several_published_subnets_are_alternatives_of_rising_cost(tmp_path: Path) -> None:
    torch.save({"state_dict": _weights(SupernetOptions(bits=2))}, tmp_path / "net.pth")
    built = build(tmp_path / "net.pth", {"subnet": ["oqa-b2-64.1", "oqa-b2-42.4"]}, None)
    assert isinstance(built, list)
    assert [(one.name, one.source) for one in built] == [
        ("oqa-b2-42.4", "published"),
        ("oqa-b2-64.1", "published"),
    ]
    assert [one.accuracy for one in built] == pytest.approx([0.4239, 0.64148])
    assert [one.model.inputs[0].height for one in built] == [128, 224]
    with pytest.raises(OptionError, match="have different bits"):
        build(tmp_path / "net.pth", {"subnet": ["oqa-b2-64.1", "oqa-b4-71.3"]}, None)


def test_the_catalogue_names_nineteen_subnets_by_bits_and_published_accuracy() -> None:
    names = [subnet.name for subnet in published()]
    assert len(set(names)) == 19 and "oqa-b2-64.1" in names
    assert find("oqa-b2-64.1").imagenet_top1 == 64.148
    assert find("oqa-b2-64.1").to_json()["figures"] == "published"


def test_one_number_stands_for_all() -> None:
    assert subnet_config(NARROW, {"ks": 5, "e": 4, "d": 3}) == SubnetConfig((5,) * 20, (4,) * 20, (3,) * 5)
