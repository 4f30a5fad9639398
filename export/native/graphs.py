"""Graphs translated into programs, the stages of a network together: what one hands to the next stays where it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from edgekit.export.native.convolutions import Window
from edgekit.export.native.draft import Draft
from edgekit.export.native.fewer import with_fewer_products
from edgekit.export.native.memory import Part, together
from edgekit.export.native.nodes import Unsupported, cannot, integer, shape_of
from edgekit.export.native.operators import OPERATORS
from edgekit.export.native.planes import Export, Grid, Maps
from edgekit.program import Program

GRAPH = "the graph"


def program(model: ir.Model) -> Program:
    """The program that computes what ``model`` computes, for one picture in float32.

    Raises:
        Unsupported: it has an operator, or a use of one, that programs have not; the message names the node.
    """
    return programs({GRAPH: model})[GRAPH]


def programs(
    stages: Mapping[str, ir.Model], answers: Collection[str] = (), halve: bool = True
) -> dict[str, Program]:
    """The programs of stages in the order in which they run.

    Feature maps that a stage writes and a later one reads stay in the arena, which all of them share; outputs that are ``answers``
    are arrays, as all are that nobody reads here. ``halve``: see `edgekit.export.native.halves`.

    Raises:
        Unsupported: see `program`; the message begins with the stage.
    """
    halos: dict[tuple[int, int], int] = {}
    for model in stages.values():
        _reach(model.graph, halos)
    read = {value.name for model in stages.values() for value in model.graph.inputs} - {*answers}
    grids: list[Grid] = []
    staying: dict[str, Maps] = {}
    parts = []
    for stage, model in stages.items():
        try:
            parts.append(_translated(model.graph, halos, grids, read, staying))
        except Unsupported as error:
            raise Unsupported(f"{stage}, {error}") from error
    return dict(zip(stages, together(parts, grids, staying, halve), strict=True))


def _reach(graph: ir.Graph, halos: dict[tuple[int, int], int]) -> None:
    """How many zeros a graph's convolutions need around maps, by their size."""
    for node in graph:
        if node.op_type == "Conv":
            window = Window.of(node)
            reached = {window.grid: window.reach}
            if window.whole(shape_of(node.outputs[0])[1] // integer(node, "group", 1)):
                reached = {window.grid: 0, window.source: window.beyond}
            for size, reach in reached.items():
                halos[size] = max(halos.get(size, 0), reach)


def _translated(
    graph: ir.Graph,
    halos: Mapping[tuple[int, int], int],
    grids: list[Grid],
    read: Collection[str | None],
    staying: dict[str, Maps],
) -> Part:
    """One stage's steps; ``staying`` gets what it leaves for later ones, of which ``read`` are the inputs."""
    draft = Draft(graph.inputs, halos, grids)
    for value in graph.inputs:
        if value.name in staying:
            draft.values[value] = staying[value.name]
    for node in graph:
        translate = OPERATORS.get(node.op_type)
        if translate is None or node.domain:
            raise cannot(node, "programs have no such step")
        draft.values[node.outputs[0]] = translate(draft, node)
    for number, value in enumerate(graph.outputs):
        maps = draft.whole(value)
        if value.name in read and len(shape_of(value)) == 4:
            staying[str(value.name)] = maps
        else:
            draft.steps.append(Export(maps, number))
    inputs, outputs = ([str(value.name) for value in values] for values in (graph.inputs, graph.outputs))
    return Part(with_fewer_products(draft.steps, draft.grids), inputs, outputs)
