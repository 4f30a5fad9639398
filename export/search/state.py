"""A search on disk: everything that it knows, written whole behind every network, and resumed with its own options only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgekit.atomic import write_file
from edgekit.errors import InputError, OptionError
from edgekit.export.search.evolution import Judged
from edgekit.export.search.genes import Candidate
from edgekit.export.search.latency import Table

SCHEMA = 1
NAME = "search.json"


@dataclass
class State:
    """What a search has found out.

    Attributes:
        options: what it was begun with; JSON values.
        tables: times of parts by the supernet's bits.
        judged: every network, in the order in which they were judged.
    """

    options: Mapping[str, object]
    tables: dict[int, Table] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Replace the file in one step; what was there stays if it fails."""
        document = {
            "schema": SCHEMA,
            "options": self.options,
            "tables": {str(bits): asdict(table) for bits, table in self.tables.items()},
            "judged": [{**asdict(one.candidate), **_figures(one)} for one in self.judged],
        }
        write_file(str(folder / NAME), (json.dumps(document, indent=1) + "\n").encode())


def _figures(one: Judged) -> dict[str, object]:
    return {"generation": one.generation, "ms": one.ms, "accuracy": one.accuracy}


def begin(folder: Path, options: Mapping[str, object], resume: bool) -> State:
    """A new search in ``folder``, or the one that is there.

    Raises:
        OptionError: there is one and ``resume`` was not said, there is none to resume, or it has other options.
        InputError: its file is damaged.
    """
    file = folder / NAME
    if not resume:
        if file.exists():
            raise OptionError(
                f"--out {folder}: holds a search; go on with --resume, or choose another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return State(options)
    if not file.exists():
        raise OptionError(f"--resume: there is no search in {folder} ({NAME})")
    state = _read(file)
    ours = json.loads(json.dumps(options))
    differing = [
        f"{name} was {state.options.get(name)!r}, now {ours[name]!r}"
        for name in ours
        if state.options.get(name) != ours[name]
    ]
    if differing:
        raise OptionError(
            f"--resume: the search in {folder} was begun with other options: {'; '.join(differing)}; "
            "say the same ones, or choose another --out"
        )
    return state


def _read(file: Path) -> State:
    try:
        document: Any = json.loads(file.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise InputError(f"{file}: has schema {document['schema']}, this edgekit reads {SCHEMA}")
        return State(
            document["options"],
            {int(bits): _table(table) for bits, table in document["tables"].items()},
            [_judged(one) for one in document["judged"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file}: not a search of edgekit, or damaged ({error}); start anew in another folder"
        ) from error


def _table(table: Mapping[str, Any]) -> Table:
    checked: Mapping[str, Sequence[float]] = table["checked"]
    return Table(
        {str(name): float(ms) for name, ms in table["parts"].items()}, float(table["call"]), float(table["factor"]),
        {name: (float(whole), float(summed)) for name, (whole, summed) in checked.items()},
    )  # fmt: skip


def _judged(one: Mapping[str, Any]) -> Judged:
    candidate = Candidate(int(one["bits"]), str(one["subnet"]))
    return Judged(candidate, int(one["generation"]), float(one["ms"]), float(one["accuracy"]))
