"""MSDNet (Huang et al., arXiv 1703.09844): a multi-scale dense network with classifiers on the way, at the authors' numerics.

The parts stand in the order of the paper's section 4: what is computed where, the layers, the classifiers, the network.
Module and option names are those of the authors' checkpoint files and command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = {"cifar10": 10, "cifar100": 100, "ImageNet": 1000}
Branch = Callable[[int, Tensor], tuple[Tensor, Tensor]]
CIFAR_HEAD = 128  # channels of a classifier for small pictures


@dataclass(frozen=True)
class MSDNetOptions:
    """The architecture's options under the authors' names.

    Attributes:
        data: ``cifar10``, ``cifar100`` or ``ImageNet``: decides the stem, the classifiers and the pictures' recipe.
        num_classes: logits of an exit; by default as many as ``data`` has.
        nBlocks: blocks, each with an exit behind it.
        base: layers of the first block.
        step, stepmode: layers of block k = 1, 2, ...: ``step`` of each (``even``) or ``step * k + 1`` (``lin_grow``).
        nScales: resolutions, each half the one before.
        nChannels: channels of the finest scale after the first layer, and ``growthRate`` what a layer adds to them;
            at scale s both are multiplied by ``grFactor[s]``.
        bottleneck, bnFactor: whether a 1x1 convolution narrows what a layer reads to ``bnFactor[s]`` times what it adds.
        prune: ``min`` computes scales only as deep as the last classifier needs; ``max`` drops the finest scale every
            1/nScales of the layers.
        reduction: 1x1 convolutions keep this share of the channels where the network is cut into thirds (``min``) or where
            a scale is dropped (``max``); 0 for none.
    """

    data: str = "cifar10"
    num_classes: int = 10
    nBlocks: int = 10
    base: int = 4
    step: int = 2
    stepmode: str = "even"
    nScales: int = 3
    nChannels: int = 16
    growthRate: int = 6
    grFactor: tuple[int, ...] = (1, 2, 4)
    bnFactor: tuple[int, ...] = (1, 2, 4)
    bottleneck: bool = True
    prune: str = "max"
    reduction: float = 0.5

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of every block."""
        later = range(1, self.nBlocks)
        return (self.base, *(self.step if self.stepmode == "even" else self.step * k + 1 for k in later))


@dataclass(frozen=True)
class LayerPlan:
    """One layer after the first, in channels of scale 0 (scale s has ``grFactor[s]`` times as many).

    Attributes:
        channels: of what it reads.
        finest: the finest scale that it writes; those before it are dropped.
        drops: whether it reads a finer scale than it writes.
        reduced: the channels after the 1x1 convolutions that follow it; None without them.
    """

    channels: int
    finest: int
    drops: bool
    reduced: int | None


def plan(options: MSDNetOptions) -> list[list[LayerPlan]]:
    """The layers of every block (section 4, network reduction)."""
    depths, scales = options.depths, options.nScales
    total, number, channels = sum(depths), 0, options.nChannels
    interval = -(-total // scales)
    blocks: list[list[LayerPlan]] = []
    for depth in depths:
        blocks.append([])
        for _ in range(depth):
            number += 1
            if options.prune == "min":
                kept = [min(scales, total - n + 1) for n in (number - 1, number)]
                reduces = number in (total // 3, 2 * total // 3)
            else:
                kept = [scales - max(0, n - 1) // interval for n in (number - 1, number)]
                reduces = kept[0] > kept[1]
            grown = channels + options.growthRate
            reduced = int(options.reduction * grown) if reduces and options.reduction > 0 else None
            blocks[-1].append(LayerPlan(channels, scales - kept[1], kept[0] > kept[1], reduced))
            channels = grown if reduced is None else reduced
    return blocks


# --- Layers -----------------------------------------------------------------------------------------------------------


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution that keeps the size (or halves it, rounding up), batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


class Conv(nn.Module):
    """One convolution with its batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.net = nn.Sequential(*conv_bn_relu(inputs, outputs, kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class Growth(nn.Module):
    """What a layer adds to a scale from one map: 3x3, of stride 2 from the finer scale, behind a 1x1 bottleneck if there is one."""

    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: int | None) -> None:
        super().__init__()
        inner = inputs if bottleneck is None else min(inputs, bottleneck * outputs)
        narrowing = [] if bottleneck is None else conv_bn_relu(inputs, inner, 1)
        self.net = nn.Sequential(*narrowing, *conv_bn_relu(inner, outputs, 3, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class Unit(nn.Module):
    """One layer at one scale: the map so far, beside what is new from the finer scale (if any) and from itself."""

    def __init__(self, options: MSDNetOptions, scale: int, channels: int, reads_finer: bool) -> None:
        super().__init__()
        wide = [factor * channels for factor in options.grFactor]
        grown = options.growthRate * options.grFactor[scale]
        narrow = options.bnFactor if options.bottleneck else (None,) * options.nScales
        if reads_finer:
            self.conv_down = Growth(wide[scale - 1], grown // 2, 2, narrow[scale - 1])
        self.conv_normal = Growth(wide[scale], grown // 2 if reads_finer else grown, 1, narrow[scale])
        self.reads_finer = reads_finer

    def forward(self, x: Tensor, finer: Tensor | None = None) -> Tensor:
        parts = [x, self.conv_normal(x)]
        if finer is not None:
            parts.insert(1, self.conv_down(finer))
        return torch.cat(parts, dim=1)


class FirstLayer(nn.Module):
    """The picture (B, 3, H, W) to a map at every scale."""

    def __init__(self, options: MSDNetOptions) -> None:
        super().__init__()
        widths = [options.nChannels * factor for factor in options.grFactor]
        stem: nn.Module = Conv(3, widths[0], 3)
        if options.data == "ImageNet":
            stem = nn.Sequential(
                nn.Conv2d(3, widths[0], 7, 2, 3), nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
            )
        halving = [Conv(a, b, 3, 2) for a, b in zip(widths, widths[1:], strict=False)]
        self.layers = nn.ModuleList([stem, *halving])

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        maps: dict[int, Tensor] = {}
        for scale, layer in enumerate(self.layers):
            maps[scale] = layer(image if scale == 0 else maps[scale - 1])
        return maps


class Layer(nn.Module):
    """A later layer: every scale from ``finest`` on grows."""

    def __init__(self, options: MSDNetOptions, planned: LayerPlan) -> None:
        super().__init__()
        self.finest = planned.finest
        scales = range(planned.finest, options.nScales)
        self.layers = nn.ModuleList(
            Unit(options, scale, planned.channels, scale > planned.finest or planned.drops)
            for scale in scales
        )

    def grow(self, scale: int, maps: Mapping[int, Tensor]) -> Tensor:
        """The map of ``scale`` after this layer, from the maps before it."""
        unit = self.unit(scale)
        return unit(maps[scale], maps[scale - 1] if unit.reads_finer else None)  # type: ignore[no-any-return]

    def unit(self, scale: int) -> Unit:
        """What this layer is at ``scale``."""
        unit = self.layers[scale - self.finest]
        assert isinstance(unit, Unit)
        return unit


class Reduction(nn.Module):
    """1x1 convolutions that narrow every scale from ``finest`` on."""

    def __init__(self, options: MSDNetOptions, planned: LayerPlan) -> None:
        super().__init__()
        self.finest = planned.finest
        before, after = planned.channels + options.growthRate, planned.reduced or 0
        self.m = nn.ModuleList(Conv(before * f, after * f, 1) for f in options.grFactor[planned.finest :])

    def narrow(self, scale: int, x: Tensor) -> Tensor:
        """The narrowed map of ``scale``."""
        return self.m[scale - self.finest](x)  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """The coarsest map to logits (B, classes): two convolutions of stride 2, pooling, a fully connected layer."""

    def __init__(self, channels: int, inner: int, classes: int) -> None:
        super().__init__()
        self.m = nn.Sequential(Conv(channels, inner, 3, 2), Conv(inner, inner, 3, 2), nn.AvgPool2d(2))
        self.linear = nn.Linear(inner, classes)

    def features(self, x: Tensor) -> Tensor:
        """The pooled features (B, inner)."""
        return self.m(x).flatten(1)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x))  # type: ignore[no-any-return]


# --- The network ------------------------------------------------------------------------------------------------------


class MSDNet(nn.Module):
    """Classifier with ``nBlocks`` exits; see `MSDNetOptions`."""

    def __init__(self, options: MSDNetOptions | None = None) -> None:
        super().__init__()
        self.options = options = options or MSDNetOptions()
        self.blocks, self.classifier = nn.ModuleList(), nn.ModuleList()
        for number, layers in enumerate(plan(options)):
            parts: list[nn.Module] = [] if number else [FirstLayer(options)]
            for planned in layers:
                parts.append(Layer(options, planned))
                if planned.reduced is not None:
                    parts.append(Reduction(options, planned))
            self.blocks.append(nn.Sequential(*parts))
            last = layers[-1]
            channels = last.channels + options.growthRate if last.reduced is None else last.reduced
            channels *= options.grFactor[-1]
            inner = channels if options.data == "ImageNet" else CIFAR_HEAD
            self.classifier.append(Classifier(channels, inner, options.num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def head(self, index: int) -> Classifier:
        """The classifier behind block ``index``."""
        head = self.classifier[index]
        assert isinstance(head, Classifier)
        return head

    def features(self, image: Tensor, branch: Branch | None = None) -> list[Tensor]:
        """The picture (B, 3, H, W) to the coarsest map after every block.

        ``branch`` makes of block k's coarsest map (k = 0, 1, ...) what its exit reads and what the next block reads; a training
        may scale their gradients there.
        """
        maps: dict[int, Tensor] = {}
        coarsest: list[Tensor] = []
        for block in self.blocks:
            for part in block:  # type: ignore[attr-defined]
                if isinstance(part, Layer):
                    maps = {s: part.grow(s, maps) for s in range(part.finest, self.options.nScales)}
                elif isinstance(part, Reduction):
                    maps = {s: part.narrow(s, x) for s, x in maps.items()}
                else:
                    maps = part(image)
            x = onward = maps[self.options.nScales - 1]
            if branch is not None:
                x, onward = branch(len(coarsest), x)
            maps = {**maps, self.options.nScales - 1: onward}
            coarsest.append(x)
        return coarsest

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised pictures (B, 3, H, W) to the logits (B, classes) of every exit."""
        return [head(x) for head, x in zip(self.classifier, self.features(image), strict=True)]
