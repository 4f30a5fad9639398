"""AnyNet's propagation stage with columns as rows and channels last: a step of the recurrence reads one run of memory.

before: gate_k = raw_k / (|raw_above| + |raw_level| + |raw_below| + 1e-8), 0 where its source lies outside
after:  gates = raw / (|raw| @ sums + floor)                            floor is 1e-8, and so large outside that nothing is left
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Kernel, conv2d, kernel_of
from edgekit.export.lowering.phases import LANES, Phases, phase_kernel
from edgekit.export.lowering.separable_resize import BlockResize, CentreMean
from edgekit.models.anynet import SPN_SCALE

Recurrence = Callable[[Tensor, Tensor, Tensor], Tensor]

OUTSIDE = 1e30


class LoweredPropagation(nn.Module):
    """`PropagationStage`: the left picture (1, 3, H, W) and the disparity (1, 1, H, W) px to the propagated disparity."""

    def __init__(self, parts: nn.ModuleList, size: tuple[int, int], recurrence: Recurrence) -> None:
        super().__init__()
        guidance, lift, drop = parts
        low = (size[0] // SPN_SCALE, size[1] // SPN_SCALE)
        turned = (low[1], low[0])
        self.recurrence = recurrence
        self.shrink_picture, self.shrink_disparity = (
            CentreMean(3, size[0], SPN_SCALE),
            CentreMean(1, size[0], SPN_SCALE),
        )
        kernels = [_transposed(layer) for layer in guidance.children() if not isinstance(layer, nn.ReLU)]
        self.guidance = nn.ModuleList(conv2d(kernel, padding=1) for kernel in kernels)
        channels = kernel_of(lift).weight.shape[0]
        self.lift = _side_by_side(_transposed(lift), low[0])
        self.phases = Phases(turned, LANES, 1)
        self.drop = _interleaved(_transposed(drop), self.phases)
        self.resize = BlockResize(low, SPN_SCALE)
        total = torch.eye(channels).repeat(3, 1)
        self.minus_total = nn.Buffer(-total)
        self.totals = nn.Buffer(total.repeat(1, 3))
        self.floor = nn.Buffer(_floor(low[0], channels))

    def forward(self, left: Tensor, disparity: Tensor) -> Tensor:
        guide = self.shrink_picture(left).transpose(2, 3)
        for conv in self.guidance[:-1]:
            guide = torch.relu(conv(guide))
        raw = self.guidance[-1](guide).permute(0, 2, 3, 1).squeeze(0)
        gates = raw / (torch.matmul(raw.abs(), self.totals) + self.floor)
        x = self.lift(self.shrink_disparity(disparity).transpose(2, 3)).permute(0, 2, 3, 1)
        x = x.reshape(*gates.shape[:2], -1)
        own = x + x * torch.matmul(gates, self.minus_total)
        # Nothing lies left of the first column, so that it must keep its own value: it does if its neighbours have that too.
        propagated = self.recurrence(x[0], own, gates).reshape(1, 1, x.shape[0], -1)
        refined = self.phases(self.drop(propagated)).transpose(2, 3)
        return self.resize(refined)  # type: ignore[no-any-return]


def _floor(rows: int, channels: int) -> Tensor:
    """(rows, 3 channels): what is added to the sum by which each gate is divided; infinite in half precision is as good."""
    floor = torch.full((rows, 3, channels), 1e-8)
    floor[0, 0] = OUTSIDE
    floor[-1, 2] = OUTSIDE
    return floor.flatten(1)


def _side_by_side(kernel: Kernel, width: int) -> nn.Conv2d:
    """A 3x3 ``kernel`` (c, 1, 3, 3) that gives the channels of neighbouring pixels of a row one after the other, as many as fill
    the lanes; channels last, that is the map of all pixels with their channels."""
    channels = kernel.weight.shape[0]
    pixels = math.gcd(width, max(1, LANES // channels))
    wide = phase_kernel(kernel, 1, pixels).weight
    weight = wide.view(channels, pixels, *wide.shape[1:]).transpose(0, 1).flatten(0, 1)
    return conv2d(Kernel(weight), stride=(1, pixels), padding=1)


def _interleaved(kernel: Kernel, phases: Phases) -> nn.Conv2d:
    """A 3x3 ``kernel`` (1, c, 3, 3) in ``phases`` of rows for a map whose channels lie last: one channel of c times the width."""
    phased = phase_kernel(kernel, *phases.stride).weight
    channels = phased.shape[1]
    weight = phased.permute(0, 2, 3, 1).flatten(2).unsqueeze(1)
    padding = (1 + phases.overhang[0], channels)
    return conv2d(Kernel(weight), stride=(phases.stride[0], channels), padding=padding)


def _transposed(conv: nn.Module) -> Kernel:
    """The kernel that does to the transposed map what ``conv`` does to the map."""
    kernel = kernel_of(conv)
    return Kernel(kernel.weight.transpose(2, 3).contiguous(), kernel.bias)
