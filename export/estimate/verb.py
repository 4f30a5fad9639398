"""`edgekit estimate BUNDLE --target jetson-tx2`: will it be fast enough there? Predicted; every figure says so."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edgekit import atomic
from edgekit.bundle import read_bundle
from edgekit.errors import OptionError
from edgekit.export.estimate.hardware import MODULES, hardware


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add = parser.add_argument
    add("bundle", help="a bundle, such as anynet.edgekit")
    add("--target", required=True, help=f"the module: {', '.join(MODULES)}")
    add(
        "--mode",
        metavar="NAME",
        help="its power mode, such as MAXN or MAXQ; by default the fastest whose clock is known",
    )
    add(
        "--fps",
        type=_positive,
        metavar="HZ",
        help="say which answers would be there at so many frames a second",
    )
    add("--precision", choices=("fp32", "fp16", "int8"), help="by default the fastest that the module has")
    add("--network", metavar="NAME", help="of a bundle with several networks, this one alone")
    add("--save", metavar="FILE", help="keep the predictions for `edgekit simulate --profile FILE`")
    add("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Predict every stage, and report."""
    from edgekit.export.estimate.estimating import estimate
    from edgekit.export.estimate.report import Report
    from edgekit.export.estimate.roofline import read_calibration

    bundle = read_bundle(args.bundle)
    if args.network is not None:
        bundle = bundle._replace(manifest=bundle.manifest.only(args.network))
    if args.save is not None and not Path(args.save).absolute().parent.is_dir():
        raise OptionError(f"--save {args.save}: there is no folder {Path(args.save).absolute().parent}")
    on = hardware(args.target, args.mode)
    calibration = read_calibration()
    report = Report(bundle, on, estimate(bundle, on, calibration, args.precision), calibration, args.fps)
    if args.save is not None:
        atomic.write_file(args.save, (json.dumps(report.profile(), indent=1) + "\n").encode("ascii"))
    if args.json:
        print(json.dumps(report.document(), indent=1))
    else:
        saved = [
            f"wrote {args.save}: edgekit simulate {args.bundle} --profile {args.save} --deadline 10..100"
        ]
        print("\n".join(report.lines() + (saved if args.save is not None else [])))
    return 0


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
