"""`edgekit search`: subnets of a supernet that answer best within a budget, and the commands that export them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edgekit.errors import OptionError
from edgekit.export.words import parse_config, parse_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add = parser.add_argument
    add(
        "--checkpoint",
        required=True,
        action="append",
        metavar="FILE",
        help="a trained supernet of the family oqa; several of one space, each of its own bits, are searched together",
    )
    add(
        "--data",
        required=True,
        metavar="DIR",
        help="labelled pictures: a folder with a folder of pictures for every class, or what edgekit train takes",
    )
    add("--budget-ms", required=True, type=float, metavar="B", help="what a picture may take, model only")
    add(
        "--target",
        default="cpu",
        help="cpu: times are measured on this machine, the default; a Jetson (see edgekit estimate): they are predicted",
    )
    add("--size", metavar="HxW", help="size in px of the pictures; by default 224x224")
    add(
        "--bits",
        type=int,
        nargs="+",
        metavar="N",
        help="of every checkpoint, in their order, where its steps do not tell",
    )
    add(
        "--config",
        metavar="K=V",
        action="append",
        default=[],
        nargs="+",
        help="options that the checkpoints do not tell, such as depth_list=[1,2]",
    )
    add(
        "--out",
        default="search",
        metavar="DIR",
        help="where its state, front.json and front.png go; by default search",
    )
    add("--resume", action="store_true", help="go on with the search in --out, with the same options")
    add("--population", type=int, default=24, metavar="N", help="networks a generation; by default 24")
    add(
        "--generations",
        type=int,
        default=8,
        metavar="N",
        help="after the first one, which is drawn; by default 8",
    )
    add(
        "--judge-on",
        type=int,
        default=1000,
        metavar="N",
        help="pictures held out of the training part, that networks are compared on; by default 1000",
    )
    add(
        "--settle-on",
        type=int,
        default=500,
        metavar="N",
        help="other training pictures, that batch norms are recalibrated on; by default 500",
    )
    add(
        "--test-on",
        type=int,
        default=1000,
        metavar="N",
        help="pictures of the test part, that only what was found is measured on; by default 1000",
    )
    add("--seed", type=int, default=0, help="of everything that is drawn; by default 0")
    add(
        "--threads",
        type=int,
        metavar="N",
        help="of ONNX Runtime where times are measured; by default every core",
    )
    add("--json", action="store_true", help="print one JSON document")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Search, and print the front with a command for each network of it."""
    from edgekit.export.search.searching import Request, search

    for option, least in (
        ("population", 2),
        ("generations", 0),
        ("judge_on", 1),
        ("settle_on", 1),
        ("test_on", 1),
        ("seed", 0),
    ):
        if getattr(args, option) < least:
            raise OptionError(
                f"--{option.replace('_', '-')} {getattr(args, option)}: must be at least {least}"
            )
    if not 0 < args.budget_ms < float("inf"):
        raise OptionError(f"--budget-ms {args.budget_ms:g}: must be a positive number of milliseconds")
    if args.threads is not None and args.threads < 1:
        raise OptionError(f"--threads {args.threads}: must be at least 1")
    if args.bits is not None and len(args.bits) != len(args.checkpoint):
        raise OptionError(
            f"--bits: {len(args.bits)} numbers for {len(args.checkpoint)} checkpoints; give one for each"
        )
    request = Request(
        checkpoints=tuple(args.checkpoint),
        bits=None if args.bits is None else tuple(args.bits),
        data=args.data,
        budget_ms=args.budget_ms,
        target=args.target,
        size=parse_size(args.size) or (224, 224),
        config=parse_config([word for words in args.config for word in words]),
        population=args.population,
        generations=args.generations,
        judge_on=args.judge_on,
        settle_on=args.settle_on,
        test_on=args.test_on,
        seed=args.seed,
        threads=args.threads,
    )
    try:
        found = search(request, Path(args.out), args.resume, _say)
    except KeyboardInterrupt:
        print(
            f"\nwhat was found so far is in {args.out}; the same command with --resume goes on",
            file=sys.stderr,
        )
        raise
    print(json.dumps(found.document(), indent=1) if args.json else "\n".join(found.lines()))
    return 0


def _say(text: str, done: bool = False) -> None:
    """One line, which the next one replaces on a terminal; elsewhere only lines that are done."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\n" if done else "", file=sys.stderr, flush=True)
    elif done:
        print(text, file=sys.stderr, flush=True)
