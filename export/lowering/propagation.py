"""AnyNet's propagation stage with columns as rows, so that what a step of the recurrence reads lies in one run of memory.

before: propagate(lift(shrink(disparity)), split_gates(guidance(shrink(left))))
after:  the same on the transposed maps; gates as (columns, 3, rows, channels), those that lead outside multiplied by 0
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Kernel, conv2d, kernel_of
from edgekit.export.lowering.phases import Phases
from edgekit.export.lowering.separable_resize import BlockResize, CentreMean
from edgekit.models.anynet import SPN_SCALE

Recurrence = Callable[[Tensor, Tensor], Tensor]


class LoweredPropagation(nn.Module):
    """`PropagationStage`: the left picture (1, 3, H, W) and the disparity (1, 1, H, W) px to the propagated disparity."""

    def __init__(self, parts: nn.ModuleList, size: tuple[int, int], recurrence: Recurrence) -> None:
        super().__init__()
        guidance, lift, drop = parts
        low = (size[0] // SPN_SCALE, size[1] // SPN_SCALE)
        turned = (low[1], low[0])
        self.recurrence = recurrence
        self.shrink = CentreMean(SPN_SCALE)
        kernels = [_transposed(layer) for layer in guidance.children() if not isinstance(layer, nn.ReLU)]
        self.guidance = nn.ModuleList(conv2d(kernel, padding=1) for kernel in kernels)
        self.lift = conv2d(_transposed(lift), padding=1)
        self.phases = Phases(turned, 4, 4)
        self.drop = self.phases.conv2d(_transposed(drop))
        self.resize = BlockResize(low, SPN_SCALE)
        self.inside = nn.Buffer(_inside(*turned))

    def forward(self, left: Tensor, disparity: Tensor) -> Tensor:
        guide = self.shrink(left).transpose(2, 3)
        for conv in self.guidance[:-1]:  # type: ignore[union-attr]
            guide = torch.relu(conv(guide))
        raw = self.guidance[-1](guide).permute(0, 2, 3, 1)
        columns, rows, channels = raw.shape[1], raw.shape[2], raw.shape[3] // 3
        raw = raw.reshape(columns, rows, 3, channels).transpose(1, 2)
        gates = raw / (raw.abs().sum(dim=1, keepdim=True) + 1e-8) * self.inside
        x = self.lift(self.shrink(disparity).transpose(2, 3)).permute(0, 2, 3, 1).reshape(columns, rows, channels)
        own = x - x * gates.sum(dim=1)
        propagated = self.recurrence(own, gates).permute(2, 0, 1).unsqueeze(0)
        refined = self.phases(self.drop(propagated)).transpose(2, 3)
        return self.resize(refined)  # type: ignore[no-any-return]


def _inside(columns: int, rows: int) -> Tensor:
    """(columns, 3, rows, 1): 0 for gates from above, level and below whose source lies outside the map, else 1."""
    inside = torch.ones(columns, 3, rows, 1)
    inside[0] = 0
    inside[:, 0, 0] = 0
    inside[:, 2, -1] = 0
    return inside


def _transposed(conv: nn.Module) -> Kernel:
    """The kernel that does to the transposed map what ``conv`` does to the map."""
    kernel = kernel_of(conv)
    return Kernel(kernel.weight.transpose(2, 3).contiguous(), kernel.bias)
