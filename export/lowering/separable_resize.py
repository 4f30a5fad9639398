"""Bilinear resizing without a Resize: up as matrix products and a convolution, down by a whole even factor as one convolution.

before: y = resize(x)
after:  y = rows @ x @ columns^T                                                     (up; in blocks by a whole factor)
        y[i, j] = mean of x[s i + s/2 - 1 .. s i + s/2, s j + s/2 - 1 .. s j + s/2]  (down by s)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Kernel, conv2d
from edgekit.export.lowering.phases import LANES

BLOCK = 20  # samples: shorter ones read their neighbours too often, longer ones multiply too many zeros


def interpolation_matrix(outputs: int, inputs: int, align_corners: bool) -> Tensor:
    """(outputs, inputs): each row holds the weights with which one output sample mixes the input samples."""
    impulses = torch.eye(inputs, dtype=torch.float64).view(1, inputs, inputs)
    return F.interpolate(impulses, size=outputs, mode="linear", align_corners=align_corners)[0].T.contiguous()


class SeparableResize(nn.Module):
    """Bilinear resize of (..., h, w) to (..., H, W), times ``gain``."""

    def __init__(
        self, before: tuple[int, int], after: tuple[int, int], align_corners: bool, gain: float = 1.0
    ) -> None:
        super().__init__()
        rows = interpolation_matrix(after[0], before[0], align_corners)
        columns = interpolation_matrix(after[1], before[1], align_corners).T.contiguous()
        self.rows = nn.Buffer((rows * gain).float())
        self.columns = nn.Buffer(columns.float())

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(self.rows, torch.matmul(x, self.columns))


class BlockResize(nn.Module):
    """Bilinear enlarging of (1, 1, h, w) by a whole ``factor``, corners not aligned.

    Columns first, while the map is low: a convolution whose channels are the columns of a block. Every block of rows has the
    same small interpolation matrix, so the products are as small as the blocks are.
    """

    def __init__(self, before: tuple[int, int], factor: int) -> None:
        super().__init__()
        self.after = (before[0] * factor, before[1] * factor)
        columns = math.gcd(before[1], max(1, LANES // factor))
        weight = _block_matrix(columns, factor).view(columns * factor, 1, 1, columns + 2)
        self.widen = conv2d(Kernel(weight), stride=(1, columns))
        row_block, self.row_index = _overlapping_blocks(before[0])
        self.rows = nn.Buffer(_block_matrix(row_block, factor))

    def forward(self, x: Tensor) -> Tensor:
        # The neighbour of the border is the border itself.
        bordered = torch.cat((x[..., :1], x, x[..., -1:]), dim=3)
        wide = self.widen(bordered).permute(0, 2, 3, 1).reshape(-1, self.after[1])
        blocks = wide.index_select(0, self.row_index).reshape(1, -1, self.rows.shape[1], wide.shape[1])
        return torch.matmul(self.rows, blocks).reshape(1, 1, *self.after)


def _overlapping_blocks(side: int) -> tuple[int, nn.Buffer]:
    """Length of equal blocks that cover ``side``, and for each block its samples and one neighbour each side.

    The neighbour of the border is the border itself, as in a bilinear resize.
    """
    divisors = [n for n in range(1, side + 1) if side % n == 0]
    block = min(divisors, key=lambda n: abs(math.log(n / BLOCK)))
    starts = torch.arange(0, side, block).view(-1, 1)
    index = (starts + torch.arange(-1, block + 1)).clamp(0, side - 1)
    return block, nn.Buffer(index.flatten())


def _block_matrix(block: int, factor: int) -> Tensor:
    """(factor block, block + 2): the interpolation of a block from its samples and one neighbour each side."""
    return (
        interpolation_matrix((block + 2) * factor, block + 2, align_corners=False)[factor:-factor]
        .float()
        .contiguous()
    )


class CentreMean(nn.Module):
    """Bilinear shrinking of (B, C, H, W) by a whole even ``factor``, corners not aligned, times ``gain``.

    Only the two middle rows of every block are read.
    """

    def __init__(self, channels: int, height: int, factor: int, gain: float = 1.0) -> None:
        super().__init__()
        if factor < 2 or factor % 2:
            raise ValueError(f"factor {factor}: only an even factor samples between four pixels")
        half = factor // 2  # a window ends at the second pixel of the middle: what follows weighs nothing
        middle = torch.arange(half - 1, height, factor).view(-1, 1) + torch.arange(2)
        self.middle = nn.Buffer(middle.flatten())
        weight = torch.zeros(channels, channels, 2, half + 1)
        weight[..., half - 1 :] = torch.eye(channels).view(channels, channels, 1, 1) * (gain / 4)
        self.conv = conv2d(Kernel(weight), stride=(2, factor))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.index_select(2, self.middle))  # type: ignore[no-any-return]
