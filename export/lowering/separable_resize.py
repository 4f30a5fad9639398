"""Bilinear resizing without a Resize: up as two small matrix products, down by a whole even factor as one strided convolution.

before: y = resize(x)
after:  y = rows @ x @ columns^T                                                     (up)
        y[i, j] = mean of x[s i + s/2 - 1 .. s i + s/2, s j + s/2 - 1 .. s j + s/2]  (down by s)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Kernel, conv2d


def interpolation_matrix(outputs: int, inputs: int, align_corners: bool) -> Tensor:
    """(outputs, inputs): each row holds the weights with which one output sample mixes the input samples."""
    impulses = torch.eye(inputs, dtype=torch.float64).view(1, inputs, inputs)
    return F.interpolate(impulses, size=outputs, mode="linear", align_corners=align_corners)[0].T.contiguous()


class SeparableResize(nn.Module):
    """Bilinear resize of (..., h, w) to (..., H, W), times ``gain``."""

    def __init__(self, before: tuple[int, int], after: tuple[int, int], align_corners: bool, gain: float = 1.0) -> None:
        super().__init__()
        rows = interpolation_matrix(after[0], before[0], align_corners)
        columns = interpolation_matrix(after[1], before[1], align_corners).T.contiguous()
        self.rows = nn.Buffer((rows * gain).float())
        self.columns = nn.Buffer(columns.float())

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(self.rows, torch.matmul(x, self.columns))


class CentreMean(nn.Module):
    """Bilinear shrinking of (B, 1, H, W) by a whole even ``factor``, corners not aligned, times ``gain``."""

    def __init__(self, factor: int, gain: float = 1.0) -> None:
        super().__init__()
        if factor < 2 or factor % 2:
            raise ValueError(f"factor {factor}: only an even factor samples between four pixels")
        weight = torch.zeros(1, 1, factor, factor)
        middle = slice(factor // 2 - 1, factor // 2 + 1)
        weight[..., middle, middle] = gain / 4
        self.conv = conv2d(Kernel(weight), stride=factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]
