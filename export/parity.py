"""Proof that the graphs compute what the network computes: stage by stage on the reference's own tensors, then as a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from torch import Tensor

from edgekit.errors import ExportError, ParityError
from edgekit.export.native import NATIVE, interpreter
from edgekit.export.staging import StageRun, exits_of
from edgekit.program import decode

Arrays = Mapping[str, np.ndarray]
SHARE = 0.999  # of the elements must be within the limit; the rest within the outer limit


@dataclass(frozen=True)
class Tolerance:
    """How far apart is the same.

    Attributes:
        limit: for 99.9 % of the elements; absolute with a unit, else relative to the largest magnitude of the reference.
        outer: for every element, relative to the range of the reference.
    """

    limit: float
    outer: float
    relative: bool


PIXELS = Tolerance(2e-2, 0.05, relative=False)  # px of disparity
RELATIVE = Tolerance(1e-3, 0.05, relative=True)  # logits, features
# Products in float16: pixels beside an edge of disparities fall to one side or the other. AnyNet's shipped weights: 99.9 % of
# the pixels keep within 1.3 to 1.7 px, and the root mean square is 0.1 px.
HALF_PIXELS = Tolerance(3.0, 0.1, relative=False)
HALF_RELATIVE = Tolerance(2e-2, 0.1, relative=True)


@dataclass(frozen=True)
class ParityRow:
    """One compared tensor.

    Attributes:
        stage: the stage that wrote it.
        variant: the graph that was run; ``chain: NAME`` after every stage before it ran as a graph too.
        tensor: its name.
        unit: of the three figures; ``relative`` where they are shares of the largest magnitude.
        typical: the error that 99.9 % of the elements keep within.
        worst: the largest error.
        limit: what ``typical`` may be.
        passed: whether both errors are within their limits.
    """

    stage: str
    variant: str
    tensor: str
    unit: str
    typical: float
    worst: float
    limit: float
    passed: bool


class Graphs:
    """Runs a stage's graphs in ONNX Runtime on the CPU, and its program in numpy."""

    def __init__(
        self, graphs: Mapping[str, Mapping[str, bytes]], shapes: Mapping[str, tuple[int, ...]] = {}
    ) -> None:
        self._graphs, self._shapes = graphs, shapes
        self._sessions: dict[tuple[str, str], onnxruntime.InferenceSession] = {}

    def run(self, stage: str, variant: str, tensors: Arrays) -> dict[str, np.ndarray]:
        """The graph's outputs by name.

        Raises:
            ExportError: ONNX Runtime refuses the graph.
        """
        if variant == NATIVE:
            return interpreter.run(
                decode(self._graphs[stage][variant], f"{stage}.{variant}"), tensors, self._shapes
            )
        session = self._session(stage, variant)
        feeds = {
            entry.name: _as_graph_holds(tensors[entry.name], entry.type) for entry in session.get_inputs()
        }
        names = [entry.name for entry in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))

    def _session(self, stage: str, variant: str) -> onnxruntime.InferenceSession:
        key = stage, variant
        if key not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            # Idle threads would slow the next stage
            options.add_session_config_entry("session.force_spinning_stop", "1")
            try:
                self._sessions[key] = onnxruntime.InferenceSession(
                    self._graphs[stage][variant], options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime's own exceptions share no base class
                raise ExportError(f"{stage}.{variant}: ONNX Runtime refuses the graph: {error}") from error
        return self._sessions[key]


def prove(
    runs: Sequence[StageRun],
    graphs: Mapping[str, Mapping[str, bytes]],
    chains: Mapping[str, Mapping[str, str]],
    exits: Mapping[str, Tensor],
    half: bool = False,
) -> list[ParityRow]:
    """Compare every variant of every stage, and whole chains of them, with the reference.

    Args:
        runs: the reference's stages on the inputs to compare on.
        graphs: ONNX bytes by stage and variant.
        chains: variant to take per stage, by the chain's name.
        exits: the uncut network's answers by stage.
        half: the graphs multiply in float16.

    Raises:
        ParityError: something differs; the message holds the table.
    """
    shapes = {name: tuple(tensor.shape) for run in runs for name, tensor in run.outputs.items()}
    runtime = Graphs(graphs, shapes)
    rows = [_cut_row(run, exits[run.stage.name]) for run in runs if run.stage.exit is not None]
    for run in runs:
        for variant in graphs[run.stage.name]:
            got = runtime.run(run.stage.name, variant, _arrays(run.inputs))
            rows += [
                compare(run, variant, name, got[name], run.outputs[name], half) for name in run.stage.outputs
            ]
    for chain, variants in chains.items():
        known = dict(_arrays(runs[0].inputs))
        for run in runs:
            known.update({name: _array(tensor) for name, tensor in run.inputs.items() if name not in known})
            known.update(runtime.run(run.stage.name, variants[run.stage.name], known))
            if run.stage.exit is not None:
                want = exits[run.stage.name]
                answer = known[run.stage.exit]
                rows.append(compare(run, f"chain: {chain}", run.stage.exit, answer, want, half))
    if not all(row.passed for row in rows):
        raise ParityError(
            "exported stages do not compute what the network computes:\n"
            + table(rows)
            + "\nThis is a fault of edgekit, or of "
            "a lowering or an emitter of your own; --no-parity writes the bundle all the same"
        )
    return rows


def compare(
    run: StageRun, variant: str, name: str, got: np.ndarray, reference: Tensor, half: bool = False
) -> ParityRow:
    """One tensor against the reference's."""
    unit = run.stage.units.get(name)
    pixels, relative = (HALF_PIXELS, HALF_RELATIVE) if half else (PIXELS, RELATIVE)
    tolerance = pixels if unit == "px" else relative
    want = _array(reference).astype(np.float64)
    if got.shape != want.shape:
        raise ParityError(
            f"{run.stage.name}.{variant}: {name} has shape {got.shape}, the reference {want.shape}"
        )
    error = np.asarray(np.abs(got.astype(np.float64) - want))  # a tensor without sides would be a number
    error[~np.isfinite(error)] = np.inf
    scale = max(float(np.abs(want).max(initial=0)), 1e-12) if tolerance.relative else 1.0
    spread = max(float(np.ptp(want)) if want.size else 0.0, 1e-12)
    typical = float(np.quantile(error, SHARE, method="higher")) / scale if error.size else 0.0
    worst = float(error.max(initial=0))
    passed = typical <= tolerance.limit and worst <= max(tolerance.outer * spread, tolerance.limit * scale)
    shown = "relative" if tolerance.relative else str(unit)
    return ParityRow(run.stage.name, variant, name, shown, typical, worst / scale, tolerance.limit, passed)


def table(rows: Sequence[ParityRow]) -> str:
    """The rows as text, the failures marked."""
    width = [
        max(len(text) for text in column)
        for column in zip(*((r.stage, r.variant, r.tensor) for r in rows), strict=True)
    ]
    width = [max(w, len(head)) for w, head in zip(width, ("stage", "variant", "tensor"), strict=True)]
    lines = [
        f"{'stage':{width[0]}}  {'variant':{width[1]}}  {'tensor':{width[2]}}  {'99.9 %':>9}  {'worst':>9}  {'limit':>9}  unit"
    ]
    for r in rows:
        figures = (
            f"{r.typical:9.2e}  {r.worst:9.2e}  {r.limit:9.2e}  {r.unit}{'' if r.passed else '  FAILED'}"
        )
        lines.append(f"{r.stage:{width[0]}}  {r.variant:{width[1]}}  {r.tensor:{width[2]}}  {figures}")
    return "\n".join(lines)


def _cut_row(run: StageRun, exit_: Tensor) -> ParityRow:
    """Do the stage's own modules, one after the other, give what the uncut network gives?"""
    name = str(run.stage.exit)
    return compare(run, "cut in torch", name, _array(exits_of([run])[run.stage.name]), exit_)


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: _array(tensor) for name, tensor in tensors.items()}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


_KINDS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def _as_graph_holds(array: np.ndarray, kind: str) -> np.ndarray:
    """Torch's 64-bit whole numbers are 32-bit in the graph."""
    return np.ascontiguousarray(array, _KINDS.get(kind, array.dtype))
