"""The disparity network as 2-D convolutions with the slices as a batch, each slice beside its two neighbours.

before: y[d] = sum over k of conv2d_k(x[d + k - 1])                    (a 3-D convolution; x[d] has c channels)
after:  y[d] = conv2d([x[d - 1]; x[d]; x[d + 1]])                      one convolution over the batch of all d
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Activation, Chain, Kernel, conv2d
from edgekit.export.lowering.conv3d_folded import scores_chain


class Conv3dBatched(nn.Module):
    """Cost (1, D, H, W) to scores (D, H, W), the network's negated output."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.activation = Activation(chain.scale, chain.shift)
        self.convs = nn.ModuleList(conv2d(beside(kernel), padding=1) for kernel in scores_chain(chain))

    def forward(self, cost: Tensor) -> Tensor:
        x = self.activation(cost).transpose(0, 1)
        for conv in self.convs[:-1]:
            x = torch.relu(conv(neighbours(x)))
        return self.convs[-1](neighbours(x)).squeeze(1)  # type: ignore[no-any-return]


def neighbours(x: Tensor) -> Tensor:
    """Slices (D, n, H, W) to (D, 3 n, H, W): each with the one before and the one after it; zeros beyond the ends."""
    slices = x.shape[0]
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, 1, 1))
    return torch.cat([padded[k : k + slices] for k in range(3)], dim=1)


def beside(kernel: Kernel) -> Kernel:
    """A 3-D kernel (c, n, 3, 3, 3) as the 2-D kernel (c, 3 n, 3, 3) that reads what `neighbours` lays out."""
    return Kernel(kernel.weight.transpose(1, 2).flatten(1, 2), kernel.bias)
