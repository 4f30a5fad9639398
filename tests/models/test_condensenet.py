"""CondenseNet computes what the authors' implementation computes, in training form and converted, and refuses what it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import CheckpointError, EdgekitError, OptionError
from edgekit.export.macs import CostCounter
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions, LearnedGroupConv, converted
from edgekit.models.condensenet_checkpoint import StagedCondenseNet, build, from_weights, infer_options

SMALL: dict[str, object] = {
    "stages": (2, 1, 2), "growth": (8, 8, 16), "data": "cifar10", "group_1x1": 4, "group_3x3": 2, "condense_factor": 4,
    "num_classes": 10,
}  # fmt: skip


def _net(progress: float = 1.0, **options: object) -> CondenseNet:
    torch.manual_seed(0)
    net = CondenseNet(CondenseNetOptions(**{**SMALL, **options}))  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.weight)  # of both signs
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    net.condense(progress)
    return net.eval()


def _cases(shared: Path) -> list[Path]:
    cases = sorted((shared / "golden").glob("condensenet_*.json"))
    assert cases
    return cases


def _relative(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def test_every_golden_case_is_met_in_both_forms(shared: Path) -> None:
    for case in _cases(shared):
        spec, arrays = json.loads(case.read_text()), np.load(case.with_suffix(".npz"))
        for form, file in spec["checkpoints"].items():
            path = case.parent / file
            net = from_weights(read_state_dict(path), spec["config"], str(path))
            assert net.converted == (form == "converted")
            with torch.no_grad():
                logits = net(torch.from_numpy(arrays["image"])).numpy()
            assert _relative(logits, arrays[f"logits_{form}"]) <= 1e-4, f"{case.stem}, {form}"


def test_converting_gives_the_reference_s_own_tensors(shared: Path) -> None:
    for case in _cases(shared):
        spec = json.loads(case.read_text())
        train, done = (case.parent / spec["checkpoints"][form] for form in ("train", "converted"))
        ours = converted(from_weights(read_state_dict(train), spec["config"], str(train))).state_dict()
        theirs = read_state_dict(done)
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(ours[name], tensor), f"{case.stem}: {name}"


def test_options_come_from_the_weights_themselves(shared: Path) -> None:
    for case in _cases(shared):
        spec = json.loads(case.read_text())
        for file in spec["checkpoints"].values():
            found, _ = infer_options(read_state_dict(case.parent / file), {}, file)
            told, _ = infer_options(read_state_dict(case.parent / file), spec["config"], file)
            assert (
                found.stages == told.stages
                and found.growth == told.growth
                and found.group_1x1 == told.group_1x1
            )
            assert (found.condense_factor, found.group_3x3) == (told.condense_factor, told.group_3x3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"group_1x1": 2, "condense_factor": 4},  # a group reads a quarter, both together half of the features
        {"group_1x1": 8, "condense_factor": 2},  # the groups together read every feature four times
        {"group_1x1": 1, "group_3x3": 1, "condense_factor": 1},
        {"growth": (4, 4, 8), "group_3x3": 4, "bottleneck": 2, "condense_factor": 2},
        {"dropout_rate": 0.2, "data": "cifar100", "num_classes": 100},
    ],
    ids=str,
)
def test_conversion_changes_nothing_but_the_classifier(options: dict[str, object]) -> None:
    net = _net(**options)
    done = converted(net)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(net.features(x), done.features(x), rtol=1e-4, atol=1e-5)
    assert infer_options(done.state_dict(), {}, "x")[0].condense_factor == net.options.condense_factor
    read = from_weights(done.state_dict(), {}, "x")
    with torch.no_grad():
        assert torch.equal(read(x), done(x))


def test_condensation_drops_in_stages_over_the_first_half_of_training() -> None:
    kept = []
    for progress in (0.0, 0.1, 0.2, 0.4, 0.5, 1.0):
        conv = next(_net(progress).learned())
        kept.append(float(conv.mask.mean()))
    assert kept == [1.0, 1.0, 0.75, 0.5, 0.25, 0.25]
    conv = next(_net(0.5).learned())
    assert int(conv._stage) == 3 and int(conv._count) == 12
    assert torch.equal(conv.mask[:4], conv.mask[4:8])


def test_the_inputs_of_least_weight_are_dropped_for_each_group() -> None:
    conv = LearnedGroupConv(4, 4, groups=2, condense_factor=2)
    conv.conv.weight.data = torch.tensor([[4.0, 3, 2, 1], [1, 2, 3, 4], [4, 3, 2, 1], [1, 2, 3, 4]])[
        :, :, None, None
    ]
    conv.condense(0.5)
    assert conv.mask.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]]


def test_the_group_lasso_is_the_norm_over_each_group_s_outputs() -> None:
    conv = LearnedGroupConv(2, 4, groups=2, condense_factor=1)
    conv.conv.weight.data = torch.tensor([[3.0, 0], [1, 2], [4, 0], [0, 0]])[:, :, None, None]
    assert conv.lasso().item() == pytest.approx(5 + 1e-3 + 1 + 2, abs=1e-5)
    net = _net(0.0, group_lasso_lambda=1e-2)
    loss = net.group_lasso()
    loss.backward()
    assert loss.item() == pytest.approx(1e-2 * sum(conv.lasso().item() for conv in net.learned()), rel=1e-5)
    assert all(bool(conv.conv.weight.grad.isfinite().all()) for conv in net.learned())  # type: ignore[union-attr]


def _published_count(net: CondenseNet, side: int) -> tuple[float, float]:
    """Operations (millions) as the authors count them: multiply-adds, one a ReLU'd element, one an element that is pooled."""
    extra = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal extra
        extra += inputs[0].numel()

    for module in net.modules():
        if isinstance(module, (nn.AvgPool2d, nn.ReLU)):
            module.register_forward_pre_hook(count)
    for layers in net.blocks():
        for layer in layers:
            layer.conv_1.conv.register_forward_pre_hook(count)  # what enters it has passed a ReLU
    with torch.no_grad(), CostCounter(net) as cost:
        net.eval()(torch.zeros(1, 3, side, side))
    return (cost.macs + extra) / 1e6, cost.parameters / 1e6


@pytest.mark.parametrize(
    ("options", "side", "operations", "parameters"),
    [
        ({"group_1x1": 8, "group_3x3": 8, "condense_factor": 8}, 224, 274, 2.9),
        ({}, 224, 529, 4.8),
        (
            {"stages": (14, 14, 14), "growth": (8, 16, 32), "data": "cifar10", "num_classes": 10},
            32,
            65.8,
            0.52,
        ),
        (
            {"stages": (20, 20, 20), "growth": (8, 16, 32), "data": "cifar10", "num_classes": 10},
            32,
            116.7,
            0.95,
        ),
        (
            {"stages": (30, 30, 30), "growth": (12, 24, 48), "data": "cifar10", "num_classes": 10},
            32,
            513,
            4.2,
        ),
    ],
    ids=["74-c8", "74-c4", "cifar-86", "cifar-122", "cifar-182"],
)
def test_costs_are_the_published_ones(
    options: dict[str, object], side: int, operations: float, parameters: float
) -> None:
    net = CondenseNet(CondenseNetOptions(**options), converted=True)  # type: ignore[arg-type]
    counted, found = _published_count(net, side)
    assert counted == pytest.approx(operations, rel=0.01)
    assert found == pytest.approx(parameters, rel=0.015)


def _unstructured(weights: dict[str, Tensor]) -> None:
    mask = weights["features.denseblock_2.denselayer_1.conv_1._mask"]
    column = int(mask[0, :, 0, 0].nonzero()[0])
    mask[0, column] = 0


def _half_converted(weights: dict[str, Tensor]) -> None:
    done = converted(_net()).state_dict()
    layer = "features.denseblock_1.denselayer_1.conv_1."
    for name in [name for name in weights if name.startswith(layer)]:
        del weights[name]
    weights.update({name: tensor for name, tensor in done.items() if name.startswith(layer)})


def _only_the_classifier_converted(weights: dict[str, Tensor]) -> None:
    for name in ("classifier.weight", "classifier.bias"):
        del weights[name]
    weights.update({n: t for n, t in converted(_net()).state_dict().items() if n.startswith("classifier")})


def _empty_group(weights: dict[str, Tensor]) -> None:
    weights["features.denseblock_2.denselayer_1.conv_1._mask"][1::4] = 0


def _not_binary(weights: dict[str, Tensor]) -> None:
    weights["features.denseblock_2.denselayer_1.conv_1._mask"] *= 0.5


def _missing_block(weights: dict[str, Tensor]) -> None:
    for name in [name for name in weights if "denseblock_2" in name]:
        del weights[name]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_unstructured, "not structured in 4 groups"),
        (_half_converted, "half converted"),
        (_only_the_classifier_converted, "half converted"),
        (_empty_group, "without any input"),
        (_not_binary, "other values than 0 and 1"),
        (_missing_block, "dense blocks"),
    ],
)
def test_a_damaged_training_checkpoint_is_refused(
    damage: Callable[[dict[str, Tensor]], None], said: str
) -> None:
    weights = {name: tensor.clone() for name, tensor in _net().state_dict().items()}
    damage(weights)
    with pytest.raises(CheckpointError, match=said):
        converted(from_weights(weights, {}, "x.tar"))


def test_an_index_out_of_range_is_refused() -> None:
    for name in ("features.denseblock_1.denselayer_2.conv_1.index", "classifier.index"):
        for wrong in (-1, 100_000):
            weights = dict(converted(_net()).state_dict())
            weights[name] = torch.where(torch.arange(weights[name].numel()) == 3, wrong, weights[name])
            with pytest.raises(CheckpointError, match=f"points at feature {wrong}"):
                from_weights(weights, {}, "x.tar")


def test_a_training_that_is_not_done_condensing_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"condensation is not done \(stage 1 of 3\)"):
        converted(from_weights(_net(0.2).state_dict(), {}, "x.tar"))


def test_channels_that_do_not_divide_are_refused() -> None:
    with pytest.raises(
        OptionError, match=r"denseblock_1: bottleneck \* growth is 32, which group_1x1=3 does not divide"
    ):
        CondenseNet(CondenseNetOptions(group_1x1=3))
    weights = dict(converted(_net()).state_dict())
    name = "features.denseblock_1.denselayer_1.conv_1"
    weights[f"{name}.conv.weight"] = torch.zeros(32, 3, 1, 1)
    with pytest.raises(CheckpointError, match="do not divide"):
        from_weights(weights, {}, "x.tar")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"group_1x1": 2}, "group_1x1=2 contradicts the weights, which have group_1x1=4"),
        ({"stages": "2-2-2"}, r"stages=\[2, 2, 2\] contradicts"),
        ({"condense_factor": 8}, "contradicts"),
        ({"num_classes": 1000}, "contradicts"),
        ({"data": "mnist"}, "must be cifar10, cifar100, imagenet"),
        ({"growth": "8-x"}, "such as 8-16-32"),
        ({"depth": 74}, "has no option 'depth'"),
        ({"bottleneck": 0}, "positive whole number"),
        ({"dropout_rate": 1.5}, "from 0 to below 1"),
    ],
    ids=str,
)
def test_a_contradicting_or_unknown_option_is_refused(config: dict[str, object], said: str) -> None:
    with pytest.raises(EdgekitError, match=said):
        infer_options(converted(_net()).state_dict(), config, "x.tar")


def test_a_size_that_the_last_pooling_does_not_fit_is_refused() -> None:
    net = converted(_net())
    assert StagedCondenseNet(net, (40, 60)).inputs[0].shape == (1, 3, 40, 60)
    with pytest.raises(OptionError, match="takes 32 to 63 px a side"):
        StagedCondenseNet(net, (32, 64))


def test_without_a_checkpoint_it_is_the_shipped_one_which_knows_how_right_it_is() -> None:
    staged = build(None, {}, None)
    assert staged.options["data"] == "cifar10" and list(staged.accuracies) == ["stage1"]


def test_a_training_checkpoint_is_converted_and_said_so(tmp_path: Path) -> None:
    torch.save({"state_dict": {f"module.{n}": t for n, t in _net().state_dict().items()}}, tmp_path / "x.tar")
    staged = build(tmp_path / "x.tar", {}, None)
    assert staged.options["data"] == "cifar10" and staged.inputs[0].height == 32
    assert "parity is proven against the converted network" in staged.notes[0]
    torch.save({"state_dict": staged.net.state_dict()}, tmp_path / "y.tar")
    assert build(tmp_path / "y.tar", {}, None).notes == ()


def test_a_training_checkpoint_may_keep_its_whole_classifier_and_its_answers(tmp_path: Path) -> None:
    net = _net()
    torch.save({"state_dict": net.state_dict()}, tmp_path / "x.tar")
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    staged = build(tmp_path / "x.tar", {"classifier_share": 1}, None)
    torch.testing.assert_close(staged.reference(image)[0], net(image), rtol=1e-4, atol=1e-5)
    assert "are the training network's" in staged.notes[0]
    for share in (0, 1.5, True, "all"):
        with pytest.raises(OptionError, match="above 0 and up to 1"):
            build(tmp_path / "x.tar", {"classifier_share": share}, None)
    torch.save({"state_dict": build(tmp_path / "x.tar", {}, None).net.state_dict()}, tmp_path / "y.tar")
    with pytest.raises(OptionError, match="converted already"):
        build(tmp_path / "y.tar", {"classifier_share": 1}, None)


def test_what_no_mask_tells_is_said_to_be_assumed_where_it_does_not_fit() -> None:
    """A condense factor of 1 drops nothing, so that the file looks like one before its training."""
    options = CondenseNetOptions(
        stages=(3,), growth=(6,), data="cifar10", group_1x1=2, group_3x3=2, condense_factor=1, num_classes=10
    )
    weights = CondenseNet(options).state_dict()
    with pytest.raises(CheckpointError, match=r"group_1x1=4 and condense_factor=4, which --config"):
        from_weights(weights, {"data": "cifar10"}, "net.tar")
    told = {"data": "cifar10", "group_1x1": 2, "condense_factor": 1}
    assert from_weights(weights, told, "net.tar").options.condense_factor == 1


@pytest.mark.parametrize(
    ("tensor", "wrong", "said"),
    [
        ("conv_1.index", torch.zeros(0, dtype=torch.int64), "group_1x1 0: a group has no inputs"),
        ("conv_1.conv.weight", torch.zeros(0, 8, 1, 1), "bottleneck 0: a group has no inputs or no outputs"),
        ("conv_1.index", torch.zeros(16), "index holds torch.float32, where torch.int64"),
        ("conv_1.norm.num_batches_tracked", torch.zeros(0, dtype=torch.int64), r"num_batches_tracked is \(0,\)"),
        ("conv_2.conv.weight", torch.zeros(8, 8, 3, 3, dtype=torch.complex64), "holds torch.complex64"),
    ],
)  # fmt: skip
def test_tensors_that_no_conversion_writes_are_refused(tensor: str, wrong: torch.Tensor, said: str) -> None:
    weights = dict(converted(_net()).state_dict())
    name = f"features.denseblock_1.denselayer_1.{tensor}"
    if wrong.numel():
        wrong = wrong.flatten()[:1].expand(weights[name].shape).clone()
    weights[name] = wrong
    with pytest.raises(CheckpointError, match=said):
        from_weights(weights, {}, "x.tar")


def test_a_mask_with_a_side_too_many_is_refused() -> None:
    weights = dict(_net().state_dict())
    name = "features.denseblock_1.denselayer_1.conv_1._mask"
    weights[name] = weights[name][None]
    with pytest.raises(CheckpointError, match=r"no usable .*conv_1\._mask"):
        from_weights(weights, {}, "x.tar")
