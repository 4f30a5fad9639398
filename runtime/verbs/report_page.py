"""The page as one HTML text: a section a bundle, with its charts, its pictures, its tables and its warnings."""

import base64
from html import escape
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from edgekit import __version__
from edgekit.runtime.classes import class_name, top_classes
from edgekit.runtime.device.fingerprint import UNKNOWN
from edgekit.runtime.device.telemetry import Energy
from edgekit.runtime.page.charts import Mark, Series, against_time, bars, distributions, lines, timeline
from edgekit.runtime.page.svg import Axis
from edgekit.runtime.page.theme import style
from edgekit.runtime.pictures.colors import color_disparity, disparity_range
from edgekit.runtime.pictures.png import encode_png
from edgekit.runtime.pictures.resize import resize_columns, resize_rows
from edgekit.runtime.report import milliseconds
from edgekit.runtime.simulation.outcomes import Figures
from edgekit.runtime.simulation.strategies import EDGEKIT, FULL, MEAN, ORACLE
from edgekit.runtime.verbs.bench_device import ENERGY
from edgekit.runtime.verbs.bench_report import BOUNDARIES
from edgekit.runtime.verbs.report_findings import KNOWN, WRONG, ExitFound, Findings, quality

PICTURE = 420  # px that pictures are shrunk to in width
STRATEGIES = (EDGEKIT, MEAN, FULL, ORACLE)
MATCHING = "OpenCV StereoSGBM"


def to_html(findings: Sequence[Findings], peers: Sequence[Mark], title: str, now: str) -> str:
    """The whole page; ``peers`` are other people's answers, to be shown beside the exits; ``now`` is when it was made."""
    many = len(findings) > 1
    links = "".join(f'<a href="#b{k}">{escape(one.name)}</a>' for k, one in enumerate(findings))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">Measured by edgekit {escape(__version__)}, {escape(now)}, on'
        f" {escape(machine(findings[0]))}. Everything on this page was measured in this one run, but for what is"
        " called simulated or given.</p>",
        f"<nav>{links}</nav>" if many else "",
        comparison(findings, peers),
    ]
    parts += [section(one, f"b{k}") for k, one in enumerate(findings)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{style()}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def machine(one: Findings) -> str:
    """The device, as its fingerprint and its backend tell it."""
    told = one.report.settings.fingerprint.to_json()
    known = [f"{name} {value}" if name in BARE else value for name, value in told.items() if value != UNKNOWN]
    return ", ".join(known)


def comparison(findings: Sequence[Findings], peers: Sequence[Mark]) -> str:
    """Error or accuracy against time: every exit of every bundle that is measured by the same thing, and the peers."""
    cards = []
    groups: Dict[Tuple[str, str], Dict[str, List[Mark]]] = {}
    for one in findings:
        unit, better, values = quality(one.exits)
        marks = [
            Mark(_named(e), e.times.p50, value)
            for e, value in zip(one.exits, values)
            if value is not None and np.isfinite(value)
        ]
        if marks:
            groups.setdefault((unit, better), {})[one.name] = marks
    for (unit, better), lines_ in groups.items():
        others = list(peers) if unit in (WRONG, KNOWN) else []
        matched = next((one.matching for one in findings if one.matching is not None), None)
        if unit == WRONG and matched is not None:
            others.append(Mark(MATCHING, matched[0], 100.0 * matched[1].d1))
        label = f"{unit} of every exit against its time"
        drawn = against_time(lines_, others, unit, label, better)
        cards.append(
            card(f"{unit[0].upper()}{unit[1:]} against time", drawn, key(list(lines_)), f"{better} is better")
        )
    return f'<div class="grid">{"".join(cards)}</div>'


def section(one: Findings, anchor: str) -> str:
    """Everything about one bundle."""
    manifest, report = one.bundle.manifest, one.report
    warnings = "".join(f'<p class="warn">{escape(text)}</p>' for text in report.warnings)
    stages = [stage.name for stage in manifest.stages]
    stage_times = {name: [frame.stage_ms[name] for frame in report.frames] for name in stages}
    exit_times = {_named(e): [frame.exit_ms[e.name] for frame in report.frames] for e in one.exits}
    charts = [
        card("Stages", distributions(stage_times, f"{one.name}: times of every stage"), "", f"one stage alone. {LINES}"),
        card("Exits, end to end", distributions(exit_times, f"{one.name}: times to every exit"), "",
             f"{BOUNDARIES['end to end']}. {LINES}"),
    ]  # fmt: skip
    parts = [
        f'<h2 id="{anchor}">{escape(one.name)}</h2>',
        f'<p class="soft">{escape(report.settings.network)}; {escape(report.settings.inputs)}</p>',
        warnings,
        f'<div class="grid">{"".join(charts)}</div>',
        f'<div class="card scroll">{exit_table(one)}</div>',
        sweeps(one),
        frames(one, stages),
        answers(one),
        settings_table(one),
    ]
    return "".join(parts)


# What of a fingerprint says nothing without its name.
BARE = ("sm", "tensorrt", "cuda", "l4t", "power_mode", "threads")
LINES = "Solid line: median; dashed: 99th percentile."


def card(title: str, drawn: str, keys: str, note: str) -> str:
    """One chart with its title, its key and what has to be known to read it."""
    return f'<div class="card"><h3>{escape(title)}</h3>{drawn}{keys}<p class="soft">{escape(note)}</p></div>'


def key(names: Sequence[str]) -> str:
    """Which colour is what."""
    entries = "".join(f'<span><i class="c{k}"></i>{escape(name)}</span>' for k, name in enumerate(names))
    return f'<div class="key">{entries}</div>'


def exit_table(one: Findings) -> str:
    """Times, what is known of how good every exit is, and what an inference up to it takes out of the supply."""
    unit, _, values = quality(one.exits)
    device = one.report.device
    measured = device.source.name is not None
    header = ["exit", "p50 ms", "p90 ms", "p99 ms", "max ms", "FPS", unit, *(["mJ", "W"] if measured else [])]
    rows = [
        [_named(e), *(milliseconds(getattr(e.times, name)) for name in ("p50", "p90", "p99", "max")),
         f"{1e3 / e.times.mean:.1f}", "-" if value is None else f"{value:.4g}",
         *(_energy(device.energy.get(e.name)) if measured else [])]
        for e, value in zip(one.exits, values)
    ]  # fmt: skip
    note = (
        f'<p class="soft">mJ, W: {escape(ENERGY)} ({escape(str(device.source.name))}).</p>'
        if measured
        else ""
    )
    return f"<h3>Exits</h3>{html_table(header, rows)}{note}"


def sweeps(one: Findings) -> str:
    """The scheduler at every budget, beside those that it is compared with."""
    exits = len(one.exits)
    figures: Dict[str, Callable[[Figures], float]] = {
        "exit reached in time, mean": lambda found: exits * found.utility,
        "late or no answer, %": lambda found: 100.0 * found.late_share,
        "answers in time a second": lambda found: found.goodput,
    }
    parts = []
    for condition, cells in one.sweep.items():
        cards = []
        across = Axis("budget, ms", cells[0].budget_ms, cells[-1].budget_ms)
        for title, figure in figures.items():
            series = [
                Series(name, tuple((cell.budget_ms, figure(cell.figures[name])) for cell in cells))
                for name in STRATEGIES
                if name in cells[0].figures
            ]
            top = 1.05 * max(value for line in series for _, value in line.points) or 1.0
            drawn = lines(series, across, Axis(title, 0.0, top), f"{one.name}, {condition}: {title}")
            cards.append(card(title[0].upper() + title[1:], drawn, key([line.name for line in series]), ""))
        frames_ = next(iter(cells[0].figures.values())).frames
        parts.append(
            f'<h3 style="margin-top:1.4rem">Budgets, simulated from these durations: {escape(condition)}</h3>'
            f'<p class="soft">{frames_} frames at every budget, overrun="return". The oracle knows every duration beforehand.</p>'
            f'<div class="grid three">{"".join(cards)}</div>'
        )
    return "".join(parts)


def frames(one: Findings, stages: Sequence[str]) -> str:
    """The timeline of real frames."""
    drawn = timeline(one.timeline, stages, f"{one.name}: timeline of frames within {one.budget_ms:.3g} ms")
    note = f"{len(one.timeline)} frames in a row, each with a budget of {one.budget_ms:.3g} ms (red): grey is preparing the pictures, faint is a stage that was cut off."
    return f'<div class="card"><h3>Frames within a budget</h3><div class="scroll">{drawn}</div>{key(stages)}<p class="soft">{escape(note)}</p></div>'


def answers(one: Findings) -> str:
    """The pictures that were answered, and what every exit made of them."""
    shown = [
        _figure(array, name)
        for name, array in one.inputs.items()
        if array.ndim == 3 and array.dtype == np.uint8
    ]
    if one.exits[-1].output.ndim == 2:
        high = disparity_range(one.exits[-1].output)[1]
        for e in one.exits:
            said = f"{_named(e)}, {e.times.p50:.3g} ms"
            if e.errors is not None:
                said += f": EPE {e.errors.epe:.2f} px, D1 {100 * e.errors.d1:.1f} %"
            shown.append(_figure(color_disparity(e.output, high), said))
        note = f'<p class="soft">Blue is 0 px, red {high:.0f} px and more.</p>'
    else:
        for e in one.exits:
            best = {
                class_name(one.bundle.manifest, index) or f"class {index}": 100.0 * share
                for index, share in top_classes(e.output)
            }
            drawn = bars(best, "%", f"{_named(e)}: the likeliest classes", 100.0)
            shown.append(
                f"<figure>{drawn}<figcaption>{escape(_named(e))}, {e.times.p50:.3g} ms</figcaption></figure>"
            )
        note = '<p class="soft">The likeliest classes of every exit (softmax of its logits).</p>'
    cards = "".join(f'<div class="card">{figure}</div>' for figure in shown)
    return f'<h3 style="margin-top:1.4rem">Answers</h3>{note}<div class="grid">{cards}</div>'


def settings_table(one: Findings) -> str:
    """Under what all of this was measured."""
    settings = one.report.settings
    told = settings.fingerprint.to_json()
    rows: List[Tuple[str, object]] = [
        ("bundle", settings.bundle),
        *told.items(),
        (
            "backend's settings",
            ", ".join(f"{name}={value}" for name, value in settings.backend_settings.items()),
        ),
        ("graphs", ", ".join(f"{stage}={variant}" for stage, variant in settings.variants.items())),
        ("CPUs usable", settings.processors.usable),
        ("governors", ", ".join(settings.processors.governors) or UNKNOWN),
        ("runs", f"{settings.runs}, after {settings.warmup} to warm up"),
        ("load", f"{one.report.load_ms:.0f} ms"),
        (
            "peak memory",
            UNKNOWN if one.report.memory_peak is None else f"{one.report.memory_peak / 2**20:.0f} MiB",
        ),
        ("clock", settings.clock),
        ("energy", one.report.device.source.name or UNKNOWN),
    ]
    unknown = [name for name, value in rows if value == UNKNOWN]
    rows = [row for row in rows if row[1] != UNKNOWN]
    if unknown:  # by name, so that nobody takes it for none
        rows.append((UNKNOWN, ", ".join(unknown)))
    body = "".join(f"<tr><td>{escape(str(a))}</td><td>{escape(str(b))}</td></tr>" for a, b in rows)
    return f'<div class="card"><h3>Settings</h3><table class="settings">{body}</table></div>'


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _energy(energy: Optional[Energy]) -> List[str]:
    return [UNKNOWN, UNKNOWN] if energy is None else [f"{energy.millijoules:.1f}", f"{energy.watts:.2f}"]


def _named(e: ExitFound) -> str:
    return e.name if e.network is None else f"{e.name} ({e.network})"


def _figure(picture: np.ndarray, said: str) -> str:
    height, width = picture.shape[:2]
    if width > PICTURE:
        rows = round(height * PICTURE / width)
        small = resize_rows(picture, rows)
        small = np.stack(
            [resize_columns(np.asarray(small[..., c]), PICTURE) for c in range(picture.shape[2])], axis=-1
        )
        picture = (np.clip(small, 0.0, 255.0) + 0.5).astype(np.uint8)
    data = base64.b64encode(encode_png(np.ascontiguousarray(picture))).decode("ascii")
    return f'<figure><img alt="{escape(said)}" src="data:image/png;base64,{data}"><figcaption>{escape(said)}</figcaption></figure>'
