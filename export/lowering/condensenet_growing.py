"""The forms of a layer's 3x3 convolution in groups of few channels, which runtimes run at a fraction of their speed.

before: y[h] = conv(W[h], x[h]), h < groups                                    16 channels a group, or 4, or 2
after:  the same in fewer groups with zeros between those joined ("joined", "dense"); or, where a group has m outputs,
        y[h, r] = sum over the channels i of group h of conv(w[h, r, i], x[h, i]): m depthwise convolutions, each followed by a
        1x1 convolution of ones and zeros ("depthwise")
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.export.lowering.condensenet_layers import LANES, LayerArrays, group_conv, padded_rows, regrouped


def growing(layer: LayerArrays, form: str, before: int = 0, after: int = 0) -> nn.Module:
    """Bottleneck maps (1, middle, H, W) to the layer's new features, with maps that are 0 ``before`` and ``after`` them."""
    if form == "depthwise":
        return DepthwiseSum(layer, before, after)
    groups = {"grouped": layer.groups_3x3, "joined": joined_groups(layer), "dense": 1}[form]
    if before or after:
        groups = 1
    weight = regrouped(layer.growing, layer.groups_3x3, groups)
    return group_conv(padded_rows(weight, before, after), None, groups, padding=1)


def joined_groups(layer: LayerArrays) -> int:
    """The most groups whose inputs and outputs fill lanes."""
    groups = layer.groups_3x3
    fits = [
        g
        for g in range(groups, 0, -1)
        if groups % g == 0 and layer.middle // g % LANES == layer.growth // g % LANES == 0
    ]
    return fits[0] if fits else 1


class DepthwiseSum(nn.Module):
    """A depthwise convolution for each output of a group, and the sums over the groups' channels."""

    def __init__(self, layer: LayerArrays, before: int = 0, after: int = 0) -> None:
        super().__init__()
        growth, inputs = layer.growing.shape[:2]
        groups = layer.groups_3x3
        rounds = growth // groups
        weight = layer.growing.view(groups, rounds, inputs, 1, 3, 3)
        sums = torch.eye(groups).repeat_interleave(inputs, dim=1)  # (groups, middle)
        self.filters, self.sums = nn.ModuleList(), nn.ModuleList()
        for r in range(rounds):
            self.filters.append(group_conv(weight[:, r].flatten(0, 1), None, layer.middle, padding=1))
            chosen = torch.zeros(groups, rounds, layer.middle)
            chosen[:, r] = sums
            rows = padded_rows(chosen.flatten(0, 1)[:, :, None, None], before, after)
            self.sums.append(group_conv(rows, None, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = [total(each(x)) for each, total in zip(self.filters, self.sums, strict=True)]
        y: Tensor = parts[0]
        for part in parts[1:]:
            y = y + part
        return y
