"""A CondenseNet layer as plain arrays, and the identities that its forms are built of.

before: index, norm, ReLU, group conv, shuffle, norm, ReLU, group conv
after:  y = conv3(relu(W1 relu(scale x + shift) + bias)) with W1 (middle, inputs) zero where a group reads nothing

The shuffle is an order of W1's rows, the second norm a factor and a bias of them. What a group reads of one feature may be
normalised differently in every group (the file of a converted network allows it), so a *tap* is one feature with one scale
and shift, and all forms are built on taps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Kernel, affine, conv2d
from edgekit.models.condensenet import CondensedConv, DenseLayer

LANES = 16  # channels that ONNX Runtime keeps side by side with AVX-512; 8 with AVX2, which divides it


@dataclass(frozen=True)
class Taps:
    """What the groups of a 1x1 convolution read: ``index``, ``scale`` and ``shift`` (groups, taps of a group)."""

    index: Tensor
    scale: Tensor
    shift: Tensor

    def per_feature(self, inputs: int) -> tuple[Tensor, Tensor] | None:
        """Scale and shift (inputs) by feature, 0 for those that nobody reads; None where a feature has several."""
        scale, shift = torch.zeros(inputs), torch.zeros(inputs)
        index = self.index.flatten()
        scale[index], shift[index] = self.scale.flatten(), self.shift.flatten()
        same = torch.equal(scale[index], self.scale.flatten()) and torch.equal(
            shift[index], self.shift.flatten()
        )
        return (scale, shift) if same else None

    def padded(self, lanes: int) -> Taps:
        """Every group filled up to a multiple of ``lanes`` with taps whose value is 0."""
        missing = -self.index.shape[1] % lanes
        return Taps(*(F.pad(part, (0, missing)) for part in (self.index, self.scale, self.shift)))


@dataclass(frozen=True)
class LayerArrays:
    """One dense layer.

    Attributes:
        inputs: features before it.
        taps: what its 1x1 convolution reads.
        reading: weights (groups, outputs of a group, taps of a group) of the 1x1 convolution, the second norm's scale included.
        bias: (groups, outputs of a group), the second norm's shift. Output c of group g is bottleneck channel c * groups + g.
        growing: weights (growth, middle / groups_3x3, 3, 3) of the 3x3 convolution, whose groups follow bottleneck channels.
        groups_3x3: its groups.
    """

    inputs: int
    taps: Taps
    reading: Tensor
    bias: Tensor
    growing: Tensor
    groups_3x3: int

    @property
    def growth(self) -> int:
        return self.growing.shape[0]

    @property
    def middle(self) -> int:
        return self.bias.numel()

    def dense_reading(self) -> Kernel:
        """The 1x1 convolution over all features, (middle, inputs, 1, 1), in bottleneck order: no index and no shuffle left."""
        groups, outputs, _ = self.reading.shape
        weight = torch.zeros(outputs, groups, self.inputs)
        for g in range(groups):
            weight[:, g].index_add_(1, self.taps.index[g], self.reading[g])
        return Kernel(weight.view(self.middle, self.inputs, 1, 1), self.bias.t().flatten())


def arrays(layer: nn.Module) -> LayerArrays:
    """The arrays of a converted dense layer."""
    assert isinstance(layer, DenseLayer) and isinstance(layer.conv_1, CondensedConv)
    first, norm, conv = layer.conv_1, layer.conv_2.get_submodule("norm"), layer.conv_2.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d)
    groups = first.groups
    per_group = [part.view(groups, -1) for part in (first.index, *affine(first.norm))]
    scale, shift = (part.view(-1, groups).t() for part in affine(norm))  # (groups, outputs of a group)
    weight = first.conv.weight.detach().view(groups, -1, per_group[0].shape[1])
    reading = (weight.double() * scale.double().unsqueeze(2)).float()
    return LayerArrays(first.inputs, Taps(*per_group), reading, shift, conv.weight.detach(), conv.groups)


def regrouped(weight: Tensor, groups: int, fewer: int) -> Tensor:
    """The weights of a convolution in ``groups`` groups for the same convolution in ``fewer``, zeros between those joined.

    before: y[h] = W[h] x[h], h < groups        after: [y[h]; y[h + 1]; ...] = blockdiag(W[h], W[h + 1], ...) [x[h]; x[h + 1]; ...]
    """
    outputs, inputs = weight.shape[:2]
    joined = groups // fewer
    blocks = weight.view(fewer, joined, outputs // groups, inputs, *weight.shape[2:])
    wide = torch.zeros(fewer, joined, outputs // groups, joined, inputs, *weight.shape[2:])
    for j in range(joined):
        wide[:, j, :, j] = blocks[:, j]
    return wide.flatten(3, 4).flatten(0, 2)


def group_conv(weight: Tensor, bias: Tensor | None, groups: int, padding: int = 0) -> nn.Conv2d:
    """A fixed convolution in groups."""
    if groups == 1:
        return conv2d(Kernel(weight, bias), padding=padding)
    outputs, inputs, kernel, _ = weight.shape
    conv = nn.Conv2d(inputs * groups, outputs, kernel, padding=padding, groups=groups, bias=bias is not None)
    conv.weight = nn.Parameter(weight.clone().contiguous(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.clone().contiguous(), requires_grad=False)
    return conv


class Normalise(nn.Module):
    """relu(scale x + shift) per channel, as a depthwise 1x1 convolution, which runtimes join with the ReLU and keep in their layout."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.conv = group_conv(scale.view(-1, 1, 1, 1), shift, scale.numel())

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))


def padded_rows(weight: Tensor, before: int, after: int) -> Tensor:
    """A convolution's weights with output channels that are 0 before and after its own."""
    return F.pad(weight, (*[0, 0] * (weight.dim() - 1), before, after))
