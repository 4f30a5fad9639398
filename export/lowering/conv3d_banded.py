"""The disparity network as 2-D convolutions over all slices at once, with block-banded weights.

before: y[d] = sum over k of conv2d_k(x[d + k - 1])                    (a 3-D convolution; x[d] has c channels)
after:  [y[0]; y[1]; ...] = conv2d([x[0]; x[1]; ...])                  weight block (d, e) is kernel e - d + 1, else 0
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Activation, Chain, Kernel, conv2d
from edgekit.export.lowering.conv3d_folded import scores_chain


class Conv3dBanded(nn.Module):
    """Cost (1, D, H, W) to scores (D, H, W), the network's negated output."""

    def __init__(self, chain: Chain, slices: int) -> None:
        super().__init__()
        self.activation = Activation(chain.scale, chain.shift)
        self.convs = nn.ModuleList(
            conv2d(banded(kernel, slices), padding=1) for kernel in scores_chain(chain)
        )

    def forward(self, cost: Tensor) -> Tensor:
        x = self.activation(cost)
        for conv in self.convs[:-1]:
            x = torch.relu(conv(x))
        return self.convs[-1](x).squeeze(0)  # type: ignore[no-any-return]


def banded(kernel: Kernel, slices: int) -> Kernel:
    """A 3-D kernel (c, n, 3, 3, 3) over ``slices`` slices as a 2-D kernel (slices c, slices n, 3, 3)."""
    outputs, inputs = kernel.weight.shape[:2]
    weight = torch.zeros(slices, outputs, slices, inputs, 3, 3)
    for after in range(slices):
        for before in range(max(after - 1, 0), min(after + 2, slices)):
            weight[after, :, before] = kernel.weight[:, :, before - after + 1]
    bias = None if kernel.bias is None else kernel.bias.repeat(slices)
    return Kernel(weight.flatten(2, 3).flatten(0, 1), bias)
