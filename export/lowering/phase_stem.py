"""Compute the full-resolution stem on 4x4 phases, so that a runtime that pads channels to 16 has 16 channels to work on.

before: maxpool2(conv2(relu(conv1(x))))                      conv1 at full, conv2 at half resolution, c channels each
after:  max over the 2x2 phases of conv2'(relu(conv1'(x)))   conv1' 3 -> 16c, 6x6, stride 4; conv2' 16c -> 4c, 2x2
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Kernel, conv2d
from edgekit.export.lowering.phases import LANES, phase_kernel


class PhaseStem(nn.Module):
    """(B, 3, H, W), H and W multiples of 16, to the pooled map (B, c, H/4, W/4) of the two stem convolutions.

    ``first`` is 3x3 with padding 1 and its batch norm folded in; ``second`` is 3x3 with stride 2 and padding 1.
    """

    def __init__(self, first: Kernel, second: Kernel) -> None:
        super().__init__()
        self.channels = second.weight.shape[0]
        # Rows of the pooled map that one window of conv2' produces: as many as fill the lanes.
        self.rows = {1: 4, 2: 2, 3: 1}.get(self.channels, 1)
        self.first = conv2d(phase_kernel(first, 4, 4), stride=4, padding=1)
        self.second = conv2d(half_phases(second, self.rows), stride=(self.rows, 1))

    def forward(self, image: Tensor) -> Tensor:
        phases = F.pad(torch.relu(self.first(image)), (1, 0, 1, 0))
        batch, height, width = image.shape[0], image.shape[2] // 4, image.shape[3] // 4
        halves: Tensor = self.second(phases)
        halves = halves.reshape(batch, 4, self.channels * self.rows, height // self.rows, width)
        pooled = halves.amax(dim=1).reshape(batch, self.channels, self.rows, height // self.rows, width)
        return pooled.transpose(2, 3).reshape(batch, self.channels, height, width)


class DirectStem(nn.Module):
    """The same as it stands, for stems that have enough channels of their own."""

    def __init__(self, first: Kernel, second: Kernel) -> None:
        super().__init__()
        self.first = conv2d(first, padding=1)
        self.second = conv2d(second, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return F.max_pool2d(self.second(torch.relu(self.first(image))), 2)


def stem(first: Kernel, second: Kernel) -> nn.Module:
    """The cheaper of the two forms: phases cost 4 times the operations, and win while channels are padded by more."""
    return PhaseStem(first, second) if 4 * second.weight.shape[0] <= LANES - 4 else DirectStem(first, second)


def half_phases(kernel: Kernel, rows: int) -> Kernel:
    """A stride-2 3x3 kernel (c, n, 3, 3) on 4x4 phases: (4 c rows, 16 n, rows + 1, 2), the window starting a block early.

    Outputs are ordered (half row, half column, c, block row), inputs as `phase_kernel` orders its outputs.
    """
    outputs, inputs = kernel.weight.shape[:2]
    weight = torch.zeros(2, 2, outputs, rows, inputs, 4, 4, rows + 1, 2)
    for half_row in range(2):
        for half_column in range(2):
            for tap in range(9):
                y, x = 2 * half_row + tap // 3 - 1, 2 * half_column + tap % 3 - 1
                for block in range(rows):
                    source = kernel.weight[:, :, tap // 3, tap % 3]
                    weight[
                        half_row, half_column, :, block, :, y % 4, x % 4, block + 1 + y // 4, 1 + x // 4
                    ] = source
    bias = None if kernel.bias is None else kernel.bias.view(1, -1, 1).expand(4, outputs, rows).flatten()
    return Kernel(weight.flatten(4, 6).flatten(0, 3), bias)
