"""`edgekit train FAMILY`: finds the family's recipe."""

from __future__ import annotations

import argparse
from importlib import import_module

RECIPES = {
    "anynet": ("edgekit.models.training.anynet", "stereo, on rendered scenes"),
    "condensenet": (
        "edgekit.models.training.condensenet",
        "pictures classified by a dense network that condenses as it learns",
    ),
    "imta": ("edgekit.models.training.imta", "an MSDNet whose exits build on the answer before"),
    "msdnet": ("edgekit.models.training.msdnet", "pictures classified at several depths"),
    "oqa": ("edgekit.models.training.oqa", "a supernet of 4, 3 or 2 bits, whose subnets classify pictures"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the families, each with its recipe's options."""
    families = parser.add_subparsers(dest="family", required=True, metavar="FAMILY")
    for name, (module, summary) in RECIPES.items():
        family = families.add_parser(name, help=summary, description=f"Train {name}: {summary}.")
        import_module(module).add_arguments(family)


def run(args: argparse.Namespace) -> int:
    """Train, and return the exit code."""
    module, _ = RECIPES[args.family]
    return int(import_module(module).run(args))
