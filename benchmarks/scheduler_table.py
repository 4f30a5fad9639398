"""The tables of docs/scheduler.md, written from the committed results, so that it quotes nothing else: python -m benchmarks.scheduler_table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.scheduler_away import Away
from benchmarks.scheduler_figures import most_of

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "scheduler.json"
PAGE = ROOT / "docs" / "scheduler.md"
BEGIN = "<!-- from benchmarks/results/scheduler.json by python -m benchmarks.scheduler_table -->"
END = "<!-- end of figures -->"


def section(results: dict[str, Any]) -> str:
    """The Markdown between the page's two marks."""
    machine, settings = results["machine"], results["settings"]
    lines = [
        BEGIN,
        "",
        f"**Measured** on an {machine['processor']} with {settings['threads']} threads and ONNX Runtime {machine['onnxruntime']}; "
        f"{settings['live_frames']} frames a row in real time, {settings.get('normal_frames', 'half as many')} in the others, 30 a second; in-process monotonic clock, from the call to its return. **Simulated** "
        f"with {settings['frames']} frames a budget.",
        "",
        "| | bar | reached | |",
        "|---|---|---|---|",
        *(
            f"| {row['what']} | {row['bar']} | {row['measured']} | {row['verdict']} |"
            for row in results["figures"]
        ),
        "",
        *_live(results["live"]),
        *_late(results["live"]),
        *_settled(results.get("settled", [])),
        *_floors(results["floors"]),
        *_commits(results.get("commits", {})),
        END,
    ]
    return "\n".join(lines)


def updated(page: str, results: dict[str, Any]) -> str:
    """The page's text with its figures renewed."""
    before, rest = page.split(BEGIN)
    return before + section(results) + rest.split(END)[1]


def _live(cells: list[dict[str, Any]]) -> Iterator[str]:
    if not cells:
        return
    yield "| live | overrun, priority | budget ms | late % | mean exit | of the oracle % | over p99, max ms | in time/s | quality |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    for cell in cells:
        without = f" ({cell['without']} of {cell['late']})" if cell.get("without") else ""
        yield (
            f"| {cell['condition']} | {cell['overrun']}, {cell['priority']} | {cell['budget_ms']:.1f} | {100 * cell['late_share']:.2f}{without} "
            f"| {cell['mean_exit']:.2f} | {100 * cell['of_oracle']:.1f} | {cell['overshoot_p99_ms']:.2f}, {cell['overshoot_max_ms']:.2f} "
            f"| {cell['goodput']:.1f} | {cell['quality']:.2f} |"
        )
    yield ""
    yield (
        "Late: of the frames whose inputs, first exit and overhead fit into the budget; in brackets, those without any answer. Of the oracle: exits reached in time, in shares of"
        " those that the durations allow; estimated where a stage did not run. Accuracy: an exit's share of right pixels on two pairs of KITTI 2015. Quality: the best exit's share that was there, averaged"
        " from call to deadline."
    )
    yield ""


def _late(cells: list[dict[str, Any]]) -> Iterator[str]:
    watched = [cell for cell in cells if cell.get("noted")]
    if not watched:
        return
    yield (
        "Every frame counts, also those during which the machine itself was away: on every core a process above all that edgekit runs looks at a clock every 2 ms, and where"
        " that clock stood still for more than 0.5 ms, no thread of edgekit could run there either."
    )
    yield ""
    late = [
        f"| {cell['condition']} | {cell['budget_ms']:.1f} | {_told(one, cell['budget_ms'])} |"
        for cell in watched
        for one in cell["noted"]
        if one["late"] and cell["priority"] == "realtime"
    ]
    if late:
        yield "The late ones in real time. Hypervisor: what it says it took, in steps of 10 ms; waited: the longest that any thread of this process was ready to run and did not, and the caller's own."
        yield ""
        yield "| live | budget ms | late by ms | exit | last stage | it took, predicted ms | it ended after the deadline, ms | clock stood still ms (cores) | hypervisor ms | waited, the caller ms |"
        yield "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|"
        yield from late
        yield ""
    kinds = dict.fromkeys((cell["condition"], cell["overrun"], cell["priority"]) for cell in watched)
    for condition, overrun, priority in kinds:
        kind = condition, overrun, priority
        alike = [cell for cell in cells if (cell["condition"], cell["overrun"], cell["priority"]) == kind]
        frames, late = (sum(cell[part] for cell in alike) for part in ("frames", "late"))
        away = sum(_away(one) for cell in alike for one in cell["noted"])
        yield f"- {condition}, {overrun}, {priority}: the machine was away in {away} of {frames} frames; {late} were late."
    yield ""


def _away(one: dict[str, Any]) -> bool:
    return Away(**one["away"]).machine_ms > 0


def _told(one: dict[str, Any], budget_ms: float) -> str:
    """What is known of a late frame, between two bars of a table."""
    away, stages = one["away"], one["stages"]
    late_by = f"{one['over_ms']:.2f}" if one["exit"] else "no answer"
    last, took, ended = (f"{one['cut']}, cut" if one["cut"] else "-"), "-", "-"
    if stages:
        begun, spent, predicted = stages[-1]
        last = f"{len(stages)}" + (f", then {one['cut']} cut" if one["cut"] else "")
        took = f"{spent:.2f}, {predicted:.2f}" if predicted is not None else f"{spent:.2f}"
        ended = f"{begun + spent - budget_ms:+.2f}"
    still = "-" if away["gap_ms"] is None else f"{away['gap_ms']:.2f} ({away['cores']})"
    return f"{late_by} | {one['exit']} | {last} | {took} | {ended} | {still} | {away['stolen_ms']:.0f} | {away['waited_ms']:.2f}, {away['caller_waited_ms']:.2f}"


def _commits(commits: dict[str, list[str]]) -> Iterator[str]:
    if commits:
        yield (
            "Measured at: "
            + "; ".join(f"{commit}: {', '.join(parts)}" for commit, parts in commits.items())
            + "."
        )
        yield ""


def _settled(settled: list[dict[str, Any]]) -> Iterator[str]:
    if not settled:
        return
    yield "Frames until answers are as usual after a switch to one processor, and back: median, 90th percentile, worst of the tries; and the share of phases' middles, where nothing is switched, that count as settled at once:"
    yield ""
    yield "| overrun | budget ms | to one | back to all | at once where nothing is switched |"
    yield "|---|---:|---:|---:|---:|"
    for one in settled:
        told = (
            f"{sorted(tries)[len(tries) // 2]}, {most_of(tries)}, {max(tries)} of {len(tries)}"
            for tries in (one["after_step"], one["after_end"])
        )
        at_once = 100 * one["steady"].count(0) / len(one["steady"])
        yield f"| {one['overrun']} | {one['budget_ms']:.1f} | {' | '.join(told)} | {at_once:.0f} % |"
    yield ""


def _floors(floors: list[dict[str, Any]]) -> Iterator[str]:
    if not floors:
        return
    yield "How late this machine wakes a thread of normal priority that does nothing but sleep, with nothing of edgekit beside it, ms:"
    yield ""
    yield "| | median | p99 | max |"
    yield "|---|---:|---:|---:|"
    for one in floors:
        yield f"| {one['condition']} | {one['median_ms']:.2f} | {one['p99_ms']:.2f} | {one['max_ms']:.2f} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(), json.loads(RESULTS.read_text())))
