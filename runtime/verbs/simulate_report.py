"""What `edgekit simulate` found, as one document and as a report: settings, a table, what its columns mean."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from edgekit import __version__
from edgekit.runtime.report import milliseconds, table
from edgekit.runtime.simulation.outcomes import Figures

EXPLANATION = (
    "late: answered after the deadline or not at all, of the frames whose budget allows the first exit on a free device.",
    "mean exit: number of the exit answered with, 0 for none. of oracle: exits reached in time, in shares of what an oracle",
    "that knew every duration beforehand reached of the same frames. quality: the best exit's share that was there, averaged",
    "from call to deadline. in time/s: answers in time a second. over: how long after the deadline answers came.",
    "Only durations are simulated: making an answer, and waking who waits for it, take no time here.",
)


class Cell(NamedTuple):
    """One budget: figures by strategy."""

    budget_ms: float
    figures: Mapping[str, Figures]


class Settings(NamedTuple):
    """Under what was simulated."""

    bundle: str
    network: str
    durations: str
    frames: int
    rate: float
    seed: int
    overrun: str
    confidence: Optional[float]
    cancel_ms: float
    slowdown: Tuple[str, ...]
    neighbour: Optional[str]
    outliers: Optional[str]
    idle: Optional[str]


def to_document(settings: Settings, cells: Sequence[Cell], reproduced: Optional[bool]) -> Dict[str, object]:
    """The JSON document; ``reproduced`` is whether a recording's own decisions came out the same."""
    return {
        "what": "simulated",
        "edgekit": __version__,
        "settings": settings._asdict(),
        "decisions_reproduced": reproduced,
        "budgets": [
            {
                "budget_ms": cell.budget_ms,
                "strategies": {name: found.to_json() for name, found in cell.figures.items()},
            }
            for cell in cells
        ],
    }


def to_lines(settings: Settings, cells: Sequence[Cell], reproduced: Optional[bool]) -> List[str]:
    """The report for people."""
    conditions = [f"slowdown {text}" for text in settings.slowdown]
    conditions += [
        f"{name} {getattr(settings, name)}"
        for name in ("neighbour", "outliers", "idle")
        if getattr(settings, name) is not None
    ]
    said = [
        f"{settings.network}, simulated: durations from {settings.durations}",
        f"{settings.frames} frames at {settings.rate:g} a second, overrun={settings.overrun},"
        f" confidence {'as a session has' if settings.confidence is None else f'{settings.confidence:g}'}, seed {settings.seed}; {', '.join(conditions) or 'nothing else happens'}",
        "",
    ]
    header = [
        "budget ms",
        "strategy",
        "late %",
        "95 % interval",
        "mean exit",
        "of oracle %",
        "quality",
        "in time/s",
    ]
    header += ["over p99 ms", "max"]
    if any(found.accuracy is not None for cell in cells for found in cell.figures.values()):
        header.append("accuracy")
    rows = [
        _row(cell.budget_ms, name, found)[: len(header)]
        for cell in cells
        for name, found in cell.figures.items()
    ]
    said += table(header, rows, left=2)
    said += ["", *EXPLANATION]
    if reproduced is not None:
        said.append(
            "The recording's own decisions are reproduced exactly."
            if reproduced
            else "The recording's own decisions are NOT reproduced: this edgekit decides otherwise than the one that ran."
        )
    return said


def _row(budget_ms: float, name: str, found: Figures) -> List[object]:
    low, high = found.late_interval
    return [
        f"{budget_ms:g}",
        name,
        f"{100 * found.late_share:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        f"{found.mean_exit:.2f}",
        f"{100 * found.of_oracle:.1f}",
        f"{found.quality:.3f}",
        f"{found.goodput:.1f}",
        milliseconds(found.overshoot_p99_ms),
        milliseconds(found.overshoot_max_ms),
        None if found.accuracy is None else f"{found.accuracy:.4g}",
    ]
