"""What a cell of the arbiter's sweep says, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Means over a hundred frames and more that differ by less are of one answer more or less.
SAME = 1e-3
HIGHER, EQUAL, LOWER = "higher", "equal", "lower"


@dataclass(frozen=True)
class Cell:
    """One budget under one condition.

    Attributes:
        arbiter, halves, first_then_rest: mean utility a frame of each way to share it, where a late frame counts nothing.
        arbiter_anyway, halves_anyway: the same, had every answer been in time.
        error: standard error of the difference between arbiter and halves, which answer the same frames or take turns.
        oracle: what nobody can be above; None where that is not known.
        late, late_halves: frames.
        worst_ms, worst_halves_ms: live, the latest frame's, after the deadline.
    """

    condition: str
    budget_ms: float
    frames: int
    arbiter: float
    halves: float
    arbiter_anyway: float
    halves_anyway: float
    error: float
    first_then_rest: float | None
    oracle: float | None
    late: int
    late_halves: int
    worst_ms: float | None = None
    worst_halves_ms: float | None = None

    @property
    def verdict(self) -> str:
        """How the cell went for the arbiter."""
        if self.arbiter > self.halves + SAME:
            return HIGHER
        return LOWER if self.arbiter < self.halves - SAME else EQUAL

    @property
    def reached(self) -> bool:
        """Higher, and never late."""
        return self.verdict == HIGHER and not self.late


def table(title: str, cells: Sequence[Cell]) -> list[str]:
    """Rows for people, and how many cells went which way."""
    if not cells:
        return []
    lines = [
        f"{title}: mean utility a frame, of 2; a late frame counts nothing (in brackets: had it been in time)",
        "| condition | budget ms | arbiter | halves | difference | first, then rest | most possible | late | late, halves | |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for cell in cells:
        lines.append(
            f"| {cell.condition} | {cell.budget_ms:.1f} | {_counted(cell.arbiter, cell.arbiter_anyway)}"
            f" | {_counted(cell.halves, cell.halves_anyway)} | {cell.arbiter - cell.halves:+.3f} ± {cell.error:.3f}"
            f" | {_known(cell.first_then_rest)} | {_known(cell.oracle)} | {_late(cell.late, cell.worst_ms)}"
            f" | {_late(cell.late_halves, cell.worst_halves_ms)} | {cell.verdict} |"
        )
    lines.append(total(title, cells))
    if any(cell.oracle is not None for cell in cells):
        lines.append("most possible: the best set of exits of every frame, all durations known beforehand")
    return lines


def total(title: str, cells: Sequence[Cell]) -> str:
    """Whether the bar is reached in all cells, and how many went which way."""
    went = [cell.verdict for cell in cells]
    counted = ", ".join(f"{went.count(one)} {one}" for one in (HIGHER, EQUAL, LOWER))
    late, late_halves = (
        sum(each) for each in zip(*((one.late, one.late_halves) for one in cells), strict=True)
    )
    reached = "reached" if all(cell.reached for cell in cells) else "NOT REACHED"
    return (
        f"{reached:12}{title}, {len(cells)} cells: {counted}; of {sum(cell.frames for cell in cells)} frames a way {late} late,"
        f" with halves {late_halves}"
    )


def _counted(mean: float, anyway: float) -> str:
    return f"{mean:.3f}" if abs(mean - anyway) < SAME / 2 else f"{mean:.3f} ({anyway:.3f})"


def _known(mean: float | None) -> str:
    return "-" if mean is None else f"{mean:.3f}"


def _late(frames: int, worst_ms: float | None) -> str:
    return f"{frames}, by at most {worst_ms:.2f} ms" if frames and worst_ms is not None else str(frames)
