"""The arbiter against sharing by halves: python -m benchmarks.arbiter [--live] [--quick] [--out FILE].

Two networks, AnyNet with the shipped weights and an MSDNet, share budgets. Simulated from the stages' durations measured here,
on a virtual clock, over budgets and conditions; with --live also on this machine, which must be idle otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import edgekit
from benchmarks.machine import describe
from edgekit.errors import OptionError
from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.runtime import Arbiter, Share
from edgekit.runtime.arbiter.members import Terms
from edgekit.runtime.arbiter.simulated import SharedOutcomes, SimulatedNetwork, arbitrate, best, in_turns
from edgekit.runtime.arbiter.worth import utilities_of
from edgekit.runtime.device.priority import Priority
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.workload import QUIET, Conditions, Every, modelled

SIZE = (368, 1232)
RATE = 10.0
CONDITIONS: Mapping[str, Conditions] = {
    "quiet": QUIET,
    "a neighbour switching on and off": Conditions(neighbour=Every(1.8, 50)),
    "a neighbour, outliers and pauses": Conditions(
        neighbour=Every(1.8, 50), outliers=Every(5.0, 0.002), idle=Every(1.5, 200)
    ),
}
DEPTH, SIGNS = "depth", "signs"
# The user's utilities of the classifier, whose weights are random here: what published multi-exit classifiers reach.
UTILITIES = {DEPTH: None, SIGNS: [0.6, 0.75, 0.85, 0.93, 1.0]}
CLASSIFIER = MSDNetOptions(
    data="cifar10", num_classes=10, nBlocks=5, base=4, step=2, stepmode="even", nScales=3, nChannels=16, growthRate=6,
    grFactor=(1, 2, 4), bnFactor=(1, 2, 4), bottleneck=True, prune="max",
)  # fmt: skip
# Means over thousands of frames that differ by less are of one answer more or less.
SAME = 1e-3
NO_MORE = "equal: no set of exits is worth more"
NOTHING = "equal: no exit fits"


@dataclass(frozen=True)
class Cell:
    """One budget under one condition: mean utility a frame of each way to share it, and late frames."""

    condition: str
    budget_ms: float
    frames: int
    arbiter: float
    halves: float
    first_then_rest: float | None
    oracle: float | None
    late: int
    late_halves: int
    verdict: str  # of the arbiter: see `verdict`
    worst_ms: float | None = None  # live: after the deadline, of the latest frame
    worst_halves_ms: float | None = None


def verdict(arbiter: float, halves: float, most: float) -> str:
    """How a cell went; ``most`` is what nobody can be above: of all sets of exits in every frame the best that fits, or all there is."""
    if arbiter > halves + SAME:
        return "higher"
    if arbiter < halves - SAME:
        return "lower"
    if halves < most - SAME:
        return "equal"
    return NO_MORE if most > 0 else NOTHING


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, simulate and print; 1 where a cell is late, or lower or equal though somebody could have more."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.arbiter", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="few frames and budgets: shows that it works, proves nothing"
    )
    parser.add_argument(
        "--live", action="store_true", help="also on this machine, which must be idle otherwise"
    )
    parser.add_argument("--frames", type=int, help="of a simulated cell; default 2000")
    parser.add_argument("--live-frames", type=int, help="of a live cell and way to share; default 200")
    parser.add_argument(
        "--live-priority", choices=["normal", "realtime"], help="only this one's live cells; default: both"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("arbiter.json"))
    options = parser.parse_args(arguments)
    frames = options.frames or (200 if options.quick else 2000)
    live_frames = options.live_frames or (20 if options.quick else 200)
    with tempfile.TemporaryDirectory() as scratch:
        bundles = export(Path(scratch))
        with ExitStack() as stack:
            sessions = opened(stack, bundles, options.threads, "normal")
            measured = {
                name: durations(session, 20 if options.quick else 200) for name, session in sessions.items()
            }
            cells = simulated(sessions, measured, frames, 4 if options.quick else 12)
        lived: list[Cell] = []
        for priority in priorities(options.live_priority) if options.live else ():
            with ExitStack() as stack:
                lived += live(
                    opened(stack, bundles, options.threads, priority), measured, live_frames, priority
                )
    report = {
        "machine": describe(options.threads),
        "settings": {"frames": frames, "live_frames": live_frames, "size": SIZE, "rate": RATE, "utilities": UTILITIES,
                     "networks": {DEPTH: "anynet, shipped weights", SIGNS: "msdnet, random weights, 5 exits"}},
        "measured_median_ms": {name: {stage: float(np.median(took)) for stage, took in its.items()} for name, its in measured.items()},
        "simulated": [asdict(cell) for cell in cells],
        "live": [asdict(cell) for cell in lived],
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    for title, found in (("simulated", cells), ("live", lived)):
        print("\n".join(table(title, found)))
    urgent = [cell for cell in lived if "realtime" in cell.condition]
    return int(
        any(cell.verdict not in ("higher", NO_MORE, NOTHING) or cell.late for cell in [*cells, *urgent])
    )


def priorities(only: str | None) -> list[str]:
    """Those of live cells; realtime is left out, and said, where this process may not have it."""
    wanted = ["realtime", "normal"] if only is None else [only]
    if "realtime" in wanted:
        try:
            Priority("realtime")
        except OptionError as error:
            print(f"realtime is left out: {error}", file=sys.stderr)
            wanted.remove("realtime")
    return wanted


def opened(stack: ExitStack, bundles: Mapping[str, Path], threads: int, priority: str) -> dict[str, Session]:
    """A session of each bundle, which ``stack`` closes."""
    return {
        name: stack.enter_context(Session.open(path, threads=threads, priority=priority))
        for name, path in bundles.items()
    }


def export(folder: Path) -> dict[str, Path]:
    """The two bundles; the classifier's weights are random, which its durations do not depend on."""
    depth, signs = folder / "depth.edgekit", folder / "signs.edgekit"
    edgekit.export(model="anynet", target="cpu", size=SIZE, out=str(depth))
    torch.manual_seed(0)
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in MSDNet(CLASSIFIER).state_dict().items()}},
        folder / "net.pth",
    )
    edgekit.export(model="msdnet", target="cpu", checkpoint=str(folder / "net.pth"), out=str(signs))
    return {DEPTH: depth, SIGNS: signs}


def durations(session: Session, runs: int) -> dict[str, tuple[float, ...]]:
    """Every stage's ms in ``runs`` frames without a budget."""
    inputs = session.golden()[0]
    results = [
        session.infer(budget_ms=None, overrun="return", reuse=False, **inputs) for _ in range(runs + 5)
    ][5:]
    return {stage.name: tuple(result.stage_ms[stage.name] for result in results) for stage in session.stages}


def budgets(measured: Mapping[str, Mapping[str, Sequence[float]]], number: int) -> list[float]:
    """From half of the cheapest first stage to three times all stages of both."""
    medians = [[float(np.median(took)) for took in its.values()] for its in measured.values()]
    least, most = 0.5 * min(its[0] for its in medians), 3.0 * sum(map(sum, medians))
    return [round(float(budget), 2) for budget in np.geomspace(least, most, number)]


def simulated(
    sessions: Mapping[str, Session],
    measured: Mapping[str, Mapping[str, Sequence[float]]],
    frames: int,
    number: int,
) -> list[Cell]:
    """All cells of the sweep."""
    cells = []
    for condition, conditions in CONDITIONS.items():
        networks = [
            SimulatedNetwork(
                name, session.manifest,
                modelled([(one.name, one.exit is not None) for one in session.stages], measured[name], frames, RATE, seed, conditions),
                Terms(utilities=UTILITIES[name]),
            )
            for seed, (name, session) in enumerate(sessions.items())
        ]  # fmt: skip
        for budget in budgets(measured, number):
            ours, halves = arbitrate(networks, budget), in_turns(networks, budget)
            rest, oracle = in_turns(networks, budget, halves=False), best(networks, budget)
            cells.append(_cell(condition, budget, ours, halves, rest, float(oracle.mean())))
    return cells


def live(
    sessions: Mapping[str, Session],
    measured: Mapping[str, Mapping[str, Sequence[float]]],
    frames: int,
    priority: str,
) -> list[Cell]:
    """The same on this machine: arbiter and halves take turns, frame by frame, so that both see the same machine.

    Whoever asks for a realtime answer is in real time himself, as a control loop is: else the processor may be another's in the
    very moment in which the answer is there.
    """
    caller = Priority(priority)
    inputs = {name: session.golden()[0] for name, session in sessions.items()}
    worth = {name: utilities_of(session.manifest, UTILITIES[name]) for name, session in sessions.items()}
    whole = sum(float(np.median(took)) for its in measured.values() for took in its.values())
    cells = []
    shares = {name: Share(session, utilities=UTILITIES[name]) for name, session in sessions.items()}
    with Arbiter(shares, priority=priority) as arbiter:
        for _ in range(10):
            arbiter.infer(1e4, None, **inputs)
        for share in (0.4, 0.7, 1.0):
            budget = round(share * whole, 2)
            ours, halves, over, over_halves = [], [], [], []
            for _ in range(frames):
                time.sleep(0.02)  # a stage that was cancelled is over by then
                with caller.waiting():
                    begun = time.perf_counter()
                    shared = arbiter.infer(budget, None, **inputs)
                    over.append((time.perf_counter() - begun) * 1e3 - budget)
                ours.append(shared.utility)
                time.sleep(0.02)
                sum_of_halves = 0.0
                with caller.waiting():
                    begun = time.perf_counter()
                    for name, session in sessions.items():
                        result = session.infer(
                            budget_ms=budget / len(sessions), overrun="return", reuse=False, **inputs[name]
                        )
                        sum_of_halves += worth[name][result.stage] if result.stage is not None else 0.0
                    over_halves.append((time.perf_counter() - begun) * 1e3 - budget)
                halves.append(sum_of_halves)
            mean, mean_halves = float(np.mean(ours)), float(np.mean(halves))
            cells.append(Cell(f"live, {priority} priority", budget, frames, mean, mean_halves, None, None,
                              int(np.sum(np.array(over) > 0)), int(np.sum(np.array(over_halves) > 0)),
                              verdict(mean, mean_halves, float(len(sessions))), max(over), max(over_halves)))  # fmt: skip
    return cells


def table(title: str, cells: Sequence[Cell]) -> list[str]:
    """Rows for people, and how many cells went which way."""
    if not cells:
        return []
    lines = [
        f"{title}: mean utility a frame, of 2",
        "| condition | budget ms | arbiter | halves | first, then rest | most possible | late | late halves | |",
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for cell in cells:
        oracle = "-" if cell.oracle is None else f"{cell.oracle:.3f}"
        rest = "-" if cell.first_then_rest is None else f"{cell.first_then_rest:.3f}"
        lines.append(
            f"| {cell.condition} | {cell.budget_ms:.1f} | {cell.arbiter:.3f} | {cell.halves:.3f} | {rest} | {oracle} | {cell.late}"
            f" | {cell.late_halves} | {cell.verdict}{_worst(cell)} |"
        )
    counted = {
        one: sum(cell.verdict == one for cell in cells)
        for one in dict.fromkeys(cell.verdict for cell in cells)
    }
    lines.append("; ".join(f"{number} cells {name}" for name, number in counted.items()))
    if any(cell.oracle is not None for cell in cells):
        lines.append(
            "most possible: of all sets of exits the best, every one tried in every frame, all durations known"
        )
    return lines


def _worst(cell: Cell) -> str:
    """How late the latest frame was, where any was."""
    return f"; latest by {cell.worst_ms:.2f} ms" if cell.late and cell.worst_ms is not None else ""


def _cell(
    condition: str,
    budget: float,
    ours: SharedOutcomes,
    halves: SharedOutcomes,
    rest: SharedOutcomes,
    oracle: float,
) -> Cell:
    means = [float(one.utility.mean()) for one in (ours, halves, rest)]
    return Cell(condition, budget, len(ours.utility), means[0], means[1], means[2], oracle, int(ours.late.sum()),
                int(halves.late.sum()), verdict(means[0], means[1], oracle))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
