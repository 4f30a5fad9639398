"""What a search found, for people and as a document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit.atomic import write_file
from edgekit.export.search.accuracy import Pictures
from edgekit.export.search.latency import Table


@dataclass(frozen=True)
class Point:
    """One network of the front.

    Attributes:
        bits, subnet: which.
        parts_ms: its time as the sum of its parts' times, by which the search decided.
        ms: its time as a whole.
        accuracy: share of right answers on the pictures that networks were compared on; a little flattering, for it decided.
        unseen_accuracy: on pictures that decided nothing.
    """

    bits: int
    subnet: str
    parts_ms: float
    ms: float
    accuracy: float
    unseen_accuracy: float


@dataclass(frozen=True)
class Found:
    """A finished search.

    Attributes:
        budget_ms: what a picture may take.
        times: how times came about: measured or predicted, and on what.
        tables: times of parts by bits.
        points: the front by time.
        judged: how many networks were judged.
        pictures: what they were judged on.
        commands: by bits, the command that exports a subnet, up to its name.
        folder: where its files are.
    """

    budget_ms: float
    times: str
    tables: Mapping[int, Table]
    points: Sequence[Point]
    judged: int
    pictures: Pictures
    commands: Mapping[int, str]
    folder: str

    def command(self, point: Point) -> str:
        """What exports a network of the front."""
        return f"{self.commands[point.bits]} {point.subnet} --out b{point.bits}-{point.subnet}.edgekit"

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "budget_ms": self.budget_ms,
            "times": self.times,
            "boundary": "model, one picture",
            "data": {
                "name": self.pictures.name,
                "recalibrated_on": len(self.pictures.settling.labels),
                "compared_on": len(self.pictures.judging.labels),
                "tested_on": len(self.pictures.unseen.labels),
            },
            "judged": self.judged,
            "sums_of_parts": {
                str(bits): {"parts": len(table.parts), "factor": table.factor, "worst": table.worst}
                for bits, table in self.tables.items()
            },
            "front": [
                {**asdict(point), "fits": point.ms <= self.budget_ms, "command": self.command(point)}
                for point in self.points
            ],
        }

    def save(self, folder: Path) -> None:
        """Write ``front.json``."""
        write_file(str(folder / "front.json"), (json.dumps(self.document(), indent=1) + "\n").encode())

    def lines(self) -> list[str]:
        """The front as a table, and a command for each of its networks that fits the budget as a whole."""
        sizes = [len(part.labels) for part in (self.pictures.judging, self.pictures.unseen)]
        width = max(len(point.subnet) for point in self.points)
        lines = [
            f"{self.judged} networks judged; times {self.times}",
            f"accuracy on {sizes[0]} pictures of {self.pictures.name} held out, and on {sizes[1]} of its test part, which decided "
            "nothing",
            "",
            f"{'subnet':{width}}  bits  {'ms':>7}  {'of parts':>8}  {'held out':>8}  {'test':>6}",
        ]
        for point in self.points:
            beyond = (
                "" if point.ms <= self.budget_ms else f"  over the budget of {self.budget_ms:g} ms as a whole"
            )
            lines.append(
                f"{point.subnet:{width}}  {point.bits:4}  {point.ms:7.3f}  {point.parts_ms:8.3f}  {100 * point.accuracy:6.1f} %  "
                f"{100 * point.unseen_accuracy:4.1f} %{beyond}"
            )
        fitting = [point for point in self.points if point.ms <= self.budget_ms]
        lines += ["", *(self.command(point) for point in fitting)]
        lines.append(
            f"{self.folder}/front.png, front.json"
            + ("" if fitting else "; no network fits as a whole: search for less")
        )
        return lines
