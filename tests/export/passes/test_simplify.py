"""Constants are computed, dead nodes and double initializers leave, and the outputs stay what they were."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from edgekit.export.graph import GraphBuilder
from edgekit.export.passes import simplify


def _model(builder: GraphBuilder, **outputs: ir.Value) -> ir.Model:
    return ir.Model(builder.graph(outputs), ir_version=7)


def test_a_chain_of_constants_becomes_one_constant(onnxruntime_of) -> None:
    graph = GraphBuilder()
    x = graph.input("x", (2, 3))
    table = graph.op("Mul", graph.constant(np.full((3,), 2.0)), graph.constant(3.0))
    table.shape = ir.Shape((3,))
    shifted = graph.op("Add", table, graph.constant(1.0))
    shifted.shape = ir.Shape((3,))
    model = simplify(_model(graph, y=graph.op("Add", x, shifted)))
    assert [node.op_type for node in model.graph] == ["Add"]
    assert len(model.graph.initializers) == 1
    np.testing.assert_array_equal(onnxruntime_of(model, torch.zeros(2, 3))[0], np.full((2, 3), 7))


def test_a_constant_is_not_blown_up_to_a_picture() -> None:
    graph = GraphBuilder()
    x = graph.input("x", (1, 1, 100, 100))
    wide = graph.op("Expand", graph.constant(np.zeros((1, 1, 1, 1))), graph.ints((1, 1, 100, 100)))
    wide.shape = ir.Shape((1, 1, 100, 100))
    model = simplify(_model(graph, y=graph.op("Concat", x, wide, axis=1)))
    assert [node.op_type for node in model.graph] == ["Expand", "Concat"]


def test_what_nothing_reads_and_what_is_held_twice_leaves() -> None:
    graph = GraphBuilder()
    x = graph.input("x", (2,))
    graph.op("Exp", x)
    a, b = (graph.constant(np.array([1.0, 2.0]), name=name) for name in ("first", "second"))
    model = simplify(_model(graph, y=graph.op("Mul", graph.op("Add", x, a), b)))
    assert [node.op_type for node in model.graph] == ["Add", "Mul"]
    assert list(model.graph.initializers) == ["first"]
