"""Where a bundle's time goes, node by node: python -m benchmarks.graph_profile BUNDLE [--stage stage1] [--variant planes].

ONNX Runtime's own profiler, per kind of node and shape: what a lowering is judged by before its stage is timed as a whole.
The profiler's own work counts: a loop, whose body's nodes it records too, looks several times as slow as it is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from edgekit.bundle import Bundle, StageSpec, read_bundle

TYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32}


@dataclass(frozen=True)
class Row:
    """Nodes of one operator with the same input and output shapes.

    Attributes:
        milliseconds: that all of them take in one run, each at its median over the runs.
        nodes: how many there are.
        operator, shapes: what they are, after ONNX Runtime's optimisations.
    """

    milliseconds: float
    nodes: int
    operator: str
    shapes: str


class Ran(NamedTuple):
    """One run of one node, as ONNX Runtime's profiler recorded it."""

    node: str
    operator: str
    shapes: str
    written: int  # bytes
    milliseconds: float


def recorded(graph: bytes, threads: int, runs: int, optimised: Path | None = None) -> list[Ran]:
    """What ran of a graph on random inputs, in its order; ``optimised``: where to leave the graph as ONNX Runtime rewrote it."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        if optimised is not None:
            options.optimized_model_filepath = str(optimised)
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        random = np.random.default_rng(0)
        feeds = {i.name: random.standard_normal(i.shape).astype(TYPES[i.type]) for i in session.get_inputs()}
        for _ in range(runs):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    found = []
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            facts = event["args"]
            shapes = f"{_shapes(facts['input_type_shape'])} -> {_shapes(facts['output_type_shape'])}"
            node = event["name"].removesuffix("_kernel_time")
            found.append(Ran(node, facts["op_name"], shapes, int(facts["output_size"]), event["dur"] / 1e3))
    return found


def profile(graph: bytes, threads: int, runs: int) -> list[Row]:
    """Run a graph on random inputs under ONNX Runtime's profiler; the costliest rows first."""
    nodes: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for ran in recorded(graph, threads, runs):
        nodes[ran.node, ran.operator, ran.shapes].append(ran.milliseconds)
    rows: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (_, operator, shapes), durations in nodes.items():
        rows[operator, shapes].append(statistics.median(durations))
    listed = [Row(sum(times), len(times), *key) for key, times in rows.items()]
    return sorted(listed, key=lambda row: -row.milliseconds)


def _shapes(tensors: Sequence[dict[str, list[int]]]) -> str:
    return " ".join("x".join(map(str, shape)) or "1" for tensor in tensors for shape in tensor.values())


def _report(bundle: Bundle, stage: StageSpec, variant: str, threads: int, runs: int, top: int) -> None:
    graph = next(v.graph for v in stage.variants if v.name == variant)
    rows = profile(bundle.read_graph(graph), threads, runs)
    total = sum(row.milliseconds for row in rows)
    print(f"\n{stage.name} {variant}: {total:.2f} ms in {sum(row.nodes for row in rows)} nodes")
    for row in rows[:top]:
        print(
            f"{row.milliseconds:9.3f} ms {row.milliseconds / total:6.1%} {row.nodes:4} x {row.operator:15} {row.shapes:.70}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the costliest kinds of node of every stage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph_profile", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--stage", help="this stage only; default: all")
    parser.add_argument(
        "--variant", help="this variant, in stages that have it; default: the stage's default"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="default 1, which other work on the machine disturbs least"
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--top", type=int, default=15, help="rows a stage")
    options = parser.parse_args(arguments)
    bundle = read_bundle(str(options.bundle))
    stages = [stage for stage in bundle.manifest.stages if options.stage in (None, stage.name)]
    if not stages:
        print(f"{options.bundle} has no stage {options.stage!r}", file=sys.stderr)
        return 2
    for stage in stages:
        names = [variant.name for variant in stage.variants]
        default = stage.defaults.get("onnxruntime", names[0])
        variant = options.variant if options.variant in names else default
        _report(bundle, stage, variant, options.threads, options.runs, options.top)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
