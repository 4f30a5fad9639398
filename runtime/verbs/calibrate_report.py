"""What `edgekit calibrate` says to people: the exits, the frontier, the thresholds, and what became of the goal."""

from typing import List, Optional, Sequence

from edgekit.bundle import Bundle
from edgekit.runtime.calibration.calibrating import Calibration
from edgekit.runtime.calibration.frontier import Point
from edgekit.runtime.calibration.goals import Goal
from edgekit.runtime.report import milliseconds, table

MOST_POINTS = 13  # of the frontier that are printed; the document has them all


def to_lines(found: Calibration, bundle: Bundle, written: bool, refused: Optional[str]) -> List[str]:
    """The report."""
    costs = found.costs
    lines = [
        f"{bundle.manifest.name}: {found.samples} samples of {found.source}; confidence by {found.measure}",
        f"cost of an answer: {costs.unit}, by {costs.source}",
        "",
        *_exits(found),
        "",
        *_frontier(found),
        "",
        f"accuracy: share of right answers, with its 95 % interval. Early exits are judged on samples that their thresholds"
        f" were not found on. {'T: temperature; ' if found.scalings else ''}NLL: negative log likelihood; ECE: calibration"
        " error.",
        "",
    ]
    if refused is not None:
        return [*lines, f"NOT REACHED: {refused}.", "The bundle was left as it was."]
    if found.goal is None:
        return [
            *lines,
            "No goal was given, so no thresholds were set; `edgekit calibrate --help` lists the goals.",
        ]
    return [*lines, *_goal(found, found.goal), "", _written(bundle, written)]


def goal_words(goal: Goal) -> str:
    """What was asked for, in words."""
    words = []
    if goal.mean_ms is not None:
        words.append(f"a mean of {goal.mean_ms:g} ms")
    if goal.max_loss is not None:
        words.append(
            f"a loss of at most {100 * goal.max_loss:g} points, with {100 * goal.confidence:g} % confidence"
        )
    if goal.p99_ms is not None:
        words.append(f"a p99 of {goal.p99_ms:g} ms")
    if goal.shares is not None:
        words.append(f"shares of {', '.join(f'{100 * one:g} %' for one in goal.shares)}")
    if goal.geometric is not None:
        words.append(f"shares in proportion to the powers of {goal.geometric:g} (budgeted batch)")
    return " and ".join(words)


def _exits(found: Calibration) -> List[str]:
    header = [
        "exit",
        "T",
        "NLL",
        "tempered",
        "ECE",
        "tempered",
        "accuracy",
        "interval",
        f"mean {found.costs.unit}",
        "p99",
    ]
    rows = []
    for k, one in enumerate(found.exits):
        scaling = None if found.scalings is None else found.scalings[k]
        tempered = (
            [None] * 5
            if scaling is None
            else [
                f"{scaling.temperature:.3f}{'!' if scaling.bounded else ''}",
                f"{scaling.nll_before:.4f}",
                f"{scaling.nll_after:.4f}",
                f"{100 * scaling.ece_before:.2f} %",
                f"{100 * scaling.ece_after:.2f} %",
            ]
        )
        tail = None if found.costs.p99 is None else milliseconds(found.costs.p99[k])
        rows.append([found.costs.exits[k], *tempered, *_accuracy(one), milliseconds(one.cost), tail])
    lines = ["Exits by themselves", *table(header, rows)]
    if found.scalings is not None and any(one.bounded for one in found.scalings):
        lines.append("!: at the end of what is allowed; this exit is always right, or guesses")
    return lines


def _frontier(found: Calibration) -> List[str]:
    geometric = found.goal is not None and found.goal.geometric is not None
    points = found.frontier
    step = max((len(points) - 1) // (MOST_POINTS - 1), 1)
    shown = [points[k] for k in range(0, len(points), step)]
    if points and shown[-1] is not points[-1]:
        shown.append(points[-1])
    header = [
        "p" if geometric else "asked for",
        f"mean {found.costs.unit}",
        "accuracy",
        "interval",
        *found.costs.exits,
    ]
    rows: List[Sequence[object]] = []
    for one in shown:
        goal = None if one.goal is None else f"{one.goal:.2f}" if geometric else milliseconds(one.goal)
        rows.append([goal, milliseconds(one.cost), *_accuracy(one), *_shares(one)])
    return ["Early exits", *table(header, rows)]


def _goal(found: Calibration, goal: Goal) -> List[str]:
    unit = found.costs.unit
    rows = []
    seen = found.seen
    assert seen is not None  # there is a goal
    for k, (name, threshold) in enumerate(zip(found.costs.exits, found.thresholds)):
        last = k == len(found.thresholds) - 1
        said = "everybody" if last else "nobody" if threshold is None else f"{threshold:.6f}"
        rows.append([name, said, f"{100 * seen.shares[k]:.1f} %"])
    lines = [
        f"Thresholds for {goal_words(goal)}",
        *table(["exit", "leaves from", "share here"], rows),
        f"on these samples: mean {milliseconds(seen.cost)} {unit}, accuracy {100 * seen.accuracy:.2f} %",
    ]
    if found.unseen is not None:
        accuracy, interval = _accuracy(found.unseen)
        lines.append(
            f"on samples not used: mean {milliseconds(found.unseen.cost)} {unit}, accuracy {accuracy} ({interval})"
        )
    if found.certificate is not None:
        one = found.certificate
        lines.append(
            f"on {one.samples} samples not used to find them, {100 * one.loss:.2f} points are lost; with"
            f" {100 * goal.confidence:g} % confidence at most {100 * one.at_most:.2f}"
        )
    last_exit = found.exits[-1]
    lines.append(
        f"every stage: mean {milliseconds(last_exit.cost)} {unit}, accuracy {100 * last_exit.accuracy:.2f} %"
    )
    return lines + [f"note: {note}" for note in found.notes]


def _written(bundle: Bundle, written: bool) -> str:
    if not written:
        return "Nothing was written (--dry-run)."
    return f"Written into {bundle.path}: sessions leave at an exit that is sure enough; load(..., policies=()) does not."


def _accuracy(one: Point) -> List[str]:
    low, high = one.interval
    return [f"{100 * one.accuracy:.2f} %", f"{100 * low:.1f}-{100 * high:.1f}"]


def _shares(one: Point) -> List[str]:
    return [f"{100 * share:.0f} %" for share in one.shares]
