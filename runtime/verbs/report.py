"""`edgekit report`: one page about bundles on this device, with pictures, that opens in any browser without a network."""

import argparse
import json
import os
import time
from typing import Dict, List, Optional

from edgekit import atomic
from edgekit.bundle import read_bundle
from edgekit.errors import InputError, OptionError
from edgekit.runtime.page.charts import Mark
from edgekit.runtime.pictures import read_disparity
from edgekit.runtime.report import names_of, print_json, say, warn
from edgekit.runtime.verbs.bench_device import add_device_options
from edgekit.runtime.verbs.bench_report import to_document
from edgekit.runtime.verbs.inputs import read_inputs
from edgekit.runtime.verbs.options import (
    add_backend_options,
    add_input_options,
    add_processor_options,
    add_run_options,
    check_folder,
    positive,
)
from edgekit.runtime.verbs.report_findings import Findings, find, quality
from edgekit.runtime.verbs.report_page import to_html


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--out", metavar="FILE", default="report.html", help="the page (default report.html)")
    parser.add_argument("--title", help="its title; by default the bundles' names")
    add_input_options(parser)
    parser.add_argument(
        "--ground-truth",
        metavar="FILE",
        help="true disparity (KITTI .png, .pfm, .npy) of --left: errors against time",
    )
    parser.add_argument(
        "--peers",
        metavar="FILE",
        help='others to show beside the exits, as JSON: [{"name": "StereoSGBM", "ms": 110, "value": 22.5}], value in the'
        " chart's unit (D1 in %%, or an accuracy)",
    )
    add_run_options(parser)
    parser.add_argument(
        "--rate",
        type=positive,
        default=30.0,
        metavar="HZ",
        help="frames a second of the timeline (default 30)",
    )
    parser.add_argument(
        "--budget-ms",
        type=positive,
        metavar="MS",
        help="budget of the timeline's frames; by default one between the last two exits",
    )
    add_backend_options(parser)
    add_processor_options(parser)
    add_device_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document of what the page shows")


def run(args: argparse.Namespace) -> int:
    """Measure every bundle and write the page."""
    check_folder("--out", args.out)
    if os.path.isdir(args.out):
        raise OptionError(
            f"--out {args.out} is a folder; give the page's file name, such as {args.out}/report.html"
        )
    peers = read_peers(args.peers)
    truth = None if args.ground_truth is None else read_disparity(args.ground_truth)
    if truth is not None and args.left is None:
        raise OptionError(
            "--ground-truth is of the pictures that are answered: give --left and --right as well"
        )
    for path in args.bundle:  # minutes before the last one is measured
        read_inputs(args, read_bundle(path).manifest)
    found = []
    for path, name in zip(args.bundle, names_of(args.bundle)):
        if len(args.bundle) > 1:
            warn(f"report: {path}")
        found.append(find(args, path, name, truth))
    title = args.title or ", ".join(one.name for one in found) + " on this device"
    now = time.strftime("%Y-%m-%d %H:%M %Z")
    page = to_html(found, peers, title, now).encode("utf-8")
    atomic.write_file(args.out, page)
    if args.json:
        print_json(document(found, args.out))
    else:
        say([f"wrote {args.out} ({len(page) / 1e6:.2f} MB)"])
    return 0


def read_peers(path: Optional[str]) -> List[Mark]:
    """Others' answers from a JSON file; none without one.

    Raises:
        InputError: the file cannot be read, or is no such list.
    """
    if path is None:
        return []
    try:
        with open(path, "rb") as file:
            entries = json.loads(file.read().decode("utf-8"))
        marks = [Mark(str(entry["name"]), float(entry["ms"]), float(entry["value"])) for entry in entries]
    except OSError as error:
        raise InputError(f"--peers {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'--peers {path} is no JSON list of {{"name": ..., "ms": ..., "value": ...}}'
        ) from error
    if not all(mark.ms > 0.0 and mark.value == mark.value for mark in marks):
        raise InputError(f"--peers {path}: every ms must be above 0, and every value a number")
    return marks


def document(found: List[Findings], out: str) -> Dict[str, object]:
    """What is printed with ``--json``: what `bench --json` prints of every bundle, and the figures of the sweeps."""
    return {
        "page": out,
        "bundles": [
            {
                "name": one.name,
                "bench": to_document(one.report),
                "quality": dict(
                    zip([e.name for e in one.exits], quality(one.exits)[2]), unit=quality(one.exits)[0]
                ),
                "budget_ms": one.budget_ms,
                "simulated": {
                    condition: [
                        {
                            "budget_ms": cell.budget_ms,
                            "strategies": {name: figures.to_json() for name, figures in cell.figures.items()},
                        }
                        for cell in cells
                    ]
                    for condition, cells in one.sweep.items()
                },
            }
            for one in found
        ],
    }
