"""OQA's recipe (Shen et al., arXiv 2010.04354): a float supernet first, 4 bits from it, then 3 and 2 bits, each from the one before."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import OptionError
from edgekit.models.training.classification.recipe import ClassificationRecipe
from edgekit.models.training.classification.recipe import add_arguments as add_shared_arguments

if TYPE_CHECKING:
    from edgekit.models.oqa_space import SupernetOptions
    from edgekit.models.training.classification.data import ClassificationData
    from edgekit.models.training.oqa_subject import OqaSubject

FLOAT = 32


@dataclass(frozen=True)
class OqaRecipe(ClassificationRecipe):
    """One training of the chain: ``--bits 32``, then ``--bits 4 --init`` its weights, then 3 and 2 with ``--init`` of the one before.

    Attributes:
        bits: of weights and activations; 32 for the float supernet that the chain begins with.
        initial_bits: what the weights of ``initial`` were trained for.
        width_mult, ks_list, expand_ratio_list, depth_list: the supernet under the authors' option names.
        shrunk_by: share of the training after which the whole space is open; 0 opens it at once, 1 trains the largest network
            for most of the time.
        largest_share: share of the steps that train the largest network instead of one drawn from the open space.
        distil: share of the loss that asks for the answers of a teacher instead of the labels: of the largest network of ``teacher``,
            or of the initial weights where none is named.
        teacher: float weights of a supernet of the same options.
    """

    epochs: int = 4
    rate: float = 0.04
    warmup: float = 0.05
    decay: float = 3e-5
    averaging: float = 0.0
    bits: int = FLOAT
    initial_bits: int = FLOAT
    width_mult: float = 0.5
    ks_list: tuple[int, ...] = (3, 5)
    expand_ratio_list: tuple[int, ...] = (3, 4)
    depth_list: tuple[int, ...] = (1, 2)
    shrunk_by: float = 0.5
    largest_share: float = 0.5
    distil: float = 0.5
    teacher: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("shrunk_by", "largest_share", "distil"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name}={getattr(self, name)}: must be from 0 to 1")
        if self.bits != FLOAT and not self.initial:
            raise OptionError(
                f"bits={self.bits}: quantisation begins with trained weights, float ones or those of one bit more; give --init FILE"
            )


HELP = {
    "bits": "of weights and activations: 4, 3 or 2, or 32 for the float supernet that they begin with",
    "initial_bits": "what the weights of --init were trained for",
    "width_mult": "multiplies every number of channels",
    "ks_list": "kernels of a block",
    "expand_ratio_list": "how much wider a block is within",
    "depth_list": "blocks of a stage",
    "shrunk_by": "share of the training after which the whole space is open; 0 opens it at once",
    "largest_share": "share of the steps that train the largest network",
    "distil": "share of the loss that asks for the answers of a teacher, by default the initial weights' largest network",
    "teacher": "float weights whose largest network is the teacher",
}


def supernet_options(recipe: OqaRecipe, classes: int) -> SupernetOptions:
    """The supernet that the recipe asks for; a float one has the bits of the one that begins with it.

    Raises:
        OptionError: a value is out of range.
    """
    from edgekit.models.oqa_space import SupernetOptions, check_config

    named = ("width_mult", "ks_list", "expand_ratio_list", "depth_list")
    chosen = {name: getattr(recipe, name) for name in named}
    bits = 4 if recipe.bits == FLOAT else recipe.bits
    return SupernetOptions(**check_config({**chosen, "bits": bits, "num_classes": classes}))  # type: ignore[arg-type]


def make(recipe: OqaRecipe, data: ClassificationData) -> OqaSubject:
    """What the recipe trains."""
    from edgekit.models.training.oqa_subject import OqaSubject

    return OqaSubject(supernet_options(recipe, len(data.classes)), recipe, data)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edgekit train oqa`."""
    add_shared_arguments(parser, OqaRecipe(), HELP)


def run(arguments: argparse.Namespace) -> int:
    """`edgekit train oqa`; returns the exit code."""
    from edgekit.models.training.classification.training import run_recipe

    return run_recipe(arguments, OqaRecipe(), make)
