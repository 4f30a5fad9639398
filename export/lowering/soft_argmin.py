"""Expected disparity from plain exponentials and one matrix product, on whichever axis the slices already lie.

before: sum over d of softmax(-cost)[d] * candidate[d]
after:  e = exp(s - max s), s = -cost;  [candidates; ones] @ e = [n; m];  n / m
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SoftArgmin(nn.Module):
    """Scores (negated costs) (D, ...) of the disparities ``first`` .. to their expectation (1, ...), times ``gain``."""

    def __init__(self, slices: int, first: int, gain: float = 1.0) -> None:
        super().__init__()
        candidates = torch.arange(first, first + slices, dtype=torch.float32) * gain
        self.sums = nn.Buffer(torch.stack((candidates, torch.ones(slices))))

    def forward(self, scores: Tensor) -> Tensor:
        shape = scores.shape[1:]
        weights = torch.exp(scores - scores.amax(dim=0, keepdim=True)).view(scores.shape[0], -1)
        sums = torch.matmul(self.sums, weights)
        return (sums[:1] / sums[1:]).view(1, *shape)
