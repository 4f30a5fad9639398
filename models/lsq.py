"""Learned step size quantisation (Esser et al., arXiv 1902.08153) as OQA uses it: unsigned activations, signed weights, one step a tensor.

A quantiser of b bits maps x to ``step * code``, ``code = round(clip(x / |step|, low, high))`` with ties to the even code.
Activations have the codes 0 .. 2^b - 1, weights -2^(b-1) .. 2^(b-1) - 1. Whatever sign training left on a step, only its
absolute value is used (OQA, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.errors import CheckpointError
from edgekit.models.oqa_space import BITS


def activation_levels(bits: int) -> tuple[int, int]:
    """Lowest and highest code of an activation."""
    return 0, 2**bits - 1


def weight_levels(bits: int) -> tuple[int, int]:
    """Lowest and highest code of a weight."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def codes(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """Whole numbers low .. high, as floats, such that ``codes * |step|`` is the grid point next to ``x``."""
    return (x / step.abs()).clamp(low, high).round()


class LsqConv2d(nn.Module):
    """Convolution without bias whose input and weights are quantised; padding keeps the resolution.

    Attributes:
        weight: (outputs, inputs / groups, kernel, kernel), as trained: not yet on the grid.
        sa, sw: steps (1,) of the input and of the weights, under the names of the checkpoints.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, bits: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.bits = bits
        self.kernel = kernel
        self.stride = stride
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        # Not parameters: the published parameter counts do not count them.
        self.sa = nn.Buffer(torch.ones(1))
        self.sw = nn.Buffer(torch.ones(1))

    def input_codes(self, x: Tensor) -> Tensor:
        """The input's codes, of its shape, as floats."""
        return codes(x, self.sa, *activation_levels(self.bits))

    def weight_codes(self) -> Tensor:
        """The weights' codes, of their shape, as floats."""
        return codes(self.weight, self.sw, *weight_levels(self.bits))

    def forward(self, x: Tensor) -> Tensor:
        quantised = self.input_codes(x) * self.sa.abs()
        weight = self.weight_codes() * self.sw.abs()
        return F.conv2d(quantised, weight, None, self.stride, self.kernel // 2, 1, self.groups)


def check_steps(weights: Mapping[str, Tensor], source: str) -> None:
    """Refuse steps that no grid can have.

    Raises:
        CheckpointError: a step is zero, NaN or infinite, or so small or large that its grid is not in float32.
    """
    widest = 2.0 ** max(BITS)
    for name, tensor in weights.items():
        if name.endswith((".sa", ".sw")) and not bool(
            (torch.isfinite(1 / tensor) & torch.isfinite(widest * tensor)).all()
        ):
            raise CheckpointError(
                f"{source}: the step size {name} is {tensor.flatten().tolist()[0]:g}, which spans no grid; "
                "the file is damaged or its training diverged"
            )


def fits(weights: Mapping[str, Tensor], bits: int) -> bool:
    """Whether the steps of the weights can have been trained for ``bits``.

    A step begins at ``2 mean|w| / sqrt(high)`` (LSQ, section 2.1), so untrained steps tell their bits exactly. Training
    moves them, but hardly so far that a quarter of the weights lies beyond the grid, or 99 % of them in its inner half;
    between such extremes nothing can be told, and the answer is yes.
    """
    begun = began_as(weights)
    if begun is not None:
        return begun == bits
    low, high = weight_levels(bits)
    beyond, within = [], []
    for weight, step in _pairs(weights):
        scaled = weight / step.abs()
        beyond.append(float(((scaled < low - 0.5) | (scaled > high + 0.5)).float().mean()))
        within.append(float((scaled.abs() > high / 2 + 0.5).float().mean()))
    middle = len(beyond) // 2
    return not beyond or (
        sorted(beyond)[middle] < 0.25 and (bits == min(BITS) or sorted(within)[middle] > 0.01)
    )


def began_as(weights: Mapping[str, Tensor]) -> int | None:
    """The bits whose first steps these still are, None once training has moved them."""
    ratios = sorted(float(2 * weight.abs().mean() / step.abs()) for weight, step in _pairs(weights))
    if not ratios:
        return None
    for bits in BITS:
        first = weight_levels(bits)[1] ** 0.5
        if all(
            abs(ratio / first - 1) < 0.02
            for ratio in (ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10])
        ):
            return bits
    return None


def _pairs(weights: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    steps = [name for name in weights if name.endswith(".sw")]
    return [(weights[name.removesuffix("sw") + "weight"], weights[name]) for name in steps]
