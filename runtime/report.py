"""How verbs speak: plain tables for people, one JSON document for programs, progress and warnings beside both."""

import json
import math
import os
import sys
import time
from typing import List, Mapping, Optional, Sequence

# Text stays ASCII: under Python 3.6 with LANG=C, as over ssh on a Jetson, nothing else can be printed.


def table(header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> List[str]:
    """Lines of a table: the first ``left`` columns flush left, the others flush right; None is shown as ``-``."""
    cells = [list(header)] + [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def say(lines: Sequence[str]) -> None:
    """Print lines to stdout."""
    print("\n".join(lines))


def warn(text: str) -> None:
    """Print one line to stderr, where it disturbs no document on stdout."""
    print(text, file=sys.stderr, flush=True)


def print_json(document: Mapping[str, object]) -> None:
    """Print one JSON document to stdout."""
    print(to_json(document))


def to_json(document: Mapping[str, object]) -> str:
    """Strict JSON: what is not finite becomes null, for JSON knows neither NaN nor infinity."""
    return json.dumps(_finite(document), indent=1, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def milliseconds(value: Optional[float]) -> str:
    """A duration in ms with three significant digits or more, ``-`` for None."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10.0 else f"{value:.2f}" if value < 100.0 else f"{value:.1f}"


def count(value: float) -> str:
    """A large count with a metric prefix: 997 k, 1.00 G."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}"


def names_of(paths: Sequence[str]) -> List[str]:
    """What to call bundles: their folders' names, numbered where they are equal."""
    names: List[str] = []
    for path in paths:
        stem = os.path.splitext(os.path.basename(os.path.abspath(path)))[0]
        equal = sum(name == stem or name.startswith(stem + " (") for name in names)
        names.append(f"{stem} ({equal + 1})" if equal else stem)
    return names


class Progress:
    """Tells on stderr how far something has come: a line that rewrites itself on a terminal, a line every 10 s elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._every = 0.2 if self._terminal else 10.0
        self._told = time.perf_counter()

    def at(self, done: int) -> None:
        """Say that ``done`` of the total are done, if it is time to."""
        now = time.perf_counter()
        if self._terminal and done == self._total:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        elif now - self._told >= self._every:
            self._told = now
            start, end = ("\r\x1b[K", "") if self._terminal else ("", "\n")
            print(f"{start}{self._what}: {done} of {self._total}", end=end, file=sys.stderr, flush=True)
