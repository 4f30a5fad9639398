"""Choosing among equal graphs by measuring them on this machine's ONNX Runtime: honest about noise, and written down.

Candidates take turns, so that what else the machine does falls on all of them alike; a tie keeps the simpler one.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from torch import Tensor, nn

from edgekit.export import lowering
from edgekit.export.convert import convert, serialize
from edgekit.export.lowering import PLAIN, Form
from edgekit.export.passes import simplify
from edgekit.export.staging import StageRun

TIE = 0.98  # a candidate replaces a simpler one if it takes less than this share of its time,
AGREED = 0.75  # and is faster in this share of the rounds
MEASURED = "measured"  # the variant that is made of the winners
ROUNDS, RUNS = 9, 5
BUDGET = 0.25  # s a candidate: slow ones take their turns with fewer runs

Run = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """One candidate's time: ``part`` of a stage (or ``whole``), its form, the median of the rounds' fastest runs in ms."""

    stage: str
    part: str
    form: str
    ms: float
    chosen: bool


@dataclass(frozen=True)
class Choice:
    """What measuring a stage found: the variant to start with, the graph of the combination if there is one, and the times."""

    variant: str
    combined: bytes | None
    rows: tuple[Measured, ...]


def take_turns(
    candidates: Mapping[str, Run],
    rounds: int = ROUNDS,
    runs: int = RUNS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """The fastest run of every round in ms, by candidate; each runs once unmeasured before its turn."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            run()
            best, spent = float("inf"), 0.0
            for _ in range(runs):
                begun = clock()
                run()
                took = clock() - begun
                best, spent = min(best, took), spent + took
                if spent > BUDGET / rounds:
                    break
            times[name].append(best * 1e3)
    return times


def choose(times: Mapping[str, Sequence[float]]) -> str:
    """The candidate to take; they come in order of simplicity, and a tie keeps the earlier one.

    A later candidate wins over the one kept so far when it is clearly faster: by more than 1 - `TIE` in the median over the
    rounds, and in `AGREED` of them.
    """
    names = list(times)
    kept = names[0]
    for name in names[1:]:
        ratios = [new / old for new, old in zip(times[name], times[kept], strict=True)]
        if statistics.median(ratios) < TIE and sum(ratio < 1 for ratio in ratios) >= AGREED * len(ratios):
            kept = name
    return kept


def measure_stage(run: StageRun, graphs: Mapping[str, bytes], threads: int | None = None) -> Choice:
    """Time the forms of the stage's parts, combine the winners, and time the combination against every whole variant.

    Args:
        run: the stage, with tensors to time it on.
        graphs: its variants, the simplest first.
        threads: of ONNX Runtime; by default as many as this process may use.
    """
    threads = threads or usable_threads()
    shapes = {name: tuple(tensor.shape) for name, tensor in run.inputs.items()}
    found = lowering.parts(run.stage.module, shapes)
    rows: list[Measured] = []
    combined: bytes | None = None
    candidates = {name: _session(graph, run.inputs, threads) for name, graph in graphs.items()}
    if found is not None:
        winners: dict[str, str] = {}
        for part, forms in found.forms.items():
            inputs = {"x": found.inputs[part]}
            sessions = {
                form: _session(_written(module, inputs, ["y"], part), inputs, threads)
                for form, module in forms.items()
            }
            times = take_turns(sessions)
            winners[part] = choose(times)
            rows += _rows(run.stage.name, part, times, winners[part])
        combined = _written(
            found.build(winners), run.inputs, run.stage.outputs, f"{run.stage.name}.{MEASURED}"
        )
        candidates[MEASURED] = _session(combined, run.inputs, threads)
    times = take_turns(candidates)
    variant = choose(times)
    return Choice(variant, combined, (*rows, *_rows(run.stage.name, "whole", times, variant)))


def measure(
    runs: Sequence[StageRun], graphs: Mapping[str, dict[str, bytes]], forms: Mapping[str, dict[str, Form]]
) -> tuple[dict[str, str], list[Measured]]:
    """Choose for every stage of float32 throughout; a combination that wins joins ``graphs`` and ``forms`` as ``measured``.

    Returns the variant to start with by stage, and every time taken; nothing for stages that leave no choice.
    """
    chosen: dict[str, str] = {}
    rows: list[Measured] = []
    for run in runs:
        name = run.stage.name
        shapes = {key: tuple(tensor.shape) for key, tensor in run.inputs.items()}
        plain = all(form == PLAIN for form in forms[name].values())
        if not plain or (len(graphs[name]) < 2 and lowering.parts(run.stage.module, shapes) is None):
            continue
        choice = measure_stage(run, graphs[name])
        if choice.variant == MEASURED and choice.combined is not None:
            graphs[name][MEASURED], forms[name][MEASURED] = choice.combined, PLAIN
        chosen[name] = choice.variant
        rows += choice.rows
    return chosen, rows


def record(rows: Sequence[Measured]) -> dict[str, object]:
    """What a bundle keeps of a measurement: on what it was taken, and every time."""
    return {
        "processor": processor(),
        "threads": str(usable_threads()),
        "backend": f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider",
        "clock": "monotonic, in process; median of the rounds' fastest runs",
        "times": [asdict(row) for row in rows],
    }


def table(rows: Sequence[Measured]) -> list[str]:
    """The times as lines of text: one a part, its forms from the fastest on, the chosen one marked."""
    parts: dict[tuple[str, str], list[Measured]] = {}
    for row in rows:
        parts.setdefault((row.stage, row.part), []).append(row)
    width = max(len(f"{stage} {part}") for stage, part in parts)
    lines = []
    for (stage, part), found in parts.items():
        shown = (
            f"{row.form}{'*' * row.chosen} {row.ms:.3f}" for row in sorted(found, key=lambda row: row.ms)
        )
        lines.append(f"{f'{stage} {part}':{width}}  {'  '.join(shown)}")
    return lines


def usable_threads() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor(path: str = "/proc/cpuinfo") -> str:
    """The processor's model as Linux names it, ``unknown`` elsewhere."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path(path).read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return "unknown"
    return found[1].strip() if found else "unknown"


def _rows(stage: str, part: str, times: Mapping[str, Sequence[float]], chosen: str) -> list[Measured]:
    return [Measured(stage, part, form, float(np.median(ms)), form == chosen) for form, ms in times.items()]


def _written(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], name: str) -> bytes:
    return serialize(simplify(convert(module, inputs, outputs, name)))


def _session(graph: bytes, inputs: Mapping[str, Tensor], threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # As the runtime has it: idle threads slow the next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feeds = {entry.name: inputs[entry.name].numpy() for entry in session.get_inputs()}
    return lambda: session.run(None, feeds)
