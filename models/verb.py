"""`edgekit models`: the networks that edgekit knows."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print the table, or the JSON document."""
    # Imported only now: it imports torch, and the command's help and completion need this module too.
    from edgekit.models.registry import WEIGHTS, families

    ships = {family.name: (WEIGHTS / f"{family.name}.safetensors").is_file() for family in families()}
    rows = [{**asdict(family), "shipped_weights": ships[family.name]} for family in families()]
    if args.json:
        json.dump(rows, sys.stdout, indent=1)
        print()
        return 0
    width = max(len("model"), *(len(family.name) for family in families()))
    print(f"{'model':{width}}  {'task':14}  {'default size':12}  {'weights':8}  what it is")
    for family in families():
        size = "x".join(map(str, family.default_size)) if family.default_size else "as trained"
        weights = "shipped" if ships[family.name] else "-"
        print(
            f"{family.name:{width}}  {family.task:14}  {size:12}  {weights:8}  {family.summary} ({family.paper})"
        )
    print("\nYour own network: edgekit export --model package.module:function")
    return 0
