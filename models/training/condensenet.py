"""CondenseNet's recipe (Huang et al., arXiv 1711.09224, section 4): condensed in stages while it learns, converted in the end."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from edgekit.models.training.classification.recipe import ClassificationRecipe
from edgekit.models.training.classification.recipe import add_arguments as add_shared_arguments

if TYPE_CHECKING:
    from edgekit.models.condensenet import CondenseNetOptions
    from edgekit.models.training.classification.data import ClassificationData
    from edgekit.models.training.condensenet_subject import CondenseNetSubject


@dataclass(frozen=True)
class CondenseNetRecipe(ClassificationRecipe):
    """The network under the authors' option names (see `CondenseNetOptions`), and its training.

    With ``group_1x1``, ``group_3x3`` and ``condense_factor`` of 1 it is a plain DenseNet of the same pattern, which the paper
    compares with. The averaging is off: an average of the weights from before and after a condensing stage is of no network.
    """

    decay: float = 1e-4
    warmup: float = 0.05
    averaging: float = 0.0
    stages: tuple[int, ...] = (2, 4, 6)
    growth: tuple[int, ...] = (8, 16, 32)
    bottleneck: int = 4
    group_1x1: int = 4
    group_3x3: int = 4
    condense_factor: int = 4
    dropout_rate: float = 0.0
    group_lasso_lambda: float = 1e-5
    classifier_share: float = 1.0


HELP = {
    "stages": "layers of each dense block",
    "growth": "channels that a layer of each block adds",
    "bottleneck": "a layer's 1x1 convolution has this times growth outputs",
    "group_1x1": "groups of the 1x1 convolutions",
    "group_3x3": "groups of the 3x3 convolutions",
    "condense_factor": "a group reads 1 / this of the features before it in the end",
    "dropout_rate": "in front of the 1x1 convolutions",
    "group_lasso_lambda": "weight of the group-lasso term in the loss",
    "classifier_share": "how many of the classifier's inputs the conversion keeps; the authors keep 0.5",
}


def network_options(recipe: CondenseNetRecipe, classes: int) -> CondenseNetOptions:
    """The network that the recipe asks for.

    Raises:
        OptionError: a value is out of range, or channels do not divide into groups.
    """
    from edgekit.models.condensenet import CondenseNetOptions
    from edgekit.models.condensenet_checkpoint import check_config

    named = {field.name for field in fields(CondenseNetOptions)} & {field.name for field in fields(recipe)}
    chosen = check_config({name: getattr(recipe, name) for name in named})
    options = CondenseNetOptions(**{**chosen, "data": "cifar10", "num_classes": classes})  # type: ignore[arg-type]
    options.check()
    return options


def make(recipe: CondenseNetRecipe, data: ClassificationData) -> CondenseNetSubject:
    """What the recipe trains."""
    from edgekit.models.training.condensenet_subject import CondenseNetSubject

    return CondenseNetSubject(network_options(recipe, len(data.classes)), recipe)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edgekit train condensenet`."""
    add_shared_arguments(parser, CondenseNetRecipe(), HELP)


def run(arguments: argparse.Namespace) -> int:
    """`edgekit train condensenet`; returns the exit code."""
    from edgekit.models.training.classification.training import run_recipe

    return run_recipe(arguments, CondenseNetRecipe(), make)
