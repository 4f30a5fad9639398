"""What the shipped weights are worth against a budget, every curve anew: python -m benchmarks.accuracy [--only NAME] [--out DIR].

A section measures one kind of network, prints its bars, and gives a picture. The JSON keeps the sections that a run leaves out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TypedDict

from benchmarks import machine
from benchmarks.figures import Figure
from edgekit.errors import EdgekitError

RESULTS = Path(__file__).resolve().parent / "results" / "accuracy.json"
SECTIONS = {
    "condensenet": "benchmarks.accuracy_condensenet:measure",
    "multiexit": "benchmarks.accuracy_multiexit:measure",
    "oqa": "benchmarks.accuracy_oqa:measure",
    "stereo": "benchmarks.accuracy_stereo:measure",
}


@dataclass(frozen=True)
class Context:
    """What a section is given.

    Attributes:
        shared: folder with ``data/cifar10`` and ``data/stereo``.
        scratch: a folder for bundles.
        threads: of every session and of torch.
        rounds, runs: taken in turns, and of each turn the fastest.
    """

    shared: Path
    scratch: Path
    threads: int
    rounds: int
    runs: int

    @property
    def pictures(self) -> Path:
        """The file of JPEG CIFAR-10."""
        return self.shared / "data/cifar10/cifar10_jpeg.npz"


@dataclass(frozen=True)
class Section:
    """What a section found: JSON values, its bars, and how to draw it."""

    result: dict[str, object]
    figures: Sequence[Figure]
    draw: Callable[[Path], None]


class Written(TypedDict):
    """The JSON of one section."""

    machine: dict[str, object]
    settings: dict[str, object]
    result: dict[str, object]
    figures: list[dict[str, object]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; 0 when they ran, whatever bars were reached."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--only", action="append", choices=list(SECTIONS), help="one section; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument(
        "--out", type=Path, default=Path("bench"), help="folder for accuracy.json and the pictures"
    )
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("EDGEKIT_SHARED", "../shared")),
                        help="folder with data/cifar10 and data/stereo; default $EDGEKIT_SHARED or ../shared")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "accuracy.json"
    earlier = path if path.exists() else RESULTS
    document: dict[str, Written] = json.loads(earlier.read_text()) if earlier.exists() else {}
    rounds, runs = (4, 3) if options.quick else (15, 7)
    failed = 0
    for name in options.only or SECTIONS:
        print(f"\n{name}", file=sys.stderr)
        described = machine.describe(options.threads)
        with tempfile.TemporaryDirectory() as scratch:
            context = Context(options.shared, Path(scratch), options.threads, rounds, runs)
            try:
                section = _find(SECTIONS[name])(context)
            except EdgekitError as error:
                print(f"{name}: not measured: {error}", file=sys.stderr)
                failed += 1
                continue
        document[name] = {
            "machine": described,
            "settings": {
                "rounds": rounds,
                "runs": runs,
                "threads": options.threads,
                "of_a_turn": "the fastest run",
            },
            "result": section.result,
            "figures": [asdict(figure) for figure in section.figures],
        }
        section.draw(options.out / f"accuracy-{name}.png")
        show(name, section.figures)
        path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\nwritten: {path}")
    return 1 if failed else 0


def show(name: str, figures: Sequence[Figure]) -> None:
    """Print the bars of a section."""
    print(f"\n{name}")
    for figure in figures:
        print(
            f"{'reached' if figure.reached else 'NOT REACHED':12}{figure.measured:>22}  {figure.bar:>10}  {figure.what}"
        )


def _find(path: str) -> Callable[[Context], Section]:
    module, _, function = path.partition(":")
    found: Callable[[Context], Section] = getattr(import_module(module), function)
    return found


if __name__ == "__main__":
    sys.exit(main())
