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
from collections.abc import Callable, Mapping, Sequence
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
from benchmarks.scheduler_figures import BOLDER, LIVE, LIVING, rows, show
from benchmarks.scheduler_live import RATE, Floor, LiveCell, Soak
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
    parser.add_argument("--live-frames", type=int, help="of a live cell; default 2000")
    parser.add_argument("--live-budgets", type=int, default=3, help="of every live condition; default 3")
    parser.add_argument(
        "--live-conditions",
        nargs="+",
        metavar="TEXT",
        default=[""],
        help="only those whose name contains one of these",
    )
    parser.add_argument(
        "--live-overrun", choices=["return", "finish"], help="only this one's live cells; default: both"
    )
    parser.add_argument(
        "--live-priority", choices=["normal", "realtime"], help="only this one's live cells; default: both"
    )
    parser.add_argument("--soak-frames", type=int, help="of one session, for leaks; default 100000")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with a run that was broken off: keep what is in --out, and measure what is missing",
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
    options.soak_frames = options.soak_frames or (2000 if options.quick else 100000)
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, object] = {"machine": describe(options.threads), "settings": _settings(options)}
    decisions: list[dict[str, object]] = kept(
        options, "decisions", lambda: {"found": [time_decisions(python) for python in pythons()]}
    )["found"]
    report["decisions"] = decisions
    simulated: list[SimulatedCell] = []
    recoveries: list[Recovery] = []
    live: list[LiveCell] = []
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
            budgets = choose_budgets(measured, 3 if options.quick else 10)
            report["measured_ms"] = {name: list(took) for name, took in measured.items()}
            if options.live:
                live_budgets = [
                    round(budget + around, 2) for budget in choose_budgets(measured, options.live_budgets)
                ]
                live, floors = run_live(Path(bundle.path), accuracies_of(manifest), live_budgets, options)
                recoveries += recover_live(Path(bundle.path), live_budgets[1:], options)
                relived = [one for cell in live if (one := relive(manifest, cell, options)) is not None]
                soaked = soak(Path(scratch), options)
            simulated = list(simulate_all(manifest, measured, recording, budgets, options.frames))
            ceilings = find_ceilings(manifest, measured, recording, budgets, options.frames)
            recoveries += [
                recover(manifest, measured, b, o) for b in budgets[1:] for o in ("return", "finish")
            ]
    found = rows(simulated, recoveries, live, decisions, soaked, relived, ceilings)
    report.update(
        simulated=[{**asdict(c), "figures": c.figures.to_json()} for c in simulated if c.strategy in (EDGEKIT, MEAN, BOLDER)],
        recoveries=[asdict(one) for one in recoveries],
        live=[cell.to_json() for cell in live],
        floors=[asdict(one) for one in floors],
        relived=[asdict(one) for one in relived],
        ceilings=[asdict(one) for one in ceilings],
        soak=None if soaked is None else asdict(soaked),
        figures=[asdict(row) for row in found],
    )  # fmt: skip
    (options.out / "scheduler.json").write_text(json.dumps(report, indent=1) + "\n")
    everybody = [{**asdict(c), "figures": c.figures.to_json()} for c in simulated]
    (options.out / "simulated.json").write_text(json.dumps(everybody, indent=1) + "\n")
    show(simulated, recoveries, live, floors, found)
    print(f"\nwritten: {options.out / 'scheduler.json'}")
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


def choose_budgets(measured: Mapping[str, Sequence[float]], count: int) -> list[float]:
    """From what the first stage usually makes to a little more than all of them usually need; outliers do not decide."""
    usual = [float(np.percentile(took, 90)) for took in measured.values()]
    return [round(float(one), 2) for one in np.linspace(usual[0] * 1.1, sum(usual) * 1.2, count)]


def run_live(
    bundle: Path, known: Sequence[float] | None, budgets: Sequence[float], options: argparse.Namespace
) -> tuple[list[LiveCell], list[Floor]]:
    """Every condition at every budget on this machine, those with a bar first; and how late a thread is woken under each."""
    folder = options.out / "live"
    folder.mkdir(exist_ok=True)
    wanted = [
        (condition, overrun, priority, budget)
        for overrun, priority in LIVE
        if options.live_overrun in (None, overrun) and options.live_priority in (None, priority)
        for condition in scheduler_live.CONDITIONS
        if any(text in condition for text in options.live_conditions)
        for budget in (budgets if not options.quick else budgets[1:2])
        if priority == "normal" or may_be_realtime()
    ]
    cells, floors = [], []
    for number, (condition, overrun, priority, budget) in enumerate(wanted, 1):
        name = file_name(condition, overrun, priority, budget, options.live_frames)
        path = folder / f"{name}.json"
        if options.resume and path.exists():
            cells.append(LiveCell.from_json(json.loads(path.read_text())))
            continue
        print(
            f"live, {number} of {len(wanted)}: {condition}, {budget:g} ms, overrun={overrun}, priority={priority}",
            file=sys.stderr,
        )
        try:
            cell, recording = scheduler_live.measure(
                bundle, options.threads, condition, overrun, priority, budget, options.live_frames, known
            )
        except Missing as missing:
            print(missing, file=sys.stderr)
            continue
        cells.append(cell)
        write_recording(str(folder / f"{name}.jsonl"), recording)
        path.write_text(json.dumps(cell.to_json(), indent=1) + "\n")
    for condition in scheduler_live.CONDITIONS:
        with contextlib.suppress(Missing):
            found = kept(
                options,
                f"floor-{condition}",
                lambda: asdict(scheduler_live.floor(condition, options.live_frames // 3)),  # noqa: B023
            )
            floors.append(Floor(**found))
    return cells, floors


def recover_live(bundle: Path, budgets: Sequence[float], options: argparse.Namespace) -> list[Recovery]:
    """How many frames a step to one core and its end cost on this machine, in both modes."""
    found = []
    for budget in budgets:
        for overrun in ("return", "finish"):
            after = kept(
                options,
                f"recovery-{overrun}-{budget:g}",
                lambda: {"frames": scheduler_live.recover(bundle, options.threads, overrun, budget)},  # noqa: B023
            )
            found.append(Recovery(LIVING, overrun, budget, *after["frames"]))
    return found


def soak(scratch: Path, options: argparse.Namespace) -> Soak:
    """What very many frames leave behind."""

    def measured() -> dict[str, Any]:
        small = edgekit.export(
            model="anynet", target="jetson", size=SMALL, out=str(scratch / "small.edgekit")
        )
        return asdict(scheduler_live.soak(Path(small.path), options.soak_frames))

    return Soak(**kept(options, f"soak-{options.soak_frames}", measured))


def kept(options: argparse.Namespace, name: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured under ``name`` before, if this run goes on with one that was broken off; else what is ``measured`` now."""
    path = options.out / "live" / f"{name.replace(' ', '-')}.json"
    path.parent.mkdir(exist_ok=True)
    if not (options.resume and path.exists()):
        print(f"measuring: {name}", file=sys.stderr)
        path.write_text(json.dumps(measured()) + "\n")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def relive(manifest: Manifest, cell: LiveCell, options: argparse.Namespace) -> Relived | None:
    """The recorded frames of a cell that was answered with ``finish``, answered anew."""
    name = file_name(cell.condition, cell.overrun, cell.priority, cell.budget_ms, options.live_frames)
    path = options.out / "live" / f"{name}.jsonl"
    if cell.overrun != "finish" or not path.exists():
        return None
    found = compare(manifest, recorded(read_recording(str(path)), None, RATE, 0), cell.budget_ms, "finish")
    return Relived(cell.condition, cell.budget_ms, found[EDGEKIT].late, found[MEAN].late)


def file_name(condition: str, overrun: str, priority: str, budget_ms: float, frames: int) -> str:
    """Under which a live cell and its recording are kept."""
    return f"{condition}-{overrun}-{priority}-{budget_ms:g}-{frames}".replace(" ", "-")


def _settings(options: argparse.Namespace) -> dict[str, object]:
    kept = ("quick", "live", "frames", "live_frames", "live_budgets", "threads", "spread")
    return {name: getattr(options, name) for name in kept} | {"seed": 0, "own": options.bundle is not None}


if __name__ == "__main__":
    sys.exit(main())
