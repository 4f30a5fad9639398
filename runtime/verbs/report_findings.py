"""What the page is made of: one bundle measured on this device, at every exit, at every budget, and frame by frame."""

import argparse
import time
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Bundle, read_bundle
from edgekit.disparity import DisparityErrors, disparity_errors
from edgekit.errors import BackendError
from edgekit.runtime.confidence import softmax
from edgekit.runtime.measurement import model_summaries
from edgekit.runtime.page.matching import match
from edgekit.runtime.report import Progress
from edgekit.runtime.result import Result
from edgekit.runtime.simulation.strategies import compare
from edgekit.runtime.simulation.workload import QUIET, Conditions, Every, modelled
from edgekit.runtime.statistics import Summary, summarize
from edgekit.runtime.trace import Timeline, of_result
from edgekit.runtime.verbs import bench
from edgekit.runtime.verbs.bench_report import Report
from edgekit.runtime.verbs.inputs import golden_pictures, read_inputs
from edgekit.runtime.verbs.sessions import Sessions, open_session
from edgekit.runtime.verbs.simulate_report import Cell

BUDGETS = 12  # of a sweep
SWEPT = 500  # frames at each
NEIGHBOUR = Conditions(neighbour=Every(1.8, 50))
CONDITIONS = {"quiet": QUIET, "a neighbour that comes and goes (1.8x slower, 50 frames each)": NEIGHBOUR}
SHOWN = 12  # frames of the timeline
WRONG, KNOWN = "D1: wrong pixels, %", "accuracy"  # what exits are compared by


class ExitFound(NamedTuple):
    """One exit: its times in ms end to end, what it answered, and what is known of how good that is.

    Attributes:
        network: the one that it is of, where the bundle holds several.
        accuracy: what the bundle knows, in its own unit (a share for classifiers); ``source`` says from where.
        errors: of this answer, where the truth was given.
        away: mean absolute difference from the last exit's answer (px for stereo, probability for classifiers).
    """

    name: str
    network: Optional[str]
    times: Summary
    output: np.ndarray
    accuracy: Optional[float]
    source: Optional[str]
    errors: Optional[DisparityErrors]
    away: float


class Findings(NamedTuple):
    """Everything that the page shows of one bundle.

    Attributes:
        name: how the page calls it.
        inputs: the pictures (H, W, 3) or tensors that were answered, by name; of the last network, where there are several.
        sweep: simulated from the measured durations, by condition: figures at every budget.
        matching: what OpenCV's semi-global matching makes of the same pair: its ms, and its errors; None where the truth was
            not given, or OpenCV is not installed.
        budget_ms: of the timeline's frames.
    """

    name: str
    bundle: Bundle
    report: Report
    inputs: Mapping[str, np.ndarray]
    exits: Tuple[ExitFound, ...]
    matching: Optional[Tuple[float, DisparityErrors]]
    sweep: Mapping[str, Tuple[Cell, ...]]
    budget_ms: float
    timeline: Tuple[Timeline, ...]


def find(args: argparse.Namespace, path: str, name: str, truth: Optional[np.ndarray]) -> Findings:
    """Measure the bundle at ``path``: nothing of it is kept in the bundle.

    Args:
        args: of the verb; ``budget_ms`` None takes one that lies between the last two exits.
        truth: disparity (H, W) px of the pictures that were given.

    Raises:
        BackendError: a stage failed.
    """
    bundle = read_bundle(path)
    inputs = read_inputs(args, bundle.manifest)
    answers: List[Result] = []

    def answer(sessions: Sessions) -> None:
        for session in sessions.each:
            given = inputs or golden_pictures(bundle, session.network)
            answers.extend(session.anytime(budget_ms=None, **given))

    measured = bench.bench(bench_options(args, path), bundle, answer)
    exits = exits_of(bundle, measured, answers, truth)
    ends = sorted(one.times.p50 for one in exits)
    budget = args.budget_ms or (sum(ends[-2:]) / 2 if len(ends) > 1 else 1.2 * ends[0])
    shown = inputs or golden_pictures(
        bundle, bundle.manifest.networks[-1].name if bundle.manifest.networks else None
    )
    simulated, timeline = sweep(bundle, measured, args.rate), run_frames(args, bundle, shown, budget)
    matched = None if truth is None else match(inputs["left"], inputs["right"])
    matching = None if truth is None or matched is None else (matched[0], disparity_errors(matched[1], truth))
    return Findings(name, bundle, measured, shown, exits, matching, simulated, budget, timeline)


def bench_options(args: argparse.Namespace, path: str) -> argparse.Namespace:
    """The options of `edgekit bench` at their defaults, but for those that the two verbs share."""
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    options = parser.parse_args([])
    for name in (
        "left",
        "right",
        "image",
        "runs",
        "warmup",
        "backend",
        "provider",
        "threads",
        "no_spin",
        "priority",
        "energy_seconds",
        "root",
    ):
        setattr(options, name, getattr(args, name))
    options.bundle, options.no_profile = path, True
    return options


def exits_of(
    bundle: Bundle, measured: Report, found: Sequence[Result], truth: Optional[np.ndarray]
) -> Tuple[ExitFound, ...]:
    """What every exit of every network made of the pictures, beside its times.

    Raises:
        BackendError: a stage failed.
    """
    for result in found:
        if result.error is not None or result.output is None:
            raise BackendError(f"{bundle.path} gave no answer: {result.error or result.reason}")
    stereo = bundle.manifest.task == "stereo"
    outputs = [
        np.asarray(result.output) if stereo else softmax(np.asarray(result.output)) for result in found
    ]
    exits = []
    for result, output in zip(found, outputs):
        stage = str(result.stage)
        known = bundle.manifest.exits.get(stage)
        exits.append(
            ExitFound(
                name=stage,
                network=bundle.manifest.network_of(stage),
                times=summarize([frame.exit_ms[stage] for frame in measured.frames]),
                output=output,
                accuracy=None if known is None else known.accuracy,
                source=None if known is None else known.source,
                errors=None if truth is None else disparity_errors(output, truth),
                away=float(np.nanmean(np.abs(output - outputs[-1])))
                if output.shape == outputs[-1].shape
                else np.nan,
            )
        )
    return tuple(exits)


def sweep(bundle: Bundle, measured: Report, rate: float) -> Dict[str, Tuple[Cell, ...]]:
    """edgekit's scheduler, a mean-based one, every stage always, and the oracle, simulated from what was measured."""
    manifest = bundle.manifest
    stages = [(stage.name, stage.exit is not None) for stage in manifest.stages]
    durations = {name: tuple(frame.stage_ms[name] for frame in measured.frames) for name, _ in stages}
    reached = sorted(one.p50 for one in model_summaries(measured.frames, measured.settings.networks).values())
    budgets = np.linspace(0.7 * reached[0], 1.6 * reached[-1], BUDGETS)
    progress = Progress("simulating budgets", BUDGETS * len(CONDITIONS))
    found = {}
    for number, (name, conditions) in enumerate(CONDITIONS.items()):
        workload = modelled(stages, durations, SWEPT, rate, 0, conditions)
        cells = []
        for done, budget in enumerate(budgets):
            cells.append(Cell(float(budget), compare(manifest, workload, float(budget))))
            progress.at(number * BUDGETS + done + 1)
        found[name] = tuple(cells)
    return found


def run_frames(
    args: argparse.Namespace, bundle: Bundle, inputs: Mapping[str, np.ndarray], budget: float
) -> Tuple[Timeline, ...]:
    """Frames that come at the rate that was asked for, each within the budget, after a few to warm up."""
    with open_session(args, bundle.path) as session:
        found: List[Timeline] = []
        begin = time.perf_counter()
        for frame in range(2 * SHOWN):
            time.sleep(max(0.0, begin + frame / args.rate - time.perf_counter()))
            result = session.infer(budget_ms=budget, overrun="return", reuse=False, **inputs)
            found.append(of_result(result))
    return tuple(found[SHOWN:])


def quality(exits: Sequence[ExitFound]) -> Tuple[str, str, List[Optional[float]]]:
    """What the exits are compared by: its name with unit, whether ``lower`` or ``higher`` is better, and a value an exit.

    D1 where the truth was given, else accuracies where the bundle knows all of them, else the difference from the last exit.
    """
    errors = [one.errors for one in exits]
    if all(one is not None for one in errors):
        return WRONG, "lower", [100.0 * one.d1 for one in errors if one is not None]
    if all(one.accuracy is not None for one in exits):
        return KNOWN, "higher", [one.accuracy for one in exits]
    unit = "px" if exits[-1].output.ndim == 2 else "probability"
    return f"away from the last exit, {unit}", "lower", [one.away for one in exits]
