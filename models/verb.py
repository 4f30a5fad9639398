"""`edgekit models`: the networks that edgekit knows."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from edgekit.models.families import WEIGHTS, families


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument(
        "family", nargs="?", choices=["oqa"], help="list the published networks of this family"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print the table, or the JSON document."""
    if args.family is not None:
        return _catalogue(args.json)
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


def _catalogue(as_json: bool) -> int:
    """OQA's published subnets."""
    from edgekit.models.oqa_catalogue import published, source

    if as_json:
        json.dump([subnet.to_json() for subnet in published()], sys.stdout, indent=1)
        print()
        return 0
    print(f"{'subnet':12}  bits  pictures  {'MACs':>9}  parameters  top-1 (published)  depth")
    for subnet in published():
        size = f"{subnet.image_size}x{subnet.image_size}"
        also = "".join(f", {accuracy} % at {bits} bits" for bits, accuracy in subnet.also.items())
        depth = "-".join(map(str, subnet.subnet.d))
        print(
            f"{subnet.name:12}  {subnet.bits:4}  {size:8}  {subnet.macs_m:7.1f} M  {subnet.params_m:8.3f} M  "
            f"{f'{subnet.imagenet_top1} %{also}':17}  {depth}"
        )
    print(f"\nEvery figure is the authors' own, for ImageNet: {source()}")
    print("edgekit export --model oqa --checkpoint SUPERNET --subnet NAME")
    return 0
