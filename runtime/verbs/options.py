"""Options that several verbs share, and the checks that turn what was typed into numbers."""

import argparse
import math
import os
from typing import Dict, List, Optional

from edgekit.errors import OptionError
from edgekit.runtime.backends import BACKENDS
from edgekit.runtime.device.priority import PRIORITIES

RUNS, WARMUP = 200, 20  # twice what a p99 needs: see `edgekit.runtime.statistics`


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``, ``--provider`` and ``--threads``."""
    parser.add_argument(
        "--backend", choices=BACKENDS, help="what executes the stages; by default what is installed"
    )
    parser.add_argument(
        "--provider",
        action="append",
        metavar="NAME",
        help="ONNX Runtime execution provider, best first; may be repeated",
    )
    parser.add_argument(
        "--threads",
        type=positive_whole,
        metavar="N",
        help="CPU threads of a stage at most; by default one per usable CPU",
    )


def add_processor_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-spin`` and ``--priority``."""
    parser.add_argument(
        "--no-spin",
        action="store_true",
        help="threads never wait by spinning: for processors that others want too",
    )
    parser.add_argument(
        "--priority",
        choices=PRIORITIES,
        default=PRIORITIES[0],
        help="realtime: stages and callers come before other processes, where this one may (SCHED_FIFO)",
    )


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--left``, ``--right`` and ``--image``."""
    for name, what in (("left", "left picture"), ("right", "right picture"), ("image", "picture")):
        parser.add_argument(f"--{name}", metavar="FILE", help=f"the {what}: PNG, JPEG, PPM or .npy")


def add_run_options(parser: argparse.ArgumentParser, what: str = "frames") -> None:
    """Add ``--runs`` and ``--warmup``, which count ``what``."""
    parser.add_argument(
        "--runs", type=positive_whole, default=RUNS, metavar="N", help=f"{what} to measure (default {RUNS})"
    )
    parser.add_argument(
        "--warmup",
        type=whole,
        default=WARMUP,
        metavar="N",
        help=f"{what} before them, not counted (default {WARMUP})",
    )


def providers_of(args: argparse.Namespace) -> Optional[List[str]]:
    """The execution providers that were asked for; None for the backend's own choice."""
    return list(args.provider) if args.provider else None


def positive_whole(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def whole(text: str) -> int:
    """A whole number of at least 0."""
    return 0 if text == "0" else positive_whole(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0.0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def check_folder(option: str, path: Optional[str]) -> None:
    """That the folder of a file to be written is there, before anything slow is done.

    Raises:
        OptionError: it is not.
    """
    if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise OptionError(f"{option} {path}: there is no folder {os.path.dirname(path)}; create it first")


def read_variants(text: str) -> Dict[str, str]:
    """Variants by stage from ``STAGE=NAME,STAGE=NAME``.

    Raises:
        OptionError: something in it is no such pair.
    """
    found = {}
    for pair in text.split(","):
        stage, equals, name = pair.partition("=")
        if not (stage and equals and name):
            raise OptionError(
                f"--variants {text}: give fastest, default, or STAGE=NAME such as stage2=banded; `edgekit inspect` lists them"
            )
        found[stage] = name
    return found
