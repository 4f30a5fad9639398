"""Build the coarse cost volume from slices of one padded map, without ScatterND or a 5-D Concat.

before: cost[d] = sum over c of |left - shift(right, d)|, zero outside, a volume filled slice by slice
after:  cost = sum over c of |left - stack of slices of pad(right)|
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShiftVolume(nn.Module):
    """Features (1, C, H, W) of both views to the cost (1, disparities, H, W) of every shift."""

    def __init__(self, disparities: int) -> None:
        super().__init__()
        self.disparities = disparities

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        width = left.shape[3]
        padded = F.pad(right, (self.disparities - 1, 0))
        starts = range(self.disparities - 1, -1, -1)
        shifted = torch.cat([padded[..., start : start + width] for start in starts])
        cost = (left - shifted).abs().sum(dim=1)
        return cost.unsqueeze(0)
