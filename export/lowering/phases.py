"""Let one window of a convolution produce several neighbouring pixels, so that few channels still fill a runtime's vector lanes.

before: y = conv(x)                                       (c, n, 3, 3), stride 1, padding 1
after:  y = interleave(conv'(x))                          (c p q, n, p + 2, q + 2), stride (p, q): all pixels of p x q blocks
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Kernel, conv2d

LANES = 16  # channels in a block of ONNX Runtime's layout under AVX-512


def phase_kernel(kernel: Kernel, rows: int, columns: int) -> Kernel:
    """A 3x3 kernel (c, n, 3, 3) as (c rows columns, n, rows + 2, columns + 2), outputs ordered (c, row, column)."""
    outputs, inputs = kernel.weight.shape[:2]
    weight = torch.zeros(outputs, rows, columns, inputs, rows + 2, columns + 2)
    for row in range(rows):
        for column in range(columns):
            weight[:, row, column, :, row : row + 3, column : column + 3] = kernel.weight
    bias = None if kernel.bias is None else kernel.bias.repeat_interleave(rows * columns)
    return Kernel(weight.flatten(0, 2), bias)


class Phases(nn.Module):
    """Geometry of a map of ``size`` cut into blocks of rows x columns; blocks overhang the top and left edge.

    They overhang there, not below, so that one symmetric padding serves sizes that no whole number of blocks covers.
    """

    def __init__(self, size: tuple[int, int], rows: int, columns: int) -> None:
        super().__init__()
        self.size = size
        self.stride = (rows, columns)
        self.blocks = (-(-size[0] // rows), -(-size[1] // columns))
        self.overhang = (self.blocks[0] * rows - size[0], self.blocks[1] * columns - size[1])

    def conv2d(self, kernel: Kernel) -> nn.Conv2d:
        """The 3x3 ``kernel`` with padding 1 as a convolution (B, n, H, W) to (B, c rows columns, H / rows, W / columns)."""
        padding = (1 + self.overhang[0], 1 + self.overhang[1])
        return conv2d(phase_kernel(kernel, *self.stride), self.stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Interleave (B, c rows columns, H / rows, W / columns) to (B, c, H, W)."""
        rows, columns = self.stride
        if rows * columns == 1:
            return x
        batch, channels = x.shape[0], x.shape[1] // (rows * columns)
        x = x.reshape(batch, channels, rows, columns, *self.blocks)
        x = x.squeeze(3).transpose(2, 3) if columns == 1 else x.permute(0, 1, 4, 2, 5, 3)
        x = x.reshape(batch, channels, self.blocks[0] * rows, self.blocks[1] * columns)
        return x[:, :, self.overhang[0] :, self.overhang[1] :]
