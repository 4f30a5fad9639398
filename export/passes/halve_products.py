"""Multiply in float16 and add everything else up in float32, for GPUs whose compiler has no float32 products.

before: y = Conv(x, w)
after:  y = float32(Conv(float16(x), float16(w)))

A product of two dequantised tensors is left as it is: there INT8 is multiplied, and only its graph says float32.

What only moves numbers about (``Relu``, ``Concat``, ``Reshape``, ...) stays in float16 between two products. A graph's inputs
and outputs keep their types, and so do sums, softmaxes and comparisons, which is where float16 would show: a disparity of 100 px
has steps of 0.06 px in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult
from onnx_ir.passes.common import RemoveUnusedNodesPass

PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"})
# Exact in any type: they choose and move, and compute nothing.
MOVES = frozenset(
    {"Relu", "Concat", "Pad", "Reshape", "Transpose", "Slice", "Split", "Squeeze", "Unsqueeze", "MaxPool", "Identity", "Flatten",
     "Gather", "DepthToSpace", "SpaceToDepth", "Expand", "Tile"}
)  # fmt: skip


def halve_products(model: ir.Model) -> ir.Model:
    """Run the pass over ``model``, in place, and remove what nothing reads any more."""
    HalveProducts()(model)
    RemoveUnusedNodesPass()(model)
    return model


class HalveProducts(InPlacePass):
    """Compute every product of two float32 tensors in float16, in the bodies of loops and scans too; not those of INT8."""

    def call(self, model: ir.Model) -> PassResult:
        """Rewrite the whole graph."""
        # A list, for every one of them must run, not those up to the first that changes.
        changed = [_Halver(graph).run() for graph in _graphs(model.graph)]
        return PassResult(model, any(changed))


class _Halver:
    """One graph, node by node in its order."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._half: dict[ir.Value, ir.Value] = {}  # a float32 value and the same in float16
        self._born_half: set[ir.Value] = set()  # of these, those that a node in float16 computed
        self._changed = False

    def run(self) -> bool:
        for node in list(self._graph):
            floats = [value for value in node.inputs if value is not None and _is_float(value)]
            if node.op_type in PRODUCTS and floats and not _of_int8(node):
                self._halve(node)
            elif node.op_type in MOVES and floats:
                computed = [value for value in floats if value.const_value is None]
                if computed and all(value in self._born_half for value in computed):
                    self._halve(node)
        return self._changed

    def _halve(self, node: ir.Node) -> None:
        self._changed = True
        inputs = [
            self._halved(value, node) if value is not None and _is_float(value) else value
            for value in node.inputs
        ]
        fresh = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs),
                        name=f"{node.name}/half")  # fmt: skip
        casts, results = [], []
        for old, new in zip(node.outputs, fresh.outputs, strict=True):
            new.name = f"{old.name}/half"
            if not _is_float(old):
                new.shape = old.shape
                if old.dtype is not None:
                    new.dtype = old.dtype
                results.append(new)
                continue
            new.dtype, new.shape = ir.DataType.FLOAT16, old.shape
            cast = _cast(new, ir.DataType.FLOAT, f"{node.name}/single")
            result = cast.outputs[0]
            result.name = f"{old.name}/single"
            self._half[result] = new
            self._born_half.add(result)
            casts.append(cast)
            results.append(result)
        ir.convenience.replace_nodes_and_values(
            self._graph, node, [node], [fresh, *casts], list(node.outputs), results
        )

    def _halved(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        """``value`` in float16, made just before ``reader`` unless it is there already."""
        if value not in self._half:
            if value.const_value is not None:
                array = value.const_value.numpy().astype(np.float16)
                half = ir.Value(name=f"{value.name}/half", const_value=ir.tensor(array))
                half.dtype, half.shape = ir.DataType.FLOAT16, value.shape
                self._graph.register_initializer(half)
            else:
                cast = _cast(value, ir.DataType.FLOAT16, f"{value.name}/halved")
                half = cast.outputs[0]
                half.name = f"{value.name}/half"
                self._graph.insert_before(reader, cast)
            self._half[value] = half
        return self._half[value]


def _cast(value: ir.Value, to: ir.DataType, name: str) -> ir.Node:
    cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(to))], name=name)
    cast.outputs[0].dtype, cast.outputs[0].shape = to, value.shape
    return cast


def _of_int8(node: ir.Node) -> bool:
    """Whether both factors come out of DequantizeLinear."""
    makers = [None if value is None else value.producer() for value in node.inputs[:2]]
    return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


def _graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """``graph``, and every body inside it."""
    yield graph
    for node in list(graph):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from _graphs(attribute.as_graph())
