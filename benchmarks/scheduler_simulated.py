"""The simulated part of the scheduler's benchmark: everybody on the same frames, under every condition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scheduler_ceiling import Ceiling, ceiling
from benchmarks.scheduler_desk import Desk
from benchmarks.scheduler_figures import BOLDER, BOLDLY, SWITCHING, UTILITY
from benchmarks.scheduler_live import RATE
from edgekit.bundle import ExitSpec, Manifest
from edgekit.runtime.simulation.outcomes import Figures, recovery_beside
from edgekit.runtime.simulation.recording import Recording
from edgekit.runtime.simulation.simulate import Outcomes
from edgekit.runtime.simulation.strategies import EDGEKIT, accuracies, answer_all, compare, strategies
from edgekit.runtime.simulation.workload import (
    QUIET,
    Conditions,
    Every,
    Slowdown,
    Workload,
    modelled,
    recorded,
)

PAIRS = Path(__file__).resolve().parent / "results" / "anynet.json"
SIMULATED: Mapping[str, Conditions] = {
    "quiet": QUIET,
    "a neighbour switching on and off": Conditions(neighbour=Every(1.8, 50)),
    "a neighbour, outliers and pauses": Conditions(
        neighbour=Every(1.8, 50), outliers=Every(5.0, 0.002), idle=Every(1.5, 200)
    ),
}
STEP = Slowdown(2.0, 200, 400)


@dataclass(frozen=True)
class SimulatedCell:
    """One strategy at one budget under one condition."""

    condition: str
    overrun: str
    budget_ms: float
    strategy: str
    figures: Figures


@dataclass(frozen=True)
class Recovery:
    """Frames until answers have settled after everything took twice as long, and after that was over; None: never."""

    overrun: str
    budget_ms: float
    after_step: int | None
    after_end: int | None


def with_accuracies(manifest: Manifest) -> Manifest:
    """AnyNet's manifest with what its exits were measured at on KITTI's pairs: the share of pixels that are right (1 - D1)."""
    if manifest.family != "anynet" or any(one.accuracy is not None for one in manifest.exits.values()):
        return manifest
    weights = "shipped" if manifest.provenance.get("checkpoint") == "shipped" else "kitti"
    measured = json.loads(PAIRS.read_text())["accuracy"]
    pairs = [found for pair, found in measured.items() if pair.startswith("kitti2015")]
    exits = {
        stage.name: ExitSpec(
            accuracy=1 - float(np.mean([pair[f"{weights} {stage.name}"]["d1"] for pair in pairs])) / 100
        )
        for stage in manifest.stages
    }
    return manifest._replace(exits=exits)


def accuracies_of(manifest: Manifest) -> tuple[float, ...] | None:
    """The exits' accuracies in order, if all are known."""
    return accuracies(manifest, [stage.name for stage in manifest.stages if stage.exit is not None])


def simulate_all(
    manifest: Manifest,
    measured: Mapping[str, Sequence[float]],
    recording: Recording | None,
    given: Sequence[float],
    frames: int,
    desk: Desk,
) -> list[SimulatedCell]:
    """Every strategy at every budget, under every condition and in both modes.

    The frames of ``recording`` come as they came: what stages of a frame, and frames after each other, have in common is what
    can be predicted. Without one, every stage of every frame is drawn anew.
    """
    cells = []
    for condition in SIMULATED:
        work, budgets = frames_under(condition, manifest, measured, recording, given, frames)
        for overrun in ("return", "finish"):
            for budget in budgets:
                found = desk.kept(
                    f"simulated-{condition}-{overrun}-{budget:g}-{frames}",
                    lambda: _answers(condition, manifest, work, budget, overrun),  # noqa: B023
                )
                cells += [
                    SimulatedCell(condition, overrun, budget, name, Figures(**one))
                    for name, one in ({} if found is None else found).items()
                ]
    return cells


def _answers(
    condition: str, manifest: Manifest, work: Workload, budget: float, overrun: str
) -> dict[str, dict[str, Any]]:
    found = compare(manifest, work, budget, overrun)
    if overrun == "finish" and SWITCHING in condition:
        found[BOLDER] = compare(manifest, work, budget, overrun, BOLDLY)[EDGEKIT]
    return {name: one._asdict() for name, one in found.items()}


def find_ceilings(
    manifest: Manifest,
    measured: Mapping[str, Sequence[float]],
    recording: Recording | None,
    given: Sequence[float],
    frames: int,
) -> list[Ceiling]:
    """What waiting for stages could reach at most on the frames that are simulated; nothing where some stage has no exit."""
    if any(stage.exit is None for stage in manifest.stages):
        return []
    under = {part: next(name for name in SIMULATED if part in name) for part in UTILITY}
    found = {
        part: frames_under(name, manifest, measured, recording, given, frames) for part, name in under.items()
    }
    return [ceiling(under[part], work, budgets, UTILITY[part]) for part, (work, budgets) in found.items()]


def frames_under(
    condition: str,
    manifest: Manifest,
    measured: Mapping[str, Sequence[float]],
    recording: Recording | None,
    given: Sequence[float],
    frames: int,
) -> tuple[Workload, list[float]]:
    """The frames that are simulated under ``condition``, and the budgets with what a frame takes before its stages."""
    if recording is None:
        stages = [(stage.name, stage.exit is not None) for stage in manifest.stages]
        return modelled(stages, measured, frames, rate(measured), 0, SIMULATED[condition]), list(given)
    work = recorded(recording, frames, rate(measured), 0, SIMULATED[condition])
    return work, [round(budget + float(np.median(work.ready_ms)), 2) for budget in given]


def rate(measured: Mapping[str, Sequence[float]]) -> float:
    """Frames a second that even a slowed network keeps up with, so that utility compares frames and not queues."""
    return min(RATE, 1e3 / (3 * sum(float(np.median(took)) for took in measured.values())))


def recover(
    manifest: Manifest, measured: Mapping[str, Sequence[float]], budget: float, overrun: str
) -> Recovery:
    """How many frames a step to twice the durations and its end cost, beside one who never knew it otherwise."""
    stages = [(stage.name, stage.exit is not None) for stage in manifest.stages]

    def answered(*slowdowns: Slowdown) -> Outcomes:
        work = modelled(stages, measured, 600, rate(measured), 0, Conditions(slowdowns=slowdowns))
        return answer_all(manifest, work, budget, strategies(stages, overrun)[EDGEKIT])

    stepped, always, never, end = (
        answered(STEP),
        answered(STEP._replace(first=0, end=None)),
        answered(),
        STEP.end or 0,
    )
    after_step = recovery_beside(stepped, always, STEP.first, end)
    return Recovery(overrun, budget, after_step, recovery_beside(stepped, never, end, 600))
