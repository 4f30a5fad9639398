"""The scheduler against its rivals: python -m benchmarks.scheduler [--quick] [--live] [--decisions] [--bundle X] [--out DIR].

Sweeps budgets in simulation and, with --live, on this machine with and without a neighbour on the processor; prints every
bar with what was reached, and writes scheduler.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from benchmarks import scheduler_live
from benchmarks.interpreters import pythons, time_decisions
from benchmarks.machine import describe
from benchmarks.neighbour import Missing
from benchmarks.scheduler_ceiling import Ceiling
from benchmarks.scheduler_desk import Desk, by_commit, file_name
from benchmarks.scheduler_figures import BOLDER, LIVE, rows, show
from benchmarks.scheduler_live import RATE, Floor, LiveCell, Soak
from benchmarks.scheduler_recovery import SWITCHES, LiveRecovery
from benchmarks.scheduler_recovery import recover as recover_live
from benchmarks.scheduler_simulated import (
    Recovery,
    SimulatedCell,
    accuracies_of,
    find_ceilings,
    recover,
    simulate_all,
    with_accuracies,
)
from edgekit.bundle import Bundle, Manifest, read_bundle
from edgekit.runtime.device.priority import may_be_realtime
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.recording import Recorder, Recording, read_recording, write_recording
from edgekit.runtime.simulation.strategies import EDGEKIT, MEAN, compare
from edgekit.runtime.simulation.workload import (
    read_durations,
    recorded,
)

BUDGETS = 8  # of every condition
SIZE = (368, 1232)
SMALL = (64, 192)  # a hundred thousand frames of it take ten minutes
MEASURED = "measured.jsonl"  # in --out: the frames that are simulated


@dataclass(frozen=True)
class Relived:
    """A live run's frames, given to edgekit and to a mean-based predictor in simulation: late answers of each, with ``finish``."""

    condition: str
    budget_ms: float
    late: int
    late_of_mean: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 when it ran, whatever bars were reached."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduler", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="few frames and budgets: shows that it works, proves nothing"
    )
    parser.add_argument(
        "--live", action="store_true", help="also on this machine, which must be idle otherwise"
    )
    parser.add_argument(
        "--decisions", action="store_true", help="only how long one decision takes, here and under Python 3.6"
    )
    parser.add_argument(
        "--bundle", type=Path, help="default: AnyNet with the shipped weights, exported first"
    )
    parser.add_argument("--profile", type=Path, help="durations to simulate with; default: measured first")
    parser.add_argument("--spread", type=float, metavar="S",
                        help="simulate with the measured medians times lognormal(0, S), instead of what a busy machine measured")  # fmt: skip
    parser.add_argument("--frames", type=int, help="of a simulated cell; default 10000")
    parser.add_argument(
        "--live-frames",
        type=int,
        help="of a live cell in real time; default 2000",
    )
    parser.add_argument("--normal-frames", type=int, help="of one at normal priority; default half as many")
    parser.add_argument(
        "--live-conditions",
        nargs="+",
        metavar="TEXT",
        default=[""],
        help="only those whose name contains one of these",
    )
    parser.add_argument("--soak-frames", type=int, help="of one session, for leaks; default 100000")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with a run that was broken off: keep what is in --out, and measure what is missing",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=float("inf"),
        help="begin nothing new after so many; the same command with --resume goes on",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("bench"),
        help="folder for scheduler.json, simulated.json, and the live cells with their recordings",
    )
    options = parser.parse_args(arguments)
    options.frames = options.frames or (1000 if options.quick else 10000)
    options.live_frames = options.live_frames or (60 if options.quick else 2000)
    options.normal_frames = options.normal_frames or options.live_frames // 2
    options.soak_frames = options.soak_frames or (2000 if options.quick else 100000)
    options.out.mkdir(parents=True, exist_ok=True)
    desk = Desk(options.out / "live", options.resume, time.monotonic() + 60 * options.minutes)
    report: dict[str, object] = {"machine": describe(options.threads), "settings": _settings(options)}
    decisions: list[dict[str, object]] = []
    simulated: list[SimulatedCell] = []
    recoveries: list[Recovery] = []
    live: list[LiveCell] = []
    settled: list[LiveRecovery] = []
    floors: list[Floor] = []
    soaked: Soak | None = None
    relived: list[Relived] = []
    ceilings: list[Ceiling] = []
    if not options.decisions:
        with tempfile.TemporaryDirectory() as scratch:
            bundle = open_bundle(options.bundle, Path(scratch))
            before = options.out / "measured.json"  # a run that goes on must ask for the same budgets
            recording: Recording | None
            if options.resume and before.exists():
                document = json.loads(before.read_text())
                measured = {name: tuple(took) for name, took in document["stages"].items()}
                around, recording = document["around_ms"], read_recording(str(options.out / MEASURED))
            else:
                measured, around, recording = durations(
                    bundle, options.profile, options.threads, options.quick
                )
                before.write_text(json.dumps({"stages": measured, "around_ms": around}) + "\n")
                write_recording(str(options.out / MEASURED), recording)
            if options.profile is not None or options.spread is not None:
                recording = None
            if options.spread is not None:
                random = np.random.RandomState(0)
                measured = {
                    n: tuple(np.median(d) * random.lognormal(0, options.spread, 200))
                    for n, d in measured.items()
                }
            manifest = with_accuracies(bundle.manifest)
            budgets = choose_budgets(manifest, measured, 4 if options.quick else BUDGETS)
            report["measured_ms"] = {name: list(took) for name, took in measured.items()}
            live_budgets = [round(budget + around, 2) for budget in budgets]
            known, given = accuracies_of(manifest), (manifest, measured, recording, budgets, options.frames)
            if options.live:
                live, _ = run_live(LIVE[:1], Path(bundle.path), known, live_budgets, options, desk)
            simulated = list(simulate_all(*given, desk))
            ceilings = [] if desk.over() else find_ceilings(*given)
            recoveries = [
                recover(manifest, measured, b, o)
                for b in budgets[1:]
                for o in ("return", "finish")
                if not desk.over()
            ]
            if options.live:
                others, settled = run_live(LIVE[1:], Path(bundle.path), known, live_budgets, options, desk)
                live += others
                relived = [one for cell in live if (one := relive(manifest, cell, options)) is not None]
                floors = find_floors(options, desk)
                soaked = soak(Path(scratch), options, desk)
    timed = desk.kept("decisions", lambda: {"found": [time_decisions(python) for python in pythons()]})
    decisions = [] if timed is None else timed["found"]
    report["decisions"] = decisions
    found = rows(simulated, recoveries, live, settled, decisions, soaked, relived, ceilings)
    report.update(
        simulated=[{**asdict(c), "figures": c.figures.to_json()} for c in simulated if c.strategy in (EDGEKIT, MEAN, BOLDER)],
        recoveries=[asdict(one) for one in recoveries],
        live=[cell.to_json() for cell in live],
        settled=[one.to_json() for one in settled],
        floors=[asdict(one) for one in floors],
        relived=[asdict(one) for one in relived],
        ceilings=[asdict(one) for one in ceilings],
        soak=None if soaked is None else asdict(soaked),
        figures=[asdict(row) for row in found],
        commits=by_commit(desk.commits),
    )  # fmt: skip
    (options.out / "scheduler.json").write_text(json.dumps(report, indent=1) + "\n")
    everybody = [{**asdict(c), "figures": c.figures.to_json()} for c in simulated]
    (options.out / "simulated.json").write_text(json.dumps(everybody, indent=1) + "\n")
    show(simulated, recoveries, live, settled, floors, found)
    print(f"\nwritten: {options.out / 'scheduler.json'}")
    if desk.left_out:
        print(
            f"{len(desk.left_out)} parts are missing after {options.minutes:g} minutes, {desk.left_out[0]} first: go on with --resume"
        )
    return 0


def open_bundle(path: Path | None, scratch: Path) -> Bundle:
    """The bundle at ``path``, or a fresh one of AnyNet."""
    if path is not None:
        return read_bundle(path)
    print("exporting AnyNet with the shipped weights", file=sys.stderr)
    exported: Bundle = edgekit.export(
        model="anynet", target="jetson", size=SIZE, out=str(scratch / "anynet.edgekit")
    )
    return exported


def durations(
    bundle: Bundle, profile: Path | None, threads: int, quick: bool
) -> tuple[dict[str, tuple[float, ...]], float, Recording]:
    """Measured durations in ms by stage, a profile's or of frames that are run for it; what a frame takes beside them; and these frames."""
    names = [stage.name for stage in bundle.manifest.stages]
    print("measuring every stage", file=sys.stderr)
    taken: dict[str, list[float]] = {name: [] for name in names}
    around = []
    with Session.open(bundle.path, threads=threads, warmup=0) as session:
        inputs, camera = session.golden()[0], scheduler_live.Camera(RATE)
        for _ in range(20):
            session.infer(budget_ms=None, overrun="return", reuse=False, **inputs)
        recorder = Recorder(session)
        for _ in range(30 if quick else 1000):
            camera.next()
            result = session.infer(budget_ms=1e4, overrun="return", reuse=False, **inputs)
            around.append(result.elapsed_ms - sum(result.stage_ms.values()))
            for name, took in result.stage_ms.items():
                taken[name].append(took)
        recording = recorder.recording({"rate": RATE})
    measured = {name: tuple(took) for name, took in taken.items()}
    return (
        (measured if profile is None else read_durations(str(profile), names)),
        float(np.median(around)),
        recording,
    )


def choose_budgets(manifest: Manifest, measured: Mapping[str, Sequence[float]], count: int) -> list[float]:
    """The middles of ``count`` equal parts of the range in which a budget decides between exits, before anything is answered.

    It begins where nine frames of ten have the first exit, and ends where nine of ten have the last.
    """
    stages = [stage for stage in manifest.stages if measured.get(stage.name)]
    frames = min(len(measured[stage.name]) for stage in stages)
    ends = np.cumsum([np.asarray(measured[stage.name][:frames]) for stage in stages], axis=0)
    there = [
        float(np.percentile(end, 90))
        for end, stage in zip(ends, stages, strict=True)
        if stage.exit is not None
    ]
    part = (there[-1] - there[0]) / count
    return [round(there[0] + (number + 0.5) * part, 2) for number in range(count)]


def run_live(
    modes: Sequence[tuple[str, str]],
    bundle: Path,
    known: Sequence[float] | None,
    budgets: Sequence[float],
    options: argparse.Namespace,
    desk: Desk,
) -> tuple[list[LiveCell], list[LiveRecovery]]:
    """Every condition on this machine in ``modes``, overrun and priority, and how soon answers settle.

    In real time, every budget; in the other modes, and for switches, every second one, the second first.
    """
    cells, settled = [], []
    fewer = budgets[1::2]
    switches = 3 if options.quick else SWITCHES
    for overrun, priority in modes:
        urgent = priority == "realtime"
        if urgent and not may_be_realtime():
            continue
        frames = options.live_frames if urgent else options.normal_frames
        for condition in scheduler_live.CONDITIONS:
            if any(text in condition for text in options.live_conditions):
                for budget in budgets if urgent else fewer:
                    cell = desk.cell(
                        bundle, condition, overrun, priority, budget, frames, known, options.threads
                    )
                    cells += [] if cell is None else [cell]
        if priority == "normal":
            for budget in fewer:
                found = desk.kept(
                    f"recovery-{overrun}-{budget:g}-{switches}",
                    lambda: recover_live(bundle, options.threads, overrun, budget, switches).to_json(),  # noqa: B023
                )
                settled += [] if found is None else [LiveRecovery(**found)]
    return cells, settled


def find_floors(options: argparse.Namespace, desk: Desk) -> list[Floor]:
    """How late a thread is woken under each condition."""
    floors = []
    for condition in scheduler_live.CONDITIONS:
        with contextlib.suppress(Missing):
            found = desk.kept(
                f"floor-{condition}",
                lambda: asdict(scheduler_live.floor(condition, options.live_frames // 3)),  # noqa: B023
            )
            floors += [] if found is None else [Floor(**found)]
    return floors


def soak(scratch: Path, options: argparse.Namespace, desk: Desk) -> Soak | None:
    """What very many frames leave behind."""

    def measured() -> dict[str, Any]:
        small = edgekit.export(
            model="anynet", target="jetson", size=SMALL, out=str(scratch / "small.edgekit")
        )
        return asdict(scheduler_live.soak(Path(small.path), options.soak_frames))

    found = desk.kept(f"soak-{options.soak_frames}", measured)
    return None if found is None else Soak(**found)


def relive(manifest: Manifest, cell: LiveCell, options: argparse.Namespace) -> Relived | None:
    """The recorded frames of a cell that was answered with ``finish``, answered anew."""
    name = file_name(cell.condition, cell.overrun, cell.priority, cell.budget_ms, cell.frames)
    path = options.out / "live" / f"{name}.jsonl"
    if cell.overrun != "finish" or not path.exists():
        return None
    found = compare(manifest, recorded(read_recording(str(path)), None, RATE, 0), cell.budget_ms, "finish")
    return Relived(cell.condition, cell.budget_ms, found[EDGEKIT].late, found[MEAN].late)


def _settings(options: argparse.Namespace) -> dict[str, object]:
    kept = ("quick", "live", "frames", "live_frames", "normal_frames", "threads", "spread")
    return {name: getattr(options, name) for name in kept} | {"seed": 0, "own": options.bundle is not None}


if __name__ == "__main__":
    sys.exit(main())
