"""Steps that do not wait for each other, side by side: threads that find nothing more to do in one go on with the next."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.export.native.planes import Step


def grouped(steps: Sequence[Step]) -> list[list[Step]]:
    """The same steps, each as early as what it reads allows, with those together that may run at the same time."""
    written: dict[int, int] = {}  # by planes, the last group that writes them, and reads them
    read: dict[int, int] = {}
    found: list[list[Step]] = []
    for step in steps:
        reads, writes = step.reads, step.writes
        after = [written.get(plane, -1) for plane in (*reads, *writes)] + [
            read.get(plane, -1) for plane in writes
        ]
        group = max(after, default=-1) + 1
        if group == len(found):
            found.append([])
        found[group].append(step)
        written.update(dict.fromkeys(writes, group))
        read.update({plane: max(group, read.get(plane, -1)) for plane in reads})
    return found
