"""Programs for the backend `native`: a stage's graph translated into convolutions over planes that are never moved.

Concatenations, indices and shuffles disappear, since they only name other planes; a batch norm and its ReLU join the convolution
before them, or are computed while the one behind them reads; weights that are all zero for a group's outputs are not multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgekit.export.convert import convert
from edgekit.export.lowering import PLAIN, Form
from edgekit.export.native import anynet  # noqa: F401 (registers its stages)
from edgekit.export.native.convolutions import Window
from edgekit.export.native.draft import Draft
from edgekit.export.native.memory import written
from edgekit.export.native.nodes import Unsupported, cannot, integer, shape_of
from edgekit.export.native.operators import OPERATORS
from edgekit.export.native.planes import Export
from edgekit.export.native.stages import BUILDERS
from edgekit.export.native.winograd import with_fewer_products
from edgekit.export.passes import simplify
from edgekit.export.staging import StageRun
from edgekit.program import Program, encode

__all__ = ["NATIVE", "Unsupported", "add_programs", "program"]

NATIVE = "native"  # the backend, and the variant that is for it


def program(model: ir.Model) -> Program:
    """The program that computes what ``model`` computes, for one picture in float32.

    Raises:
        Unsupported: it has an operator, or a use of one, that programs have not; the message names the node.
    """
    graph = model.graph
    halos: dict[tuple[int, int], int] = {}
    for node in graph:
        if node.op_type == "Conv":
            window = Window.of(node)
            reached = {window.grid: window.reach}
            if window.whole(shape_of(node.outputs[0])[1] // integer(node, "group", 1)):
                reached = {window.grid: 0, window.source: window.beyond}
            for size, reach in reached.items():
                halos[size] = max(halos.get(size, 0), reach)
    draft = Draft(graph.inputs, halos)
    for node in graph:
        translate = OPERATORS.get(node.op_type)
        if translate is None or node.domain:
            raise cannot(node, "programs have no such step")
        draft.values[node.outputs[0]] = translate(draft, node)
    draft.steps += [Export(draft.whole(value), number) for number, value in enumerate(graph.outputs)]
    names = ([str(value.name) for value in values] for values in (graph.inputs, graph.outputs))
    return written(with_fewer_products(draft.steps), draft.grids, *names)


def _of_stage(run: StageRun) -> Program:
    build = BUILDERS.get(type(run.stage.module))
    if build is not None:
        return build(run)
    return program(simplify(convert(run.stage.module, run.inputs, run.stage.outputs, run.stage.name)))


def add_programs(
    runs: Sequence[StageRun], graphs: Mapping[str, dict[str, bytes]], forms: Mapping[str, dict[str, Form]]
) -> str | None:
    """Add a program of every stage to the graphs of a float32 network; why not, where a stage has none."""
    if any(form != PLAIN for run in runs for form in forms[run.stage.name].values()):
        return None  # a program would hold its low-bit weights as floats
    found = {}
    for run in runs:
        name = run.stage.name
        try:
            found[name] = encode(_of_stage(run))
        except Unsupported as error:
            return f"no program for the backend {NATIVE}: {name}, {error}"
    for name, data in found.items():
        graphs[name][NATIVE], forms[name][NATIVE] = data, Form(runtime=NATIVE)
    return None
