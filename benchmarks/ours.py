"""edgekit's side of the benchmark: the exported bundle stage by stage, end to end, and its graphs joined again into one."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

import edgekit
from benchmarks.figures import NATIVE, ONE_THREAD
from benchmarks.timing import Contender
from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.session import Session

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]


def export(checkpoint: Path | None, size: tuple[int, int], out: Path, target: str = "jetson") -> Bundle:
    """Export AnyNet from ``checkpoint``, or with the shipped weights, for pictures of ``size``."""
    return edgekit.export(
        model="anynet",
        checkpoint=None if checkpoint is None else str(checkpoint),
        target=target,
        size=size,
        out=str(out),
    )


def stages_timed(session: Session, left: Array, right: Array, suffix: str = "") -> Contender:
    """Network tensors through every stage; the session's own clock around each stage, ours around the whole call.

    ``suffix`` follows every name.
    """

    def run() -> Mapping[str, float]:
        start = time.perf_counter_ns()
        result = session.infer(left=left, right=right)
        times = {"infer, tensors in": (time.perf_counter_ns() - start) / 1e6, **result.stage_ms}
        return {name + suffix: milliseconds for name, milliseconds in times.items()}

    return run


def as_programs(
    checkpoint: Path | None, size: tuple[int, int], threads: int, scratch: Path, opened: contextlib.ExitStack, notes: list[str]
) -> dict[str, Session]:  # fmt: skip
    """Sessions of the same network on edgekit's own kernels by what follows their names, on all threads and on one.

    None, and a note, where there is no C compiler.
    """
    out = scratch / "programs.edgekit"
    print("export for edgekit's own kernels", file=sys.stderr)
    export(checkpoint, size, out, target="cpu")
    found = {}
    for suffix, count in ((NATIVE, threads), (NATIVE + ONE_THREAD, 1)):
        try:
            found[suffix] = opened.enter_context(edgekit.load(str(out), backend="native", threads=count))
        except BackendError as error:
            notes.append(f"no contender{suffix}: {error}")
    return found


def session_config(session: Session) -> dict[str, str]:
    """What the session tells ONNX Runtime beyond the number of threads."""
    config = session.backend.settings.get("session_config")
    return {str(name): str(value) for name, value in config.items()} if isinstance(config, dict) else {}


def uncut_graph(bundle: Bundle, backend: str = "onnxruntime") -> onnx.ModelProto:
    """The default variants of all stages joined into one graph with every exit as its output."""
    manifest = bundle.manifest
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    exits: dict[str, onnx.ValueInfoProto] = {}
    pictures: dict[str, onnx.ValueInfoProto] = {}
    named = {spec.name for spec in manifest.inputs}
    first: onnx.ModelProto | None = None
    for stage in manifest.stages:
        chosen = next(v for v in stage.variants if v.name == stage.defaults[backend])
        model = onnx.load_from_string(bundle.read_graph(chosen.graph))
        # Tensors between stages keep their names, which is what joins them; what is inside gets the stage's.
        model = onnx.compose.add_prefix(model, f"{stage.name}/", rename_inputs=False, rename_outputs=False)
        nodes.extend(model.graph.node)
        weights.extend(model.graph.initializer)
        exits.update({value.name: value for value in model.graph.output if value.name == stage.exit})
        pictures.update({value.name: value for value in model.graph.input if value.name in named})
        first = first or model
    assert first is not None, "a bundle has at least one stage"
    graph = onnx.helper.make_graph(
        nodes, manifest.name, list(pictures.values()), list(exits.values()), weights
    )
    return onnx.helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)


def exit_maps(session: Session, left: Picture, right: Picture) -> list[Array]:
    """The disparity (H, W) px of every exit for pictures (H, W, 3), by the same way that a robot's pictures take."""
    return [np.array(result.output) for result in session.anytime(left=left, right=right)]
