"""What a quantised supernet begins with: the weights and steps of one bit more, or float weights, made fit for codes without a sign.

A linear bottleneck hands on values of both signs, and codes of activations have none: all that is negative would be lost. But
what reads a bottleneck is a 1x1 convolution with a batch norm behind it, and that takes any constant back:

    norm(conv(x))  =  norm(conv(x + c))        for a constant c of each channel, and statistics that follow

So the bias of the batch norm that ends a bottleneck is raised until hardly a value is below zero. In float nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from edgekit.errors import OptionError
from edgekit.models.checkpoint import load_weights
from edgekit.models.lsq import LsqConv2d, activation_levels, codes, weight_levels
from edgekit.models.oqa import ElasticNorm
from edgekit.models.oqa_space import largest
from edgekit.models.training.oqa_supernet import Forward, TrainingSupernet

LOST = 0.001  # share of a bottleneck's values that stay below zero, of each channel
STEPS = 60  # that are tried for a quantiser, evenly from a 60th of the one whose grid reaches all values
LOOKED_AT = 2**16  # values at most that a step is chosen by


def inherit(lower: TrainingSupernet, weights: Mapping[str, Tensor], bits: int | None, image: Tensor) -> None:
    """Begin a supernet with the weights of one that is trained (OQA, section 3.3).

    From one of one bit more every step is doubled: the grid then covers the same range with half of its points, all of
    which were points before. From one of the same bits the training goes on. From a float one (``bits`` None) bottlenecks are
    raised above zero, and the steps are those of least error for the pictures ``image``.

    Raises:
        OptionError: the trained one is neither float, nor of the same bits, nor of one more.
    """
    own = lower.options.bits
    if bits is not None and bits not in (own, own + 1):
        raise OptionError(
            f"weights of {bits} bits cannot begin a training of {own}: bits are inherited one at a time, "
            f"so give the weights of {own + 1} bits, or float ones"
        )
    load_weights(lower.supernet, weights, "the initial weights")
    if bits is None:
        begin_with_float(lower, image)
        return
    with torch.no_grad():
        for conv in lower.convolutions().values():
            conv.sa.mul_(2 ** (bits - own))
            conv.sw.mul_(2 ** (bits - own))


@torch.no_grad()
def begin_with_float(net: TrainingSupernet, image: Tensor) -> None:
    """Raise the bottlenecks and set every step, layer by layer, by what the largest subnet makes of ``image``."""
    training = net.training
    _Beginning(net.train())(image, largest(net.options))
    net.train(training)


def closest_step(x: Tensor, low: int, high: int) -> Tensor:
    """The step (1,), of those tried, whose grid of the codes ``low`` to ``high`` is next to ``x`` by mean square."""
    some = x.flatten()[:: max(1, x.numel() // LOOKED_AT)]
    widest = torch.maximum(some.max() / high, some.min() / low if low else some.new_zeros(())).clamp(min=1e-4)
    tried = [widest * k / STEPS for k in range(1, STEPS + 1)]
    errors = [float((codes(some, step, low, high) * step - some).square().mean()) for step in tried]
    return tried[errors.index(min(errors))].view(1)


class _Beginning(Forward):
    """A pass in which every layer is made ready by what the layers before it, made ready, hand on."""

    def carried(self, layers: nn.ModuleDict, x: Tensor) -> Tensor:
        below = -torch.quantile(x.transpose(0, 1).flatten(1), LOST, dim=1)
        norm = layers["point_linear"].get_submodule("bn")
        cast(nn.BatchNorm2d, norm.bn if isinstance(norm, ElasticNorm) else norm).bias.add_(below)
        return x + below.view(1, -1, 1, 1)

    def quantised(self, conv: LsqConv2d, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        bits = self._net.options.bits
        conv.sa.copy_(closest_step(x, *activation_levels(bits)))
        conv.sw.copy_(closest_step(conv.weight, *weight_levels(bits)))
        return super().quantised(conv, x, weight)
