"""CondenseNet (Huang et al., arXiv 1711.09224): a dense network whose 1x1 convolutions learn which inputs each group reads.

The parts stand in the order of the paper: the learned group convolution while it is trained (section 3.1 and 3.2), its form
for inference (figure 3, right), the dense layer and the network (section 3.3 and table 1). Module names are those of the
authors' checkpoint files.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.errors import CheckpointError, OptionError

CIFAR = ("cifar10", "cifar100")
DATA = (*CIFAR, "imagenet")
# Of the classifier's inputs, what conversion keeps by default: the authors' own, fixed in their code.
CLASSIFIER_SHARE = 0.5


@dataclass(frozen=True)
class CondenseNetOptions:
    """The architecture's options under the authors' names.

    Attributes:
        stages: layers of each dense block.
        growth: channels that a layer of each block adds.
        data: ``cifar10`` and ``cifar100`` read 32x32 px and end in an 8x8 pooling, ``imagenet`` halves its pictures at
            once and ends in a 7x7 one. No weight depends on it.
        bottleneck: a layer's 1x1 convolution has bottleneck * growth outputs.
        group_1x1, group_3x3: groups of the two convolutions of a layer.
        condense_factor: a group of the 1x1 convolution reads 1 / condense_factor of the features before it.
        num_classes: outputs of the classifier.
        dropout_rate, group_lasso_lambda: what training adds; inference does not see them.
    """

    stages: tuple[int, ...] = (4, 6, 8, 10, 8)
    growth: tuple[int, ...] = (8, 16, 32, 64, 128)
    data: str = "imagenet"
    bottleneck: int = 4
    group_1x1: int = 4
    group_3x3: int = 4
    condense_factor: int = 4
    num_classes: int = 1000
    dropout_rate: float = 0.0
    group_lasso_lambda: float = 0.0

    @property
    def stem_stride(self) -> int:
        """Of the first convolution."""
        return 1 if self.data in CIFAR else 2

    @property
    def last_pool(self) -> int:
        """Side of the window that the last average pooling takes."""
        return 8 if self.data in CIFAR else 7

    def inputs(self, block: int, layer: int) -> int:
        """Channels that a layer reads; ``layer`` may be one past the block's last."""
        before = sum(s * g for s, g in zip(self.stages[:block], self.growth, strict=False))
        return 2 * self.growth[0] + before + layer * self.growth[block]

    def check(self) -> None:
        """Refuse options that do not fit together.

        Raises:
            OptionError: channels do not divide into groups; the message names the layer.
        """
        if len(self.stages) != len(self.growth):
            raise OptionError(
                f"stages={list(self.stages)} and growth={list(self.growth)} must have one number a block each"
            )
        for block, (layers, growth) in enumerate(zip(self.stages, self.growth, strict=True)):
            middle = self.bottleneck * growth
            for what, channels, name, parts in (
                ("bottleneck * growth", middle, "group_1x1", self.group_1x1),
                ("bottleneck * growth", middle, "group_3x3", self.group_3x3),
                ("growth", growth, "group_3x3", self.group_3x3),
                *(
                    (
                        f"inputs of denselayer_{k + 1}",
                        self.inputs(block, k),
                        "condense_factor",
                        self.condense_factor,
                    )
                    for k in range(layers)
                ),
            ):
                if channels % parts:
                    raise OptionError(
                        f"denseblock_{block + 1}: {what} is {channels}, which {name}={parts} does not divide"
                    )


# --- Section 3.1 and 3.2: the learned group convolution, in training -------------------------------------------------


class LearnedGroupConv(nn.Module):
    """Norm, ReLU and a 1x1 convolution that drops the inputs of least use to each group, stage by stage.

    Output channel o belongs to group o % groups. ``_mask`` (outputs, inputs, 1, 1) is 0 where an input was dropped for a
    group, ``_stage`` counts the condensing stages that are done and ``_count`` the inputs that each group has lost.
    """

    def __init__(
        self, inputs: int, outputs: int, groups: int, condense_factor: int, dropout_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.groups, self.condense_factor = groups, condense_factor
        self.norm = nn.BatchNorm2d(inputs)
        self.dropout_rate = dropout_rate
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self._count: Tensor
        self._stage: Tensor
        self._mask: Tensor
        self.register_buffer("_count", torch.zeros(1))
        self.register_buffer("_stage", torch.zeros(1))
        self.register_buffer("_mask", torch.ones(outputs, inputs, 1, 1))

    @property
    def mask(self) -> Tensor:
        """Which weights are kept, (outputs, inputs), 1 or 0."""
        return self._mask[:, :, 0, 0]

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(F.relu(self.norm(x)), self.dropout_rate, self.training)
        return F.conv2d(x, self.conv.weight * self._mask)

    def condense(self, progress: float) -> None:
        """Catch up with the condensing stages that training has reached.

        Args:
            progress: share of the training that is done, 0 to 1. The condense_factor - 1 stages end evenly spread over
                its first half (section 3.2, figure 4); each drops 1 / condense_factor of the inputs.
        """
        stages = self.condense_factor - 1
        reached = min(int(2 * progress * stages), stages)
        while int(self._stage) < reached:
            self._drop(self.conv.in_channels // self.condense_factor)
            self._stage += 1

    def _drop(self, count: int) -> None:
        """Drop for each group the ``count`` inputs whose remaining weights are smallest in sum of magnitudes."""
        use = (self.conv.weight.detach() * self._mask).abs().flatten(1)
        use = use.view(-1, self.groups, use.shape[1]).sum(0)  # (groups, inputs)
        kept = self.mask[: self.groups] > 0
        least = use.masked_fill(~kept, torch.inf).topk(count, dim=1, largest=False).indices
        dropped = torch.zeros_like(kept).scatter(1, least, True)
        self._mask *= (~dropped).float().repeat(self._mask.shape[0] // self.groups, 1)[:, :, None, None]
        self._count += count

    def lasso(self) -> Tensor:
        """The group-lasso term of section 3.2: sum over groups and inputs of the norm of their shared weights."""
        weight = (self.conv.weight * self._mask).view(-1, self.groups, self.conv.in_channels)
        return weight.square().sum(0).clamp(min=1e-6).sqrt().sum()  # where all are 0, sqrt has no gradient


# --- Figure 3, right: its form for inference --------------------------------------------------------------------------


class CondensedConv(nn.Module):
    """Index, norm, ReLU, group convolution and shuffle; ``index`` (groups * inputs / condense_factor) picks features."""

    def __init__(self, inputs: int, outputs: int, groups: int, condense_factor: int) -> None:
        super().__init__()
        self.inputs, self.groups = inputs, groups
        picked = inputs * groups // condense_factor
        self.index: Tensor
        self.register_buffer("index", torch.zeros(picked, dtype=torch.int64))
        self.norm = nn.BatchNorm2d(picked)
        self.conv = nn.Conv2d(picked, outputs, 1, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.relu(self.norm(x.index_select(1, self.index))))
        return shuffle(y, self.groups)


class CondensedLinear(nn.Module):
    """A linear layer that reads only the features named in ``index``."""

    def __init__(self, inputs: int, outputs: int, share: float = CLASSIFIER_SHARE) -> None:
        super().__init__()
        self.inputs = inputs
        kept = int(inputs * share)
        self.index: Tensor
        self.register_buffer("index", torch.zeros(kept, dtype=torch.int64))
        self.linear = nn.Linear(kept, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.index_select(1, self.index))  # type: ignore[no-any-return]


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel c of group g to place c * groups + g."""
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


def condensed(learned: LearnedGroupConv, name: str) -> CondensedConv:
    """The inference form of a learned group convolution whose condensation is done; both compute the same.

    Raises:
        CheckpointError: its mask is not made of 0 and 1, differs within a group, leaves a group without inputs, or keeps
            another number of them than 1 / condense_factor.
    """
    mask, groups, factor = learned.mask, learned.groups, learned.condense_factor
    outputs, inputs = mask.shape
    check_mask(mask, groups, name)
    kept = mask[:groups].sum(1)
    if not bool((kept > 0).all()):
        raise CheckpointError(
            f"{name}: its mask leaves group {int(kept.argmin())} without any input; the file is damaged"
        )
    if not bool((kept == inputs // factor).all()):
        counts = ", ".join(map(str, sorted({int(k) for k in kept})))
        raise CheckpointError(
            f"{name}: its groups keep {counts} of {inputs} inputs, condense_factor={factor} means {inputs // factor}: "
            f"condensation is not done (stage {int(learned._stage)} of {factor - 1}), or the factor is another one"
        )
    net = CondensedConv(inputs, outputs, groups, factor)
    index = mask[:groups].nonzero()[:, 1]
    for part, of in ((net.norm.weight, learned.norm.weight), (net.norm.bias, learned.norm.bias),
                     (net.norm.running_mean, learned.norm.running_mean), (net.norm.running_var, learned.norm.running_var)):  # fmt: skip
        assert part is not None and of is not None
        part.data.copy_(of.data[index])
    net.norm.eps = learned.norm.eps
    net.index.copy_(index)
    # (groups, outputs / groups, inputs)
    weight = learned.conv.weight.data.view(-1, groups, inputs).transpose(0, 1)
    picked = weight.gather(2, index.view(groups, 1, -1).expand(-1, outputs // groups, -1))
    net.conv.weight.data.copy_(picked.flatten(0, 1)[:, :, None, None])
    return net


def check_mask(mask: Tensor, groups: int, name: str) -> None:
    """Refuse a mask (outputs, inputs) that is not the same for all outputs of a group.

    Raises:
        CheckpointError: so it is, or holds something else than 0 and 1.
    """
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise CheckpointError(f"{name}: its mask holds other values than 0 and 1; the file is damaged")
    if mask.shape[0] % groups or not torch.equal(mask, mask[:groups].repeat(mask.shape[0] // groups, 1)):
        raise CheckpointError(
            f"{name}: its mask is not structured in {groups} groups (outputs of a group must keep the same inputs); "
            "give the right group_1x1, or the file is not a CondenseNet's"
        )


def condensed_linear(linear: nn.Linear, share: float = CLASSIFIER_SHARE) -> CondensedLinear:
    """The classifier on the share of its inputs whose weights are largest in sum of magnitudes, the least of them first."""
    net = CondensedLinear(linear.in_features, linear.out_features, share)
    order = linear.weight.data.abs().sum(0).sort().indices
    index = order[linear.in_features - net.index.numel() :]
    net.index.copy_(index)
    net.linear.weight.data.copy_(linear.weight.data[:, index])
    net.linear.bias.data.copy_(linear.bias.data)
    return net


# --- Section 3.3: the network -----------------------------------------------------------------------------------------


class DenseLayer(nn.Module):
    """Learned 1x1 group convolution, then a 3x3 one with fixed groups; ``growth`` features join those before."""

    def __init__(self, inputs: int, growth: int, options: CondenseNetOptions, converted: bool) -> None:
        super().__init__()
        middle, o = options.bottleneck * growth, options
        self.conv_1: LearnedGroupConv | CondensedConv = (
            CondensedConv(inputs, middle, o.group_1x1, o.condense_factor)
            if converted
            else LearnedGroupConv(inputs, middle, o.group_1x1, o.condense_factor, o.dropout_rate)
        )
        self.conv_2 = nn.Sequential(
            OrderedDict(
                norm=nn.BatchNorm2d(middle),
                relu=nn.ReLU(),
                conv=nn.Conv2d(middle, growth, 3, padding=1, groups=o.group_3x3, bias=False),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.conv_2(self.conv_1(x))), dim=1)


class CondenseNet(nn.Module):
    """Classifier of pictures, while it is trained (``converted=False``) or as it is used; see `CondenseNetOptions`."""

    def __init__(self, options: CondenseNetOptions | None = None, converted: bool = False) -> None:
        super().__init__()
        self.options = o = options or CondenseNetOptions()
        self.converted = converted
        o.check()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["init_conv"] = nn.Conv2d(3, 2 * o.growth[0], 3, o.stem_stride, padding=1, bias=False)
        last = len(o.stages) - 1
        for block, (layers, growth) in enumerate(zip(o.stages, o.growth, strict=True)):
            dense: OrderedDict[str, nn.Module] = OrderedDict()
            for k in range(layers):
                dense[f"denselayer_{k + 1}"] = DenseLayer(o.inputs(block, k), growth, o, converted)
            parts[f"denseblock_{block + 1}"] = nn.Sequential(dense)
            if block < last:
                parts[f"transition_{block + 1}"] = nn.AvgPool2d(2)
        features = o.inputs(last, o.stages[last])
        parts["norm_last"] = nn.BatchNorm2d(features)
        parts["relu_last"] = nn.ReLU()
        parts["pool_last"] = nn.AvgPool2d(o.last_pool)
        self.features = nn.Sequential(parts)
        self.classifier: nn.Linear | CondensedLinear = (
            CondensedLinear(features, o.num_classes) if converted else nn.Linear(features, o.num_classes)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Normalised RGB pictures (B, 3, H, W) to logits (B, classes)."""
        return self.classifier(self.features(image).flatten(1))  # type: ignore[no-any-return]

    def blocks(self) -> Sequence[Sequence[DenseLayer]]:
        """The dense layers by block."""
        found = [part for name, part in self.features.named_children() if name.startswith("denseblock_")]
        return [[layer for layer in block.children() if isinstance(layer, DenseLayer)] for block in found]

    def learned(self) -> Iterator[LearnedGroupConv]:
        """Every learned group convolution; none once converted."""
        return (module for module in self.modules() if isinstance(module, LearnedGroupConv))

    def condense(self, progress: float) -> None:
        """Tell every learned group convolution that ``progress`` (0 to 1) of the training is done."""
        for conv in self.learned():
            conv.condense(progress)

    def group_lasso(self) -> Tensor:
        """What training adds to its loss: group_lasso_lambda times every convolution's `LearnedGroupConv.lasso`."""
        terms = [conv.lasso() for conv in self.learned()]
        return self.options.group_lasso_lambda * (torch.stack(terms).sum() if terms else torch.zeros(()))


def converted(
    net: CondenseNet, source: str = "the network", classifier_share: float = CLASSIFIER_SHARE
) -> CondenseNet:
    """The inference form of a trained network: every 1x1 convolution condensed, a share of the classifier's inputs kept.

    The convolutions compute what they computed; the classifier does so only with ``classifier_share=1``, since below it drops
    inputs that it was trained with.

    Raises:
        CheckpointError: a mask is not what condensation leaves; see `condensed`.
    """
    result = CondenseNet(net.options, converted=True)
    for block, (old, new) in enumerate(zip(net.blocks(), result.blocks(), strict=True)):
        for k, (before, after) in enumerate(zip(old, new, strict=True)):
            assert isinstance(before.conv_1, LearnedGroupConv)
            after.conv_1 = condensed(
                before.conv_1, f"{source}: denseblock_{block + 1}.denselayer_{k + 1}.conv_1"
            )
            after.conv_2.load_state_dict(before.conv_2.state_dict())
    for name in ("init_conv", "norm_last"):
        result.features.get_submodule(name).load_state_dict(net.features.get_submodule(name).state_dict())
    assert isinstance(net.classifier, nn.Linear)
    result.classifier = condensed_linear(net.classifier, classifier_share)
    return result.eval()
