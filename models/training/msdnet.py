"""MSDNet's recipe (Huang et al., arXiv 1703.09844, section 5): every exit's cross-entropy counts the same."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from edgekit.models.training.classification.recipe import ClassificationRecipe
from edgekit.models.training.classification.recipe import add_arguments as add_shared_arguments

if TYPE_CHECKING:
    from edgekit.models.msdnet import MSDNetOptions
    from edgekit.models.training.classification.data import ClassificationData
    from edgekit.models.training.msdnet_subject import MSDNetSubject


@dataclass(frozen=True)
class MSDNetRecipe(ClassificationRecipe):
    """The network under the authors' option names (see `MSDNetOptions`), and its training."""

    nBlocks: int = 5
    base: int = 1
    step: int = 1
    stepmode: str = "even"
    nScales: int = 3
    nChannels: int = 16
    growthRate: int = 16
    grFactor: tuple[int, ...] = (1, 2, 4)
    bnFactor: tuple[int, ...] = (1, 2, 4)
    bottleneck: bool = False
    prune: str = "max"
    reduction: float = 0.5


HELP = {
    "nBlocks": "blocks, each with an exit",
    "base": "layers of the first block",
    "step": "layers of every later block",
    "stepmode": "even, or lin_grow for blocks that grow",
    "nScales": "resolutions",
    "nChannels": "channels of the finest scale after the first layer",
    "growthRate": "channels that a layer adds at the finest scale",
    "grFactor": "both again at every scale, as multiples",
    "bnFactor": "how wide a bottleneck is at every scale",
    "bottleneck": "1x1 convolutions in front of the 3x3 ones",
    "prune": "max drops the finest scale every third of the layers, min as late as it can",
    "reduction": "share of the channels that stays where a scale is dropped",
}


def network_options(recipe: MSDNetRecipe, classes: int) -> MSDNetOptions:
    """The network that the recipe asks for.

    Raises:
        OptionError: a value is out of range, or the classifiers do not take the pictures (or the early ones).
    """
    from edgekit.models.msdnet import MSDNetOptions
    from edgekit.models.msdnet_stages import picture
    from edgekit.models.msdnet_weights import check_config

    named = {field.name for field in fields(MSDNetOptions)} & {field.name for field in fields(recipe)}
    chosen = check_config({name: getattr(recipe, name) for name in named})
    options = MSDNetOptions(data="cifar10", num_classes=classes, **chosen)  # type: ignore[arg-type]
    for size in (recipe.size, recipe.early_size) if recipe.early > 0 else (recipe.size,):
        picture(options, (size, size))
    return options


def make(recipe: MSDNetRecipe, data: ClassificationData) -> MSDNetSubject:
    """What the recipe trains."""
    from edgekit.models.training.msdnet_subject import MSDNetSubject

    return MSDNetSubject(network_options(recipe, len(data.classes)), recipe)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edgekit train msdnet`."""
    add_shared_arguments(parser, MSDNetRecipe(), HELP)


def run(arguments: argparse.Namespace) -> int:
    """`edgekit train msdnet`; returns the exit code."""
    from edgekit.models.training.classification.training import run_recipe

    return run_recipe(arguments, MSDNetRecipe(), make)
