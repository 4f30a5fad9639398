"""OQA (Shen et al., arXiv 2010.04354): a quantised supernet of MobileNetV3's shape, and the subnets that are cut from it.

The supernet holds the weights under the names of the authors' checkpoint files, each at its largest; a subnet takes slices of
them. Of a kernel, the smaller one is the centre of the larger one through a learned matrix (OFA, arXiv 1908.09791, section
3.3). Every convolution is quantised but the first and those of squeeze-and-excitation; the classifier is float too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.models.checkpoint import load_weights
from edgekit.models.lsq import LsqConv2d
from edgekit.models.oqa_space import (
    SQUEEZED,
    SWISHED,
    SubnetConfig,
    SupernetOptions,
    block_shapes,
    largest,
    squeezed,
    widths,
)

# --- Activations ------------------------------------------------------------------------------------------------------


def h_sigmoid(x: Tensor) -> Tensor:
    """Clip(x + 3, 0, 6) / 6 (MobileNetV3, section 5.2)."""
    return F.relu6(x + 3) / 6


def h_swish(x: Tensor) -> Tensor:
    """x h_sigmoid(x)."""
    return x * F.relu6(x + 3) / 6


class Activation(nn.Module):
    """ReLU, h-swish or nothing."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind  # "relu", "h_swish", "none"

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) if self.kind == "relu" else h_swish(x) if self.kind == "h_swish" else x


# --- A subnet ---------------------------------------------------------------------------------------------------------


class QuantLayer(nn.Module):
    """Quantised convolution, batch norm (None behind the last one), activation."""

    def __init__(self, conv: LsqConv2d, norm: nn.BatchNorm2d | None, activation: str) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.activation = Activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.activation(y if self.norm is None else self.norm(y))  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """Every channel times a gate that the means of all channels decide, in float (MobileNetV3, section 5.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed(channels), 1)
        self.expand = nn.Conv2d(squeezed(channels), channels, 1)

    def gate(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 1, 1) in 0 .. 1."""
        mean = x.mean((2, 3), keepdim=True)
        return h_sigmoid(self.expand(F.relu(self.reduce(mean))))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)

    def cut(self, channels: int) -> SqueezeExcite:
        """The same for the first ``channels`` alone."""
        smaller = SqueezeExcite(channels)
        for mine, its in ((self.reduce, smaller.reduce), (self.expand, smaller.expand)):
            outputs, inputs = its.weight.shape[:2]
            its.weight = _fixed(mine.weight[:outputs, :inputs])
            its.bias = _fixed(cast(Tensor, mine.bias)[:outputs])
        return smaller


class Block(nn.Module):
    """Inverted residual block; the first of the network has no expansion."""

    def __init__(
        self, expand: QuantLayer | None, depthwise: QuantLayer, se: SqueezeExcite | None, project: QuantLayer,
        residual: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.expand = expand
        self.depthwise = depthwise
        self.se = se
        self.project = project
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        if self.se is not None:
            y = self.se(y)
        y = self.project(y)
        return x + y if self.residual else y  # type: ignore[no-any-return]


class OqaNet(nn.Module):
    """A subnet: RGB (N, 3, H, W), normalised, to logits (N, classes)."""

    def __init__(
        self, first: nn.Conv2d, first_norm: nn.BatchNorm2d, blocks: list[Block], final: QuantLayer, mix: QuantLayer,
        classifier: nn.Linear,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = first
        self.first_norm = first_norm
        self.blocks = nn.ModuleList(blocks)
        self.final = final
        self.mix = mix
        self.classifier = classifier

    def quantised(self) -> dict[str, QuantLayer]:
        """Every quantised layer by its name, in the order in which they run."""
        return {name: module for name, module in self.named_modules() if isinstance(module, QuantLayer)}

    def forward(self, image: Tensor) -> Tensor:
        x = h_swish(self.first_norm(self.first(image)))
        for block in self.blocks:
            x = block(x)
        x = self.final(x).mean((2, 3), keepdim=True)
        return self.classifier(self.mix(x).flatten(1))  # type: ignore[no-any-return]


# --- The supernet -----------------------------------------------------------------------------------------------------


class ElasticConv(nn.Module):
    """A convolution at its largest; ``conv`` holds its weights, and one matrix leads from a kernel to the next smaller one."""

    def __init__(self, conv: LsqConv2d, kernels: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.conv = conv
        self.kernels = sorted(kernels, reverse=True)
        for large, small in zip(self.kernels, self.kernels[1:], strict=False):
            self.register_parameter(f"{large}to{small}_matrix", nn.Parameter(torch.eye(small**2)))

    def weight(self, outputs: int, inputs: int, kernel: int) -> Tensor:
        """The slice of a subnet, (outputs, inputs, kernel, kernel)."""
        weight = self.conv.weight[:outputs, :inputs]
        for large, small in zip(self.kernels, self.kernels[1:], strict=False):
            if kernel >= large:
                break
            margin = (large - small) // 2
            centre = weight[:, :, margin:-margin, margin:-margin]
            matrix = self.get_parameter(f"{large}to{small}_matrix")
            weight = F.linear(centre.reshape(outputs, -1), matrix).view(outputs, -1, small, small)
        return weight


class ElasticNorm(nn.Module):
    """A batch norm at its widest."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)


def _layer(conv: nn.Module, norm: nn.Module | None = None, se: SqueezeExcite | None = None) -> nn.Module:
    """A layer under the checkpoint's names: conv, bn, se.fc.reduce, se.fc.expand."""
    layer = nn.Module()
    layer.add_module("conv", conv)
    if norm is not None:
        layer.add_module("bn", norm)
    if se is not None:
        layer.add_module("se", nn.ModuleDict({"fc": se}))
    return layer


def _supernet_block(layers: Mapping[str, nn.Module]) -> nn.ModuleDict:
    return nn.ModuleDict({"mobile_inverted_conv": nn.ModuleDict(dict(layers))})


class Supernet(nn.Module):
    """Every weight of an OQA supernet; it computes nothing itself, its subnets do."""

    def __init__(self, options: SupernetOptions) -> None:
        super().__init__()
        self.options = options
        bits = options.bits
        first, stages, (final, mixed) = widths(options)
        self.first_conv = _layer(nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first))
        blocks = [
            _supernet_block({
                "depth_conv": _layer(LsqConv2d(first, first, 3, bits, groups=first), nn.BatchNorm2d(first)),
                "point_linear": _layer(LsqConv2d(first, first, 1, bits), nn.BatchNorm2d(first)),
            })
        ]  # fmt: skip
        for shape in block_shapes(options, largest(options)):
            middle = shape.middle
            se = SqueezeExcite(middle) if SQUEEZED[shape.stage] else None
            depthwise = ElasticConv(
                LsqConv2d(middle, middle, shape.kernel, bits, groups=middle), options.ks_list
            )
            point = {
                "inverted_bottleneck": (shape.inputs, middle), "point_linear": (middle, shape.outputs),
            }  # fmt: skip
            layers = {
                name: _layer(ElasticConv(LsqConv2d(*channels, 1, bits)), ElasticNorm(channels[1]))
                for name, channels in point.items()
            }
            layers["depth_conv"] = _layer(depthwise, ElasticNorm(middle), se)
            blocks.append(_supernet_block(layers))
        self.blocks = nn.ModuleList(blocks)
        self.final_expand_layer = _layer(LsqConv2d(stages[-1], final, 1, bits), nn.BatchNorm2d(final))
        self.feature_mix_layer = _layer(LsqConv2d(final, mixed, 1, bits))
        self.classifier = nn.ModuleDict({"linear": nn.Linear(mixed, options.num_classes)})

    def load(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Fill every weight; see `edgekit.models.checkpoint.load_weights`."""
        load_weights(self, weights, source)

    def subnet(self, config: SubnetConfig) -> OqaNet:
        """Cut out one subnet, in inference mode; its weights are copies."""
        with torch.no_grad():
            blocks = [self._first_block()]
            for shape in block_shapes(self.options, config):
                layers = self._layers(shape.number)
                kind = "h_swish" if SWISHED[shape.stage] else "relu"
                i, m, o = shape.inputs, shape.middle, shape.outputs
                deep = layers["depth_conv"]
                blocks.append(
                    Block(
                        _cut(layers["inverted_bottleneck"], i, m, 1, kind),
                        _cut(deep, m, m, shape.kernel, kind, shape.stride, groups=m),
                        cast(SqueezeExcite, deep.get_submodule("se.fc")).cut(m)
                        if hasattr(deep, "se")
                        else None,
                        _cut(layers["point_linear"], m, o, 1, "none"),
                        residual=shape.stride == 1 and i == o,
                    )
                )
            conv, norm = (self.first_conv.get_submodule(name) for name in ("conv", "bn"))
            _, stages, (final, mixed) = widths(self.options)
            linear = cast(nn.Linear, self.classifier["linear"])
            classifier = nn.Linear(mixed, self.options.num_classes)
            classifier.weight, classifier.bias = _fixed(linear.weight), _fixed(linear.bias)
            first = nn.Conv2d(3, cast(nn.Conv2d, conv).out_channels, 3, 2, 1, bias=False)
            first.weight = _fixed(cast(nn.Conv2d, conv).weight)
            return OqaNet(
                first, _cut_norm(norm, first.out_channels), blocks,
                _cut(self.final_expand_layer, stages[-1], final, 1, "h_swish"),
                _cut(self.feature_mix_layer, final, mixed, 1, "h_swish"), classifier,
            ).eval()  # fmt: skip

    def _layers(self, number: int) -> nn.ModuleDict:
        return cast(nn.ModuleDict, self.blocks[number].get_submodule("mobile_inverted_conv"))

    def _first_block(self) -> Block:
        layers = self._layers(0)
        width = widths(self.options)[0]
        return Block(
            None, _cut(layers["depth_conv"], width, width, 3, "relu", groups=width), None,
            _cut(layers["point_linear"], width, width, 1, "none"), residual=True,
        )  # fmt: skip


def _cut(
    layer: nn.Module,
    inputs: int,
    outputs: int,
    kernel: int,
    activation: str,
    stride: int = 1,
    groups: int = 1,
) -> QuantLayer:
    elastic = layer.get_submodule("conv")
    whole = cast(LsqConv2d, elastic.conv if isinstance(elastic, ElasticConv) else elastic)
    conv = LsqConv2d(inputs, outputs, kernel, whole.bits, stride, groups)
    each = inputs // groups
    conv.weight = _fixed(
        elastic.weight(outputs, each, kernel)
        if isinstance(elastic, ElasticConv)
        else whole.weight[:outputs, :each]
    )
    conv.sa, conv.sw = nn.Buffer(whole.sa.clone()), nn.Buffer(whole.sw.clone())
    norm = _cut_norm(layer.get_submodule("bn"), outputs) if hasattr(layer, "bn") else None
    return QuantLayer(conv, norm, activation)


def _cut_norm(norm: nn.Module, channels: int) -> nn.BatchNorm2d:
    """The first channels of a batch norm, statistics as well: a subnet's own come from recalibration."""
    whole = cast(nn.BatchNorm2d, norm.bn if isinstance(norm, ElasticNorm) else norm)
    cut = nn.BatchNorm2d(channels, whole.eps)
    cut.weight, cut.bias = _fixed(whole.weight[:channels]), _fixed(whole.bias[:channels])
    cut.running_mean = cast(Tensor, whole.running_mean)[:channels].clone()
    cut.running_var = cast(Tensor, whole.running_var)[:channels].clone()
    return cut


def _fixed(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone().contiguous(), requires_grad=False)
