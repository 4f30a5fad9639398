"""IMTA's recipe (Li et al., arXiv 1908.06294): each of its three techniques can be switched off, for the paper's ablation."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import OptionError
from edgekit.models.training.classification.recipe import add_arguments as add_shared_arguments
from edgekit.models.training.msdnet import HELP, MSDNetRecipe, network_options

if TYPE_CHECKING:
    from edgekit.models.training.classification.data import ClassificationData
    from edgekit.models.training.imta_subject import IMTASubject


@dataclass(frozen=True)
class IMTARecipe(MSDNetRecipe):
    """The backbone, and the paper's techniques.

    Attributes:
        equilibrium: gradient equilibrium (section 3.1) while the backbone is trained.
        collaboration: exits read what the exit before them predicted (section 3.2); without it the result is an MSDNet.
        distillation: exits learn from what the trained backbone's last exit says (section 3.3).
        distillation_share: of the loss, and ``temperature`` of the softmax: 0.1 and 1 in the authors' script for ImageNet.
        exits_from: share of the training after which the backbone stays as it is and the exits are trained anew; 0 with
            ``initial`` weights of an MSDNet that is trained already.
    """

    equilibrium: bool = True
    collaboration: bool = True
    distillation: bool = True
    distillation_share: float = 0.1
    temperature: float = 1.0
    exits_from: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.exits_from < 1:
            raise OptionError(f"exits_from={self.exits_from}: must be at least 0 and below 1")
        if self.exits_from == 0 and not self.initial:
            raise OptionError(
                "exits_from=0 trains the exits of a trained MSDNet: name its weights with --init"
            )
        if not 0 <= self.distillation_share <= 1 or self.temperature <= 0:
            raise OptionError(
                f"distillation_share={self.distillation_share}, temperature={self.temperature}: "
                "the share must be 0 to 1, and the temperature above 0"
            )


_HELP = {
    **HELP,
    "equilibrium": "gradient equilibrium while the backbone is trained",
    "collaboration": "exits read what the exit before them predicted",
    "distillation": "exits learn from the backbone's last exit",
    "distillation_share": "what the last exit's answer counts beside the labels",
    "temperature": "of the softmax of both in the distillation",
    "exits_from": "share of the training after which the backbone is frozen and the exits are trained anew; "
    "0 with --init MSDNET.safetensors",
}


def make(recipe: IMTARecipe, data: ClassificationData) -> IMTASubject:
    """What the recipe trains."""
    from edgekit.models.training.imta_subject import IMTASubject

    return IMTASubject(network_options(recipe, len(data.classes)), recipe)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edgekit train imta`."""
    add_shared_arguments(parser, IMTARecipe(), _HELP)


def run(arguments: argparse.Namespace) -> int:
    """`edgekit train imta`; returns the exit code."""
    from edgekit.models.training.classification.training import run_recipe

    return run_recipe(arguments, IMTARecipe(), make)
