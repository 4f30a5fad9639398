"""How each ATen operator is written in ONNX: the table that `edgekit.export.convert` looks operators up in.

An emitter is a function decorated with the operators that it writes::

    @emits("aten.relu.default")
    def relu(graph: GraphBuilder, x: ir.Value) -> ir.Value:
        return graph.op("Relu", x)

It is called with the graph and the operator's own arguments, positional or by their ATen names: tensors as `onnx_ir.Value` of
known shape and data type (constants too; `graph.array` tells their content), everything else as torch gave it. It returns
the result, or a tuple for an operator with several, None in it for what no ONNX operator computes. `graph.results` says what shape and data type torch expects of them. An
operator whose tensors are all constants never reaches its emitter: torch computes it during the conversion.

Whole numbers are INT32 in the graph, whatever torch has, since TensorRT 8 has no INT64; only the arguments for which ONNX
demands INT64 (shapes, axes, pads: `graph.ints`) are. The emitters of one kind of operator share a file. Lowerings register
emitters for custom operators of their own with the same decorator.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

import onnx_ir as ir

Emitted = ir.Value | tuple[ir.Value | None, ...]
Emitter = TypeVar("Emitter", bound=Callable[..., Emitted])

EMITTERS: dict[str, Callable[..., Emitted]] = {}
_GRID_SAMPLE = (
    "TensorRT has GridSample only from 8.5 on, and Jetson TX2 stops at 8.2; sample with shifts, Gather or interpolate "
    "instead (a stereo warp moves along one axis only)"
)
ADVICE: dict[str, str] = {
    "aten.grid_sampler": _GRID_SAMPLE,
    "aten.grid_sampler_2d": _GRID_SAMPLE,
    "aten.grid_sampler_3d": _GRID_SAMPLE,
    "aten.nonzero": "its result has no static shape: use a mask with torch.where instead",
    "aten.rand": "a graph is the same every time it runs: make the random numbers an input",
}


def emits(*operators: str) -> Callable[[Emitter], Emitter]:
    """Register a function as the emitter of ``operators``, named as torch prints them: ``aten.relu.default``."""

    def register(emitter: Emitter) -> Emitter:
        for operator in operators:
            if operator in EMITTERS and EMITTERS[operator] is not emitter:
                raise ValueError(f"{operator} has an emitter already: {EMITTERS[operator]}")
            EMITTERS[operator] = emitter
        return emitter

    return register


for _kind in (
    "activation", "convolution", "elementwise", "indexing", "matrix", "normalization", "pooling", "reduction", "resize", "shape",
):  # fmt: skip
    import_module(f"{__name__}.{_kind}")  # its emitters register themselves
