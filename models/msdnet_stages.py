"""An MSDNet cut into stages, one a block, by the paper's lazy evaluation: a stage computes what its exit needs, and no more."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from edgekit.errors import OptionError
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.msdnet import Layer, MSDNet, MSDNetOptions, Reduction
from edgekit.models.msdnet_weights import from_weights, jsonable
from edgekit.models.shipped import shipped
from edgekit.models.staged import CIFAR10_MEAN, CIFAR10_STD, CIFAR100_MEAN, CIFAR100_STD, ImageInput, Stage

Node = tuple[
    int, int
]  # (layer, scale): the map of a scale after a layer; layer 0 is the first one, which reads the picture


@dataclass(frozen=True)
class Portion:
    """What of the network one stage computes.

    Attributes:
        reads: maps of earlier stages that it needs.
        computes: in an order in which they can be computed.
        writes: those of ``computes`` that later stages need.
    """

    reads: tuple[Node, ...]
    computes: tuple[Node, ...]
    writes: tuple[Node, ...]


def layers_of(net: MSDNet) -> list[tuple[Layer, Reduction | None]]:
    """The layers after the first one, each with the reduction that follows it."""
    parts = [part for block in net.blocks for part in block.children()]
    after = [*parts[1:], None]
    return [
        (part, follower if isinstance(follower, Reduction) else None)
        for part, follower in zip(parts, after, strict=True)
        if isinstance(part, Layer)
    ]


def portions(net: MSDNet) -> list[Portion]:
    """The network cut by lazy evaluation (section 4): a stage computes what its exit needs and no stage before it has.

    The finer scales of a block's last layers are left to the next stage, and what no exit reads to nobody.
    """
    layers, coarsest = layers_of(net), net.options.nScales - 1

    def sources(node: Node) -> list[Node]:
        layer, scale = node
        if layer == 0:
            return [(0, scale - 1)] if scale > 0 else []
        finer = [(layer - 1, scale - 1)] if layers[layer - 1][0].unit(scale).reads_finer else []
        return [*finer, (layer - 1, scale)]

    done: set[Node] = set()
    stages: list[tuple[list[Node], list[Node]]] = []
    depth = 0
    for layers_in_block in net.options.depths:
        depth += layers_in_block
        wanted, waiting = set[Node](), [(depth, coarsest)]
        while waiting:
            node = waiting.pop()
            if node not in done and node not in wanted:
                wanted.add(node)
                waiting += sources(node)
        computes = sorted(wanted)
        stages.append((sorted({s for node in computes for s in sources(node)} & done), computes))
        done |= wanted
    later = [{node for reads, _ in stages[k + 1 :] for node in reads} for k in range(len(stages))]
    return [
        Portion(tuple(reads), tuple(computes), tuple(node for node in computes if node in needed))
        for (reads, computes), needed in zip(stages, later, strict=True)
    ]


class BlockStage(nn.Module):
    """Stage k: the picture (stage 1) or the maps it reads, to the exit's logits and the maps that later stages read."""

    def __init__(self, net: MSDNet, index: int) -> None:
        super().__init__()
        self.net = net
        self.index = index
        self.portion = portions(net)[index]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        maps = self.advance(tensors)
        logits = self.predict(maps[self.portion.computes[-1]], tensors)
        return (logits, *(maps[node] for node in self.portion.writes))

    def predict(self, coarsest: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """Logits (B, classes) of this stage's exit from its block's coarsest map."""
        return self.net.classifier[self.index](coarsest)  # type: ignore[no-any-return]

    def advance(self, tensors: Sequence[Tensor]) -> dict[Node, Tensor]:
        """Every map that this stage computes; the last of ``portion.computes`` is what its classifier reads."""
        maps = dict(zip(self.portion.reads, tensors, strict=False))
        if self.index == 0:
            first = next(self.net.blocks[0].children())
            maps = {(0, scale): x for scale, x in first(tensors[0]).items()}
        layers = layers_of(self.net)
        for number, scale in self.portion.computes:
            if number > 0:
                layer, reduction = layers[number - 1]
                before = {s: maps[number - 1, s] for s in (scale - 1, scale) if (number - 1, s) in maps}
                grown = layer.grow(scale, before)
                maps[number, scale] = grown if reduction is None else reduction.narrow(scale, grown)
        return maps


def name_of(node: Node) -> str:
    """What a map is called between stages."""
    return f"layer{node[0]}_scale{node[1]}"


class StagedMSDNet:
    """An MSDNet at one picture size, ready for export; a `StagedModel`. ``accuracies`` are the exits', where they are known."""

    family = "msdnet"
    task = "classification"

    def __init__(
        self,
        net: MSDNet,
        size: tuple[int, int] | None = None,
        accuracies: Mapping[str, float] | None = None,
    ) -> None:
        self.net = net.eval()
        self.accuracies = dict(accuracies or {})
        self.options: Mapping[str, object] = jsonable(net.options)
        self.inputs = (picture(net.options, size),)

    def stages(self) -> list[Stage]:
        """One stage a block, each with its exit."""
        return [self.stage(BlockStage(self.net, index)) for index in range(len(self.net.blocks))]

    @staticmethod
    def stage(module: BlockStage, beside: Sequence[str] = ()) -> Stage:
        """The stage that a module is; ``beside`` are the names of what it reads after its maps."""
        k, portion = module.index + 1, module.portion
        reads = ["image"] if k == 1 else list(map(name_of, portion.reads))
        writes = map(name_of, portion.writes)
        return Stage(f"stage{k}", module, (*reads, *beside), (f"logits{k}", *writes), f"logits{k}")

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The logits of every exit of the uncut network for (image,)."""
        return self.net(*inputs)  # type: ignore[no-any-return]


def picture(options: MSDNetOptions, size: tuple[int, int] | None) -> ImageInput:
    """The network's input: 32x32 for CIFAR, a 224x224 crop for ImageNet, or ``size`` (height, width).

    Raises:
        OptionError: the last classifier's pooling would not end at one pixel.
    """
    small = options.data != "ImageNet"
    height, width = size or ((32, 32) if small else (224, 224))
    for side in (height, width):
        coarsest = -(-side // 2 ** (options.nScales - 1 + (0 if small else 2)))
        if (-(-coarsest // 4)) // 2 != 1:
            unit = 2 ** (options.nScales - 1 + (0 if small else 2))
            raise OptionError(
                f"size {height}x{width}: with nScales={options.nScales} and the stem for {options.data}, the classifiers take "
                f"sides of {4 * unit + 1} to {12 * unit} px"
            )
    recipe = {"cifar10": (CIFAR10_MEAN, CIFAR10_STD), "cifar100": (CIFAR100_MEAN, CIFAR100_STD)}
    if options.data in recipe:
        mean, std = recipe[options.data]
        return ImageInput("image", height, width, mean=mean, std=std, crop=1.0)
    return ImageInput("image", height, width, crop=224 / 256)


def build(
    checkpoint: str | os.PathLike[str] | None, config: Mapping[str, object], size: tuple[int, int] | None
) -> StagedMSDNet:
    """The staged MSDNet of a checkpoint file for pictures of ``size`` (height, width).

    Raises:
        CheckpointError: the file cannot be used.
        OptionError: ``config`` is wrong or contradicts the weights, or ``size`` does not suit the classifiers.
    """
    given = read(checkpoint, "msdnet", config)
    staged = StagedMSDNet(from_weights(given.weights, given.config, given.source), size, given.accuracies)
    staged.options = {**staged.options, **given.classes}
    return staged


@dataclass(frozen=True)
class Given:
    """Weights, the options that go with them, where they come from, and where they are known, the exits' accuracies (shares)
    and the option that names the classes."""

    weights: dict[str, Tensor]
    config: Mapping[str, object]
    source: str
    accuracies: Mapping[str, float]
    classes: Mapping[str, object]


def read(checkpoint: str | os.PathLike[str] | None, family: str, config: Mapping[str, object]) -> Given:
    """The weights of a checkpoint file, or without one those that edgekit ships.

    Raises:
        CheckpointError: the file cannot be used.
    """
    if checkpoint is not None:
        return Given(read_state_dict(checkpoint), config, str(checkpoint), {}, {})
    ours = shipped(family)
    options = {**ours.options(), **config}
    weights, source = read_state_dict(ours.weights), f"edgekit's {family} weights"
    return Given(weights, options, source, ours.accuracies(), ours.classes())
