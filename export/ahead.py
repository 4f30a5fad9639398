"""Engines for desktop GPUs, compiled when a bundle is exported, on a machine that has none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.lowering import Form
from edgekit.export.passes.halve_products import halve_products
from edgekit.export.targets import Target
from edgekit.export.tensorrt_rtx import compile_graph

# For Turing, TensorRT-RTX has neither matrix products nor 3-D convolutions in float32, and says so when asked.
FLOAT16_ONLY = "75"
HALF_BITS = 16


def aimed(model: ir.Model, form: Form, target: Target) -> tuple[ir.Model, Form]:
    """The graph as the target's compiler takes it, rewritten in place, and what it stores and computes then."""
    if target.capability != FLOAT16_ONLY:
        return model, form
    layers = tuple((name, bits, _halved(computed), told) for name, bits, computed, told in form.layers)
    half = replace(form, precision=_halved(form.precision), layers=layers)
    return halve_products(model), half if half.precision == form.precision else replace(half, bits=HALF_BITS)


def _halved(precision: str) -> str:
    return "float16" if precision == "float32" else precision


def compile_ahead(
    graphs: dict[str, dict[str, bytes]], target: Target, begin: Callable[[str], None]
) -> tuple[dict[str, bytes], dict[str, str]]:
    """An engine for every graph, by its file in the bundle; graphs that the compiler refuses are taken out of ``graphs``.

    Returns the engines, and why graphs were taken out by ``stage.variant``. Without a capability to aim at, there is nothing
    to do.

    Raises:
        ExportError: none of a stage's graphs compiles.
        BackendError: TensorRT-RTX is not installed.
    """
    engines: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    known: dict[bytes, bytes] = {}
    for stage, variants in graphs.items() if target.capability else ():
        begin(f"compiling {stage} for SM{target.capability}")
        for variant, graph in list(variants.items()):
            try:
                if graph not in known:
                    known[graph] = compile_graph(graph, [str(target.capability)]).engine
                engines[f"rtx/{stage}.{variant}.engine"] = known[graph]
            except ExportError as error:
                refused[f"{stage}.{variant}"] = f"  {error}"
                del variants[variant]
        if not variants:
            reasons = "\n".join(
                f"{name}:\n{why}" for name, why in refused.items() if name.startswith(f"{stage}.")
            )
            raise ExportError(f"{stage} cannot be compiled for {target.name}:\n{reasons}")
    return engines, refused
