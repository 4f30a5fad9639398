"""Steps as programs: which of them may run at the same time, and where every plane lies in the arena."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.export.native.groups import grouped
from edgekit.export.native.planes import (
    Grid,
    Maps,
    Places,
    Step,
)
from edgekit.export.native.writing import Writer
from edgekit.program import Program


@dataclass(frozen=True)
class Part:
    """One of the programs that are written together: its steps, and the names of what it reads and writes."""

    steps: Sequence[Step]
    inputs: Sequence[str]
    outputs: Sequence[str]

    @property
    def writes(self) -> set[int]:
        """The planes that its steps fill."""
        return {plane for step in self.steps for plane in step.writes}


def written(
    steps: Sequence[Step], grids: Sequence[Grid], inputs: Sequence[str], outputs: Sequence[str]
) -> Program:
    """The program of these steps; ``grids`` has one for every plane."""
    return together([Part(steps, inputs, outputs)], grids, {})[0]


def together(
    parts: Sequence[Part], grids: Sequence[Grid], staying: Mapping[str, Maps], halve: bool = True
) -> list[Program]:
    """Programs that run one after the other on one arena, where those of their inputs and outputs stay that ``staying`` has.

    ``halve``: see `edgekit.export.native.halves`.
    """
    until: dict[int, int] = {}  # a plane may belong to several
    for name, maps in staying.items():
        last = max((number for number, part in enumerate(parts) if name in part.inputs), default=len(parts))
        until.update({plane: max(last, until.get(plane, 0)) for plane in maps.planes.tolist()})
    groups = [grouped(part.steps) for part in parts]
    places, arena = placed(groups, grids, until)
    layout = (
        hashlib.sha256(repr((grids, places.tolist(), arena)).encode()).hexdigest()[:16] if staying else ""
    )
    there: dict[str, set[int]] = {}
    made = []
    for part, own in zip(parts, groups, strict=True):
        filled_places = {int(places[plane]) for plane in part.writes}
        overwritten = sorted(name for name, where in there.items() if where & filled_places)
        there = {name: where for name, where in there.items() if name not in overwritten}
        there.update(
            {name: set(places[staying[name].planes].tolist()) for name in part.outputs if name in staying}
        )
        writer = Writer(places, halve)
        for group in own:
            writer.write(group)
        residents = [
            writer.resident(name, staying[name]) for name in (*part.inputs, *part.outputs) if name in staying
        ]
        made.append(Program(
            tuple(part.inputs),
            tuple(part.outputs),
            np.array(writer.words, np.int32),
            np.concatenate([*writer.table, np.zeros(0, np.int32)]),
            np.concatenate([*writer.constants, np.zeros(0, np.float32)]),
            arena,
            writer.packed,
            layout if residents else "",
            tuple(residents),
            tuple(overwritten),
        ))  # fmt: skip
    return made


def placed(
    parts: Sequence[Sequence[Sequence[Step]]], grids: Sequence[Grid], until: Mapping[int, int]
) -> tuple[Places, int]:
    """Where the first pixel of every plane lies, and how many floats the arena has.

    A plane that nobody reads any more is given to the next one of the same grid, whose zeros lie at the same places, but to none of the
    group that has read it. Those of ``until`` are kept to the end of the part that it says.
    """
    groups = [group for part in parts for group in part]
    ends = np.cumsum([len(part) for part in parts]) - 1
    last = {
        plane: number
        for number, group in enumerate(groups)
        for step in group
        for plane in (*step.writes, *step.reads)
    }
    for plane, part in until.items():
        last[plane] = max(last.get(plane, 0), int(ends[part]) if part < len(parts) else len(groups))
    done: dict[int, list[int]] = {}
    for plane, number in last.items():
        done.setdefault(number, []).append(plane)
    free: dict[Grid, list[int]] = {}
    places = np.zeros(len(grids), np.int64)
    size = 0
    for number, group in enumerate(groups):
        for plane in (plane for step in group for plane in step.writes):
            unused = free.setdefault(grids[plane], [])
            if unused:
                places[plane] = unused.pop()
            else:
                places[plane] = size + grids[plane].before
                size += grids[plane].size
        for plane in sorted(done.get(number, ()), reverse=True):
            free.setdefault(grids[plane], []).append(int(places[plane]))
    return places, size
