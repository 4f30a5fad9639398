"""`edgekit targets`: the devices that a bundle can be exported for."""

from __future__ import annotations

import argparse
import json
import sys

from edgekit.export.targets import targets, to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print the table, or the JSON document."""
    if args.json:
        json.dump([to_json(target) for target in targets()], sys.stdout, indent=1)
        print()
        return 0
    width = max(len(target.name) for target in targets())
    print(f"{'target':{width}}  {'TensorRT':8}  {'opset':>5}  {'Python':6}  {'JetPack':15}  devices")
    for target in targets():
        row = f"{target.name:{width}}  {target.tensorrt or '-':8}  {target.opset:>5}  {target.python:6}  "
        print(f"{row}{target.jetpack or '-':15}  {target.summary}; {target.note}")
    print("\nBundles are written at opset 13 and run on Python 3.6 and newer, whatever the target.")
    return 0
