"""The charts of the page: distributions, errors against time, sweeps over budgets, a timeline, bars."""

from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.runtime.page.svg import (
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Scale,
    drawing,
    element,
    frame,
    ground,
    path,
)
from edgekit.runtime.statistics import summarize
from edgekit.runtime.trace import Timeline

ROW = 46.0  # px that one row of a distribution or of bars takes
BINS = 60
FRAME = 26.0  # px that one frame of a timeline takes
TIMELINE = 880.0
ANSWERS = 228.0  # beside the rows: "stage10 at 100.0 ms: budget, LATE"
LETTER = 7.0  # px that a letter takes, about
COLORS = 8  # as many as the style sheet names: .c0 and so on


class Mark(NamedTuple):
    """One answer in a chart of error against time: its name, ms, and error or accuracy."""

    name: str
    ms: float
    value: float


class Series(NamedTuple):
    """One line of a chart: its name, and its points."""

    name: str
    points: Tuple[Tuple[float, float], ...]


def distributions(times: Mapping[str, Sequence[float]], label: str) -> str:
    """One histogram a row over a common axis in ms, with its median and its 99th percentile.

    The axis ends at the largest 99th percentile and a little more; slower runs are counted in the last bin, and said.
    """
    figures = {name: summarize(values) for name, values in times.items()}
    low = min(one.min for one in figures.values())
    high = 1.15 * max(one.p99 for one in figures.values())
    x = Scale(max(0.0, low - 0.05 * (high - low)), high, LEFT + 24, WIDTH - RIGHT)
    bottom = TOP + ROW * len(times)
    edges = np.linspace(x.low, x.high, BINS + 1)
    parts: List[str] = []
    for row, (name, values) in enumerate(times.items()):
        one, floor = figures[name], TOP + ROW * (row + 1) - 8
        counts, _ = np.histogram(np.clip(values, x.low, x.high), edges)
        tall = (ROW - 14) * counts / counts.max()
        outline = [(x.at(edges[0]), floor)]
        for k, height in enumerate(tall):
            outline += [(x.at(edges[k]), floor - height), (x.at(edges[k + 1]), floor - height)]
        outline.append((x.at(edges[-1]), floor))
        told = (
            f"{name}: median {one.p50:.3g} ms, p99 {one.p99:.3g} ms, slowest {one.max:.3g} ms of {one.runs}"
        )
        parts.append(element("path", hint=told, d=path(outline, closed=True), class_=f"area c{row % COLORS}"))
        for value, kind in ((one.p50, "median"), (one.p99, "p99")):
            at = x.at(value)
            parts.append(element("line", x1=at, x2=at, y1=floor - ROW + 12, y2=floor, class_=kind))
        parts.append(element("text", name, x=4, y=floor - 4, class_="name"))
    parts += ground(x, "ms", bottom)
    return drawing(parts, label, height=bottom + 44)


def against_time(
    exits: Mapping[str, Sequence[Mark]], peers: Sequence[Mark], unit: str, label: str, better: str = "lower"
) -> str:
    """Exits as one line a bundle, peers as single diamonds; time on a logarithmic axis, error or accuracy upwards."""
    marks = [mark for line in exits.values() for mark in line] + list(peers)
    slowest, fastest = max(mark.ms for mark in marks), min(mark.ms for mark in marks)
    values = [mark.value for mark in marks]
    if better == "lower":
        low, high = 0.0, 1.1 * max(values) or 1.0
    else:
        room = 0.1 * (max(values) - min(values)) or 0.1 * abs(max(values)) or 1.0
        low, high = min(values) - room, max(values) + room
    x, y, parts = frame(
        Axis("ms, end to end, median", 0.8 * fastest, 1.25 * slowest, log=True), Axis(unit, low, high)
    )
    names: List[Tuple[float, float, str]] = []
    for number, (bundle, line) in enumerate(exits.items()):
        color = f"c{number % COLORS}"
        places = [(x.at(mark.ms), y.at(mark.value)) for mark in line]
        parts.append(element("path", d=path(places), class_=f"line {color}"))
        for mark, (across, up) in zip(line, places):
            hint = f"{bundle}, {mark.name}: {mark.ms:.3g} ms, {mark.value:.4g} {unit}"
            parts.append(element("circle", hint=hint, cx=across, cy=up, r=4.5, class_=f"dot {color}"))
            names.append((across, up, mark.name))
    for mark in peers:
        across, up = x.at(mark.ms), y.at(mark.value)
        corners = [(across, up - 6), (across + 6, up), (across, up + 6), (across - 6, up)]
        hint = f"{mark.name}: {mark.ms:.3g} ms, {mark.value:.4g} {unit}"
        parts.append(element("path", hint=hint, d=path(corners, closed=True), class_="peer"))
        names.append((across, up, mark.name))
    return drawing(parts + _named(names, x), label)


def _named(names: Sequence[Tuple[float, float, str]], x: Scale) -> List[str]:
    """Names beside their marks, at (x, y, name): above each, or below where another name is in the way."""
    parts: List[str] = []
    taken: List[Tuple[float, float, float]] = []
    for across, up, name in names:
        wide, near_end = LETTER * len(name), across > x.end - 90
        left = across - 8 - wide if near_end else across + 8
        for high in (up - 7, up + 16, up - 21, up + 30):
            if all(
                left > right_ + 8 or left + wide + 8 < left_ or abs(high - high_) > 13
                for left_, right_, high_ in taken
            ):
                break
        taken.append((left, left + wide, high))
        kind = "name end" if near_end else "name"
        parts.append(element("text", name, x=left + wide if near_end else left, y=high, class_=kind))
    return parts


def lines(series: Sequence[Series], across: Axis, up: Axis, label: str) -> str:
    """Several lines over one axis; the first is drawn strongest and last."""
    x, y, parts = frame(across, up)
    for number in reversed(range(len(series))):
        one = series[number]
        places = [(x.at(a), y.at(b)) for a, b in one.points]
        strength = " strong" if number == 0 else ""
        parts.append(element("path", d=path(places), class_=f"line c{number % COLORS}{strength}"))
        for (a, b), (px, py) in zip(one.points, places):
            hint = f"{one.name}: {b:.4g} at {a:.4g} ms"
            parts.append(element("circle", hint=hint, cx=px, cy=py, r=3, class_=f"dot c{number % COLORS}"))
    return drawing(parts, label)


def timeline(frames: Sequence[Timeline], stages: Sequence[str], label: str) -> str:
    """One row a frame: preparing, every stage that ran, the one that was cut off, the deadline, who answered and why."""
    longest = max([one.ended for one in frames] + [one.budget_ms or 0.0 for one in frames])
    x = Scale(0.0, 1.04 * longest, 40.0, TIMELINE - ANSWERS)
    bottom = TOP + FRAME * len(frames)
    parts: List[str] = []
    for row, one in enumerate(frames):
        top = TOP + FRAME * row
        parts.append(element("text", str(row + 1), x=30, y=top + 15, class_="tick end"))
        spans = [("preparing", 0.0, one.prepared, "prepared")]
        spans += [
            (name, begun, took, f"bar c{stages.index(name) % COLORS}") for name, begun, took in one.stages
        ]
        if one.cut is not None:
            name, begun, took = one.cut
            spans.append((f"{name}, cut off", begun, took, f"bar cut c{stages.index(name) % COLORS}"))
        for name, begun, took, kind in spans:
            left, right = x.at(begun), x.at(begun + took)
            hint = f"frame {row + 1}, {name}: {took:.2f} ms from {begun:.2f} ms on"
            parts.append(
                element(
                    "rect",
                    hint=hint,
                    x=left,
                    y=top + 4,
                    width=max(right - left, 0.7),
                    height=FRAME - 9,
                    class_=kind,
                )
            )
        if one.budget_ms is not None:
            at = x.at(one.budget_ms)
            hint = f"frame {row + 1}: deadline {one.budget_ms:.2f} ms after the call"
            parts.append(element("line", hint=hint, x1=at, x2=at, y1=top, y2=top + FRAME, class_="deadline"))
        answer = "no answer" if one.answer is None else f"{one.answer} at {one.ended:.1f} ms"
        late = ", LATE" if one.missed else ""
        parts.append(
            element("text", f"{answer}: {one.reason}{late}", x=x.end + 10, y=top + 16, class_="name")
        )
    parts += ground(x, "ms since the frame came", bottom)
    return drawing(parts, label, TIMELINE, bottom + 44)


def bars(values: Mapping[str, float], unit: str, label: str, most: Optional[float] = None) -> str:
    """One horizontal bar a name, its value beside it."""
    x = Scale(0.0, most or 1.2 * max(values.values()) or 1.0, LEFT + 50, WIDTH - 70)
    parts: List[str] = []
    tall = 24.0
    for row, (name, value) in enumerate(values.items()):
        top = TOP + tall * row
        bar = element(
            "rect",
            x=x.start,
            y=top,
            width=max(x.at(value) - x.start, 1.0),
            height=tall - 8,
            class_=f"bar c{row % COLORS}",
        )
        told = element("text", f"{value:.3g} {unit}", x=x.at(value) + 6, y=top + 13, class_="tick")
        parts += [element("text", name, x=x.start - 6, y=top + 13, class_="name end"), bar, told]
    return drawing(parts, label, height=TOP + tall * len(values) + 4)
