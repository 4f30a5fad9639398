"""How each ATen operator is written in ONNX: the table that `edgekit.export.convert` looks operators up in.

An emitter is a function decorated with the operators that it writes::

    @emits("aten.relu.default")
    def relu(graph: GraphBuilder, x: ir.Value) -> ir.Value:
        return graph.op("Relu", x)

It is called with the graph and the operator's own arguments, positional or by their ATen names: tensors as `onnx_ir.Value` of
known shape and data type (constants too; `graph.array` tells their content), everything else as torch gave it. It returns
the result, or a tuple for an operator with several. `graph.results` says what shape and data type torch expects of them. An
operator whose tensors are all constants never reaches its emitter: torch computes it during the conversion.

Whole numbers are INT32 in the graph, whatever torch has, since TensorRT 8 has no INT64; only the arguments for which ONNX
demands INT64 (shapes, axes, pads: `graph.ints`) are. The emitters of one kind of operator share a file. Lowerings register
emitters for custom operators of their own with the same decorator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import onnx_ir as ir

Emitted = ir.Value | tuple[ir.Value, ...]
Emitter = TypeVar("Emitter", bound=Callable[..., Emitted])

EMITTERS: dict[str, Callable[..., Emitted]] = {}
ADVICE: dict[str, str] = {
    "aten.grid_sampler": "TensorRT has GridSample only from 8.5 on, and Jetson TX2 stops at 8.2: sample with shifts, Gather or "
    "interpolate instead (a stereo warp moves along one axis only), or register a lowering for the module that calls it",
    "aten.grid_sampler_2d": "as aten.grid_sampler",
    "aten.nonzero": "its result has no static shape: use a mask with torch.where instead",
    "aten.rand": "a graph is the same every time it runs: make the random numbers an input",
}


def emits(*operators: str) -> Callable[[Emitter], Emitter]:
    """Register a function as the emitter of ``operators``, named as torch prints them: ``aten.relu.default``."""

    def register(emitter: Emitter) -> Emitter:
        for operator in operators:
            if operator in EMITTERS and EMITTERS[operator] is not emitter:
                raise ValueError(f"{operator} has an emitter already: {EMITTERS[operator].__qualname__}")
            EMITTERS[operator] = emitter
        return emitter

    return register


from edgekit.export.emitters import activation as activation  # noqa: E402  (they need `emits`)
