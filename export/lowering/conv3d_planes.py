"""The disparity network slice by slice: every slice is a sum of up to three 2-D convolutions, and no slice is ever copied.

before: y[d] = sum over k of conv2d_k(x[d + k - 1])                    (a 3-D convolution; x[d] has c channels)
after:  the same sum, node by node; with fewer channels than vector lanes each convolution in its phase form

ONNX Runtime adds into the output of the convolution before, so the sum costs nothing; with 16 channels and more the slices
stay in its blocked layout from the first convolution to the last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Activation, Chain, Kernel, conv2d
from edgekit.export.lowering.conv3d_banded import banded
from edgekit.export.lowering.conv3d_folded import scores_chain
from edgekit.export.lowering.phases import LANES, Phases


class Conv3dPlanes(nn.Module):
    """Cost (1, D, H, W) to scores (D, p, H/.., W/..), the network's negated output in p phases; `interleave` undoes them."""

    def __init__(self, chain: Chain, slices: int, size: tuple[int, int]) -> None:
        super().__init__()
        first, *inner, last = scores_chain(chain)
        channels = first.weight.shape[0]
        self.slices = slices
        self.activation = Activation(chain.scale, chain.shift)
        self.phases = Phases(size, max(1, LANES // channels), 1)
        self.first = nn.ModuleList(self.phases.conv2d(_gathered(first, d, slices)) for d in range(slices))
        self.inner = nn.ModuleList(PlaneSum(kernel, slices, self.phases) for kernel in inner)
        self.whole = channels >= LANES
        self.last: nn.Module
        if self.whole:
            self.interleave = Phases(size, 1, 1)
            self.last = conv2d(banded(last, slices), padding=1)
        else:
            self.interleave = Phases(size, 4, 4)
            self.last = PlaneSum(last, slices, self.interleave)

    def forward(self, cost: Tensor) -> Tensor:
        cost = self.activation(cost)
        planes = [conv(cost[:, max(d - 1, 0) : d + 2]) for d, conv in enumerate(self.first)]
        planes = [self.phases(torch.relu(plane)) for plane in planes]
        for layer in self.inner:
            planes = [self.phases(torch.relu(plane)) for plane in layer(planes)]
        if self.whole:
            return self.last(torch.cat(planes, dim=1)).transpose(0, 1)  # type: ignore[no-any-return]
        return torch.cat(self.last(planes))


class PlaneSum(nn.Module):
    """One 3-D convolution on slices that are tensors of their own: D x (1, n, H, W) to D x (1, c p, H/.., W/..)."""

    def __init__(self, kernel: Kernel, slices: int, phases: Phases) -> None:
        super().__init__()
        self.rows = nn.ModuleList()
        for after in range(slices):
            befores = range(max(after - 1, 0), min(after + 2, slices))
            taps = [Kernel(kernel.weight[:, :, before - after + 1]) for before in befores]
            taps[0] = Kernel(taps[0].weight, kernel.bias)
            self.rows.append(nn.ModuleList(phases.conv2d(tap) for tap in taps))

    def forward(self, planes: list[Tensor]) -> list[Tensor]:
        sums = []
        for after, row in enumerate(self.rows):
            assert isinstance(row, nn.ModuleList)
            parts = [conv(planes[before]) for before, conv in enumerate(row, start=max(after - 1, 0))]
            total: Tensor = parts[0]
            for part in parts[1:]:
                total = total + part
            sums.append(total)
        return sums


def _gathered(kernel: Kernel, after: int, slices: int) -> Kernel:
    """A 3-D kernel (c, 1, 3, 3, 3) as the 2-D kernel (c, 2 or 3, 3, 3) that slice ``after`` applies to its neighbours."""
    taps = range(max(after - 1, 0) - after + 1, min(after + 2, slices) - after + 1)
    return Kernel(kernel.weight[:, 0, taps.start : taps.stop], kernel.bias)
