"""The disparity network with Winograd's minimal filtering along the disparity axis: 8 products for 6 slices instead of 18.

before: y[d] = sum over k of conv2d_k(x[d + k - 1])                    (a 3-D convolution; x[d] has c channels)
after:  y = A [conv2d_1'(t[1]); conv2d_2'(t[2]); ...], t = B x         one grouped convolution; A and B are small matrices

Lavin and Gray, arXiv 1509.09308, here along one axis: within a slice the runtime's own convolution is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Activation, Chain, Kernel, conv2d
from edgekit.export.lowering.conv3d_batched import beside, neighbours
from edgekit.export.lowering.conv3d_folded import scores_chain
from edgekit.export.lowering.phases import LANES, Phases

TILE = 6  # outputs of a tile; larger ones need fewer products and lose digits
# Interpolation points in order of use, besides infinity. The first one makes every output of a tile contain the product at
# that point exactly once, so that a bias can be added there.
POINTS = tuple(Fraction(point) for point in ("1", "-1", "0", "2", "-2", "1/2", "-1/2"))


@dataclass(frozen=True)
class Filtering:
    """Minimal filtering of ``outputs`` samples by 3 taps: y = inverse @ ((taps @ g) * (forward @ x)), float64 matrices."""

    forward: Tensor  # (outputs + 2, outputs + 2)
    taps: Tensor  # (outputs + 2, 3)
    inverse: Tensor  # (outputs, outputs + 2)


def filtering(outputs: int) -> Filtering:
    """Toom and Cook's polynomial product, transposed: F(outputs, 3)."""
    size = outputs + 2
    points = POINTS[: size - 1]
    square = _vandermonde(points, size)
    forward = torch.linalg.inv(square).T
    return Filtering(
        forward.contiguous(), _vandermonde(points, 3), _vandermonde(points, outputs).T.contiguous()
    )


class Conv3dWinograd(nn.Module):
    """Cost (1, D, H, W) to scores (D, H, W), the network's negated output."""

    def __init__(self, chain: Chain, slices: int, size: tuple[int, int]) -> None:
        super().__init__()
        first, *inner, last = scores_chain(chain)
        self.activation = Activation(chain.scale, chain.shift)
        self.first = conv2d(beside(first), padding=1)
        self.inner = nn.ModuleList(WinogradLayer(kernel, slices, size) for kernel in inner)
        self.last = TapSum(last, slices, size)

    def forward(self, cost: Tensor) -> Tensor:
        x = torch.relu(self.first(neighbours(self.activation(cost).transpose(0, 1))))
        for layer in self.inner:
            x = torch.relu(layer(x))
        return self.last(x)  # type: ignore[no-any-return]


class WinogradLayer(nn.Module):
    """One 3-D convolution on slices as a batch: (D, n, H, W) to (D, c, H, W)."""

    def __init__(self, kernel: Kernel, slices: int, size: tuple[int, int]) -> None:
        super().__init__()
        tiles = [filtering(min(TILE, slices - start)) for start in range(0, slices, TILE)]
        self.points = sum(tile.taps.shape[0] for tile in tiles)
        # The slices before the first and after the last are zero: their columns are left out.
        self.forward_matrix = nn.Buffer(
            _block_diagonal([t.forward for t in tiles], overlap=2)[:, 1:-1].float()
        )
        self.inverse_matrix = nn.Buffer(_block_diagonal([t.inverse for t in tiles], overlap=0).float())
        weights = [torch.einsum("pk,cnkyx->pcnyx", tile.taps, kernel.weight.double()) for tile in tiles]
        weight = torch.cat(weights).flatten(0, 1).float()
        self.conv = nn.Conv2d(
            weight.shape[1] * self.points,
            weight.shape[0],
            3,
            padding=1,
            groups=self.points,
            bias=kernel.bias is not None,
        )
        self.conv.weight = nn.Parameter(weight, requires_grad=False)
        if kernel.bias is not None:
            biases = [torch.zeros(tile.taps.shape[0], kernel.weight.shape[0]) for tile in tiles]
            for bias in biases:
                bias[0] = kernel.bias
            self.conv.bias = nn.Parameter(torch.cat(biases).flatten(), requires_grad=False)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        slices = x.shape[0]
        transformed = torch.matmul(self.forward_matrix, x.reshape(slices, -1))
        products = self.conv(transformed.reshape(1, -1, *self.size))
        return torch.matmul(self.inverse_matrix, products.reshape(self.points, -1)).reshape(
            slices, -1, *self.size
        )


class TapSum(nn.Module):
    """The last 3-D convolution, to one channel: every slice's part in its three outputs at once, then their sum.

    (D, n, H, W) to (D, H, W).
    """

    def __init__(self, kernel: Kernel, slices: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.phases = Phases(size, LANES // 3, 1)
        self.conv = self.phases.conv2d(Kernel(kernel.weight[0].transpose(0, 1)))
        # Slice e contributes by tap k to output e - k + 1.
        sums = torch.zeros(slices, slices, 3)
        for after in range(slices):
            for before in range(max(after - 1, 0), min(after + 2, slices)):
                sums[after, before, before - after + 1] = 1
        self.sums = nn.Buffer(sums.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        slices = x.shape[0]
        parts = self.conv(x)
        total = torch.matmul(self.sums, parts.reshape(slices * 3, -1))
        scores: Tensor = self.phases(total.reshape(slices, -1, *self.phases.blocks))
        return scores.reshape(slices, *self.phases.size)


def _vandermonde(points: Sequence[Fraction], degree: int) -> Tensor:
    """(points + infinity, degree): powers of each point; the row of infinity picks the leading coefficient."""
    rows = [[float(point**power) for power in range(degree)] for point in points]
    return torch.tensor([*rows, [0.0] * (degree - 1) + [1.0]], dtype=torch.float64)


def _block_diagonal(blocks: Sequence[Tensor], overlap: int) -> Tensor:
    """The blocks from corner to corner, each ``overlap`` columns into the one before."""
    rows, columns = sum(b.shape[0] for b in blocks), sum(b.shape[1] - overlap for b in blocks) + overlap
    matrix = torch.zeros(rows, columns, dtype=torch.float64)
    row = column = 0
    for block in blocks:
        matrix[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1] - overlap
    return matrix
