"""OQA's supernet while it is trained (arXiv 2010.04354, section 3): subnets that share weights and steps, and what a lower bit-width inherits.

`edgekit.models.oqa` cuts subnets out as copies, for use. Here a subnet runs on slices of the shared tensors, so that what it
learns stays in the supernet.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.models.lsq import LsqConv2d, activation_levels, codes, weight_levels
from edgekit.models.oqa import ElasticConv, ElasticNorm, SqueezeExcite, Supernet, h_sigmoid, h_swish
from edgekit.models.oqa_space import (
    SWISHED,
    SubnetConfig,
    SupernetOptions,
    block_shapes,
    squeezed,
)

# --- The quantiser's gradients (LSQ, arXiv 1902.08153, section 2.1) ---------------------------------------------------


class Quantise(torch.autograd.Function):
    """To the grid of a step and back, with the gradients of LSQ's equations 3 and 5; the step's is scaled by ``scale``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int, scale: float) -> Tensor:
        scaled = x / step.abs()
        ctx.save_for_backward(scaled, step)
        ctx.grid = low, high, scale
        return codes(scaled, step.new_ones(()), low, high).mul_(step.abs())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        scaled, step = ctx.saved_tensors
        low, high, scale = ctx.grid
        inside = (scaled >= low) & (scaled <= high)
        to_x = gradient * inside
        # Within the grid the code less the unrounded value, beyond it the code at its end.
        of_step = (gradient * scaled.clamp(low, high).round_()).sum() - (to_x * scaled).sum()
        return to_x, (of_step * scale * step.sign()).view_as(step), None, None, None


def _bounded(step: Tensor, gradient: Tensor) -> Tensor:
    """At most the step's own size, either way: one batch in a thousand would else throw a step to where no code is used."""
    bound = step.detach().abs()
    return torch.minimum(torch.maximum(gradient, -bound), bound)


# --- The supernet in training -----------------------------------------------------------------------------------------


class TrainingSupernet(nn.Module):
    """A supernet whose subnets learn; its state dict is that of `Supernet`, steps included.

    Attributes:
        quantised: False trains the float network that quantisation starts from and is compared with.
    """

    def __init__(self, options: SupernetOptions, quantised: bool = True) -> None:
        super().__init__()
        self.options = options
        self.quantised = quantised
        self.supernet = Supernet(options)
        for module in self.supernet.modules():
            if isinstance(module, LsqConv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                for name in ("sa", "sw"):  # learned here, constants everywhere else
                    step = cast(Tensor, getattr(module, name))
                    delattr(module, name)
                    learned = nn.Parameter(step.clone())
                    learned.register_hook(partial(_bounded, learned))  # type: ignore[no-untyped-call]
                    setattr(module, name, learned)

    def convolutions(self) -> dict[str, LsqConv2d]:
        """Every quantised convolution, by its name in the checkpoint."""
        return {
            name: module for name, module in self.supernet.named_modules() if isinstance(module, LsqConv2d)
        }

    def forward(self, image: Tensor, subnet: SubnetConfig) -> Tensor:
        """Normalised RGB pictures (B, 3, H, W) to logits (B, classes) of one subnet."""
        return Forward(self)(image, subnet)


class Forward:
    """One pass of one subnet over the supernet's slices."""

    def __init__(self, net: TrainingSupernet) -> None:
        self._net = net

    def __call__(self, image: Tensor, subnet: SubnetConfig) -> Tensor:
        supernet = self._net.supernet
        first = supernet.first_conv
        x = cast(nn.Conv2d, first.get_submodule("conv"))(image)
        x = h_swish(self._norm(first, x))
        x = x + self._linear(self._blocks(0), "point_linear", F.relu(self._deep(self._blocks(0), x, 3, 1)))
        x = self.carried(self._blocks(0), x)
        for shape in block_shapes(self._net.options, subnet):
            layers = self._blocks(shape.number)
            activate = h_swish if SWISHED[shape.stage] else F.relu
            y = activate(self._linear(layers, "inverted_bottleneck", x, shape.middle))
            y = activate(self._deep(layers, y, shape.kernel, shape.stride))
            if hasattr(layers["depth_conv"], "se"):
                y = y * _gate(cast(SqueezeExcite, layers["depth_conv"].get_submodule("se.fc")), y)
            y = self._linear(layers, "point_linear", y, shape.outputs)
            x = self.carried(layers, x + y if shape.stride == 1 and shape.inputs == shape.outputs else y)
        last = supernet.final_expand_layer
        x = h_swish(self._norm(last, self._convolve(last.get_submodule("conv"), x))).mean(
            (2, 3), keepdim=True
        )
        x = h_swish(self._convolve(supernet.feature_mix_layer.get_submodule("conv"), x)).flatten(1)
        return cast(Tensor, supernet.classifier["linear"](x))

    def carried(self, layers: nn.ModuleDict, x: Tensor) -> Tensor:
        """What the block of ``layers`` hands on, of ``x``."""
        return x

    def quantised(self, conv: LsqConv2d, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A convolution's input and its slice of weights, on their grids."""
        bits = self._net.options.bits
        low, high = activation_levels(bits)
        x = Quantise.apply(x, conv.sa, low, high, (x[0].numel() * high) ** -0.5)  # type: ignore[no-untyped-call]
        low, high = weight_levels(bits)
        return x, Quantise.apply(weight, conv.sw, low, high, (weight.numel() * high) ** -0.5)  # type: ignore[no-untyped-call]

    def _blocks(self, number: int) -> nn.ModuleDict:
        return cast(nn.ModuleDict, self._net.supernet.blocks[number].get_submodule("mobile_inverted_conv"))

    def _linear(self, layers: nn.ModuleDict, name: str, x: Tensor, outputs: int | None = None) -> Tensor:
        layer = layers[name]
        return self._norm(layer, self._convolve(layer.get_submodule("conv"), x, outputs))

    def _deep(self, layers: nn.ModuleDict, x: Tensor, kernel: int, stride: int) -> Tensor:
        layer = layers["depth_conv"]
        return self._norm(
            layer, self._convolve(layer.get_submodule("conv"), x, x.shape[1], kernel, stride, x.shape[1])
        )

    def _convolve(
        self,
        layer: nn.Module,
        x: Tensor,
        outputs: int | None = None,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> Tensor:
        conv = cast(LsqConv2d, layer.conv if isinstance(layer, ElasticConv) else layer)
        outputs = outputs or conv.weight.shape[0]
        inputs = x.shape[1] // groups
        weight = (
            layer.weight(outputs, inputs, kernel)
            if isinstance(layer, ElasticConv)
            else conv.weight[:outputs, :inputs]
        )
        if self._net.quantised:
            x, weight = self.quantised(conv, x, weight)
        weight = reaching(weight, max(x.shape[2:]))
        return F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, groups)

    def _norm(self, layer: nn.Module, x: Tensor) -> Tensor:
        module = layer.get_submodule("bn")
        norm = cast(nn.BatchNorm2d, module.bn if isinstance(module, ElasticNorm) else module)
        c = x.shape[1]
        mean, var = cast(Tensor, norm.running_mean)[:c], cast(Tensor, norm.running_var)[:c]
        return F.batch_norm(
            x,
            mean,
            var,
            norm.weight[:c],
            norm.bias[:c],
            self._net.training,
            cast(float, norm.momentum),
            norm.eps,
        )


def reaching(weight: Tensor, size: int) -> Tensor:
    """The middle of odd kernels, as much of it as ever meets a picture of ``size`` px; the rest meets padding alone.

    On a CPU a kernel of 5 on a single pixel costs a hundred times its middle.
    """
    spare = max(0, weight.shape[2] // 2 - (size - 1))
    return weight[:, :, spare : weight.shape[2] - spare, spare : weight.shape[3] - spare]


def _gate(whole: SqueezeExcite, x: Tensor) -> Tensor:
    """`SqueezeExcite.gate` of the first channels alone."""
    channels = x.shape[1]
    inner = squeezed(channels)
    mean = x.mean((2, 3), keepdim=True)
    y = F.relu(
        F.conv2d(mean, whole.reduce.weight[:inner, :channels], cast(Tensor, whole.reduce.bias)[:inner])
    )
    return h_sigmoid(
        F.conv2d(y, whole.expand.weight[:channels, :inner], cast(Tensor, whole.expand.bias)[:channels])
    )


# --- A subnet ready for use -------------------------------------------------------------------------------------------


@torch.no_grad()
def settled(net: TrainingSupernet, subnet: SubnetConfig, pictures: Sequence[Tensor]) -> TrainingSupernet:
    """A copy, in inference mode, whose batch norms have the statistics of one subnet, averaged over batches of pictures.

    Those that training leaves are averages over many subnets, and fit none; see `edgekit.models.recalibration`.
    """
    copy = deepcopy(net).train()
    norms = [module for module in copy.modules() if isinstance(module, nn.BatchNorm2d)]
    for k, batch in enumerate(pictures):
        for norm in norms:
            norm.momentum = 1 / (k + 1)  # the plain mean of all batches so far
        copy(batch, subnet)
    return copy.eval()
