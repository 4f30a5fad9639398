"""Fold batch norms into the convolutions before them; the one that opens a chain has none and stays a scale and a shift.

before: conv2(relu(norm2(conv1(relu(norm1(x))))))
after:  conv2(relu(conv1'(relu(scale * x + shift))))      conv1' = norm2 . conv1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Kernel:
    """A convolution's weight (outputs, inputs, ...) and bias (outputs), if it has one."""

    weight: Tensor
    bias: Tensor | None = None

    def normed(self, norm: nn.Module) -> Kernel:
        """The kernel of ``norm`` applied after this convolution."""
        scale, shift = affine(norm)
        weight = self.weight.double() * scale.double().view(-1, *[1] * (self.weight.dim() - 1))
        bias = shift.double() if self.bias is None else self.bias.double() * scale.double() + shift.double()
        return Kernel(weight.float(), bias.float())


@dataclass(frozen=True)
class Chain:
    """A pre-activation chain: relu(scale * x + shift), then each kernel, with a ReLU between two kernels."""

    scale: Tensor
    shift: Tensor
    kernels: tuple[Kernel, ...]


class Activation(nn.Module):
    """relu(scale * x + shift) per channel of x (B, C, H, W)."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale = nn.Buffer(scale.detach().view(-1, 1, 1).clone())
        self.shift = nn.Buffer(shift.detach().view(-1, 1, 1).clone())
        self.unscaled = bool((self.scale == 1).all())

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu((x if self.unscaled else x * self.scale) + self.shift)


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) of a batch norm in inference."""
    assert isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shift = norm.bias.detach().double() - norm.running_mean.double() * scale
    return scale.float(), shift.float()


def kernel_of(conv: nn.Module) -> Kernel:
    """Weight and bias of a convolution module, detached."""
    assert isinstance(conv, nn.Conv2d | nn.Conv3d)
    return Kernel(conv.weight.detach(), None if conv.bias is None else conv.bias.detach())


def fold_chain(blocks: Sequence[nn.Module] | Iterator[nn.Module]) -> Chain:
    """Fold a chain of (batch norm, ReLU, convolution) blocks."""
    triples = [tuple(block.children()) for block in blocks]
    kernels = [kernel_of(conv) for _, _, conv in triples]
    folded = [kernel.normed(triple[0]) for kernel, triple in zip(kernels, triples[1:], strict=False)]
    return Chain(*affine(triples[0][0]), (*folded, kernels[-1]))


def conv2d(
    kernel: Kernel, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0
) -> nn.Conv2d:
    """A fixed 2-D convolution with this kernel."""
    outputs, inputs, *size = kernel.weight.shape
    conv = nn.Conv2d(inputs, outputs, (size[0], size[1]), stride, padding, bias=kernel.bias is not None)
    conv.weight = nn.Parameter(kernel.weight.clone().contiguous(), requires_grad=False)
    if kernel.bias is not None:
        conv.bias = nn.Parameter(kernel.bias.clone(), requires_grad=False)
    return conv
