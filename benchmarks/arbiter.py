"""The arbiter against sharing by halves: python -m benchmarks.arbiter [--live] [--quick] [--out FILE].

Two networks, AnyNet with the shipped weights and an MSDNet, share budgets. Simulated from the stages' durations measured here,
on a virtual clock, over budgets and conditions; with --live also on this machine, which must be idle otherwise.

Which budgets is a rule, fixed before anything is run: see `budgets`. A frame that is late counts nothing, for everybody.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import edgekit
from benchmarks.arbiter_cells import Cell, table
from benchmarks.arbiter_live import end_to_end, live, opened
from benchmarks.machine import describe
from edgekit.errors import OptionError
from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.runtime.arbiter.members import Terms
from edgekit.runtime.arbiter.simulated import SharedOutcomes, SimulatedNetwork, arbitrate, best, in_turns
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, simulate and print; 1 where a cell is late, or not higher than halves."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.arbiter", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="few frames and budgets: shows that it works, proves nothing"
    )
    parser.add_argument(
        "--live", action="store_true", help="also on this machine, which must be idle otherwise"
    )
    parser.add_argument("--frames", type=int, help="of a simulated cell; default 1000")
    parser.add_argument("--live-frames", type=int, help="of a live cell and way to share; default 60")
    parser.add_argument(
        "--live-priority", choices=["normal", "realtime"], help="only this one's live cells; default: both"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("arbiter.json"))
    options = parser.parse_args(arguments)
    frames = options.frames or (200 if options.quick else 1000)
    live_frames = options.live_frames or (20 if options.quick else 60)
    with tempfile.TemporaryDirectory() as scratch:
        bundles = export(Path(scratch))
        with opened(bundles, options.threads, "normal") as sessions:
            measured = {
                name: durations(session, 20 if options.quick else 200) for name, session in sessions.items()
            }
            cells = simulated(
                sessions, measured, frames, budgets(stages_alone(measured), 3 if options.quick else 12)
            )
        lived: list[Cell] = []
        for priority in priorities(options.live_priority) if options.live else ():
            both = opened(bundles, options.threads, priority), opened(bundles, options.threads, priority)
            with both[0] as ours, both[1] as theirs:
                ends = list(end_to_end(theirs, 30).values())
                among = budgets(ends, 2 if options.quick else 5)
                lived += live(ours, theirs, UTILITIES, among, live_frames, priority)
    report = {
        "machine": describe(options.threads),
        "settings": {"frames": frames, "live_frames": live_frames, "size": SIZE, "rate": RATE, "utilities": UTILITIES,
                     "networks": {DEPTH: "anynet, shipped weights", SIGNS: "msdnet, random weights, 5 exits"}},
        "measured_median_ms": {name: {stage: float(np.median(took)) for stage, took in its.items()} for name, its in measured.items()},
        "simulated": [_json(cell) for cell in cells],
        "live": [_json(cell) for cell in lived],
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    urgent = [cell for cell in lived if cell.condition.endswith("realtime")]
    calm = [cell for cell in lived if cell not in urgent]
    for title, found in (
        ("simulated", cells),
        ("live, in real time", urgent),
        ("live, at normal priority", calm),
    ):
        print("\n".join(table(title, found)))
    return int(not all(cell.reached for cell in [*cells, *lived]))


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


def budgets(ends: Sequence[tuple[float, float]], number: int) -> list[float]:
    """``number`` budgets at equal ratios between the first exits of all networks and the point where halves finish everything.

    Below, not every network can have an answer, whoever shares; above, nobody can have more than halves. The ends themselves are
    left out: the first budget is half a ratio above the lower one. ``ends``: of each network, the ms to its first and last exit.
    """
    least, most = sum(first for first, _ in ends), len(ends) * max(last for _, last in ends)
    return [round(least * (most / least) ** ((k + 0.5) / number), 2) for k in range(number)]


def stages_alone(measured: Mapping[str, Mapping[str, Sequence[float]]]) -> list[tuple[float, float]]:
    """The ms to each network's first and last exit on the virtual clock, where nothing but stages takes time; medians."""
    medians = [[float(np.median(took)) for took in its.values()] for its in measured.values()]
    return [(its[0], sum(its)) for its in medians]


def simulated(
    sessions: Mapping[str, Session],
    measured: Mapping[str, Mapping[str, Sequence[float]]],
    frames: int,
    among: Sequence[float],
) -> list[Cell]:
    """All cells of the sweep, ``among`` being the budgets in ms."""
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
        for budget in among:
            ours, halves = arbitrate(networks, budget), in_turns(networks, budget)
            rest, oracle = in_turns(networks, budget, halves=False), best(networks, budget)
            cells.append(_cell(condition, budget, ours, halves, rest, float(oracle.mean())))
    return cells


def _cell(
    condition: str,
    budget: float,
    ours: SharedOutcomes,
    halves: SharedOutcomes,
    rest: SharedOutcomes,
    oracle: float,
) -> Cell:
    counted = [np.where(one.late, 0.0, one.utility) for one in (ours, halves, rest)]
    difference = counted[0] - counted[1]
    mean, mean_halves, mean_rest = (float(one.mean()) for one in counted)
    return Cell(
        condition, budget, len(difference), mean, mean_halves, float(ours.utility.mean()), float(halves.utility.mean()),
        float(difference.std() / np.sqrt(len(difference))), mean_rest, oracle, int(ours.late.sum()), int(halves.late.sum()),
    )  # fmt: skip


def _json(cell: Cell) -> dict[str, object]:
    return {**asdict(cell), "verdict": cell.verdict}


if __name__ == "__main__":
    sys.exit(main())
