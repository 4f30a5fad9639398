"""Build the coarse cost volume from slices of one padded map, without ScatterND or a 5-D Concat.

before: cost[d] = sum over c of |left - shift(right, d)|, zero outside, a volume filled slice by slice
after:  cost = ones @ |left - slices of pad(right)|
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShiftVolume(nn.Module):
    """Features (1, C, H, W) of both views to the cost (1, disparities, H, W) of every shift, multiplied by ``gain``."""

    def __init__(self, channels: int, disparities: int, gain: float = 1.0) -> None:
        super().__init__()
        self.disparities = disparities
        self.gain = nn.Buffer(torch.full((1, channels), gain))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        channels, height, width = left.shape[1:]
        padded = F.pad(right, (self.disparities - 1, 0)).reshape(channels, 1, height, -1)
        starts = range(self.disparities - 1, -1, -1)
        shifted = torch.cat([padded[..., start : start + width] for start in starts], dim=1)
        distance = (left.reshape(channels, 1, height, width) - shifted).abs()
        return torch.matmul(self.gain, distance.reshape(channels, -1)).reshape(1, -1, height, width)
