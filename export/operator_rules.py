"""The restrictions of TensorRT's operator tables that can be checked on a graph, one function each.

The wording of the tables is in facts/tensorrt_ops.json; a rule says for which releases it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from edgekit.export.tensorrt_table import Version

Refusal = tuple[str, str]  # why a node is refused, and what to do about it
Rule = Callable[[ir.Node, Version], Iterator[Refusal]]
RULES: dict[str, list[Rule]] = {}


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register a restriction of some operators."""

    def register(function: Rule) -> Rule:
        for operator in operators:
            RULES.setdefault(operator, []).append(function)
        return function

    return register


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array behind a constant, None for what is absent or computed."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default


_SPATIAL = "add or merge dimensions, so that it is a picture (N, C, H, W) or a volume"


@rule("Conv", "ConvTranspose")
def convolution_rank(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """2-D and 3-D; a 1-D Conv is lifted by the importer itself from 8.2 on."""
    lowest = 3 if (node.op_type == "Conv" and tensorrt.number >= (8, 2)) or tensorrt.number >= (8, 5) else 4
    rank = _rank(_input(node, 0))
    if rank is not None and not lowest <= rank <= 5:
        yield f"its input has {rank} dimensions, {tensorrt} takes {lowest} to 5", _SPATIAL


@rule("Conv", "ConvTranspose")
def convolution_weights(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """Constant before 8.5; quantised weights come through DequantizeLinear."""
    weight = _input(node, 1)
    if tensorrt.number >= (8, 5) or weight is None or constant(weight) is not None:
        return
    producer = weight.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        yield (
            "its weights are computed by the graph",
            f"{tensorrt} wants them constant; use MatMul for a product of two results",
        )


@rule("MaxPool", "AveragePool")
def pooling(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """2-D and 3-D, no indices, no dilation."""
    rank = _rank(_input(node, 0))
    if rank is not None and rank not in (4, 5):
        yield f"its input has {rank} dimensions, {tensorrt} pools pictures and volumes", _SPATIAL
    if len(node.outputs) > 1 and node.outputs[1].uses():
        yield "something reads the indices of the largest elements", "compute them with ArgMax"
    if "dilations" in node.attributes and any(d != 1 for d in node.attributes["dilations"].as_ints()):
        yield "its window is dilated", "pool without dilation, or gather the windows first"


_COORDINATES = {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"}
_ROUNDINGS = {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}


@rule("Resize")
def resize(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """Modes and coordinate conventions."""
    mode = _text(node, "mode", "nearest")
    coordinates = _text(node, "coordinate_transformation_mode", "half_pixel")
    rounding = _text(node, "nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear"):
        yield f"mode {mode!r}", "TensorRT resizes nearest and linear"
    if coordinates not in _COORDINATES:
        yield f"coordinates {coordinates!r}", f"TensorRT has {', '.join(sorted(_COORDINATES))}"
    if mode == "nearest" and rounding not in (_ROUNDINGS if tensorrt.number >= (8, 0) else {"floor"}):
        yield f"rounding {rounding!r} of the nearest pixel", "use nearest_mode floor"
    if tensorrt.number < (8, 0) and mode == "linear" and coordinates == "pytorch_half_pixel":
        yield f"coordinates {coordinates!r}", f"{tensorrt} has half_pixel and align_corners for linear"
    sizes = [constant(_input(node, index)) for index in (2, 3)]
    if not any(array is not None and array.size for array in sizes):
        yield "its size is computed by the graph", "give it a fixed size"


_CONSTANT_INPUTS = {  # operator: (input, what it is, first and last release that want it constant)
    "Slice": (3, "axes", (7, 0), (10, 1)),
    "Squeeze": (1, "axes", (7, 0), (99, 0)),
    "Unsqueeze": (1, "axes", (7, 0), (99, 0)),
    "CumSum": (1, "axis", (7, 0), (99, 0)),
    "TopK": (1, "k", (7, 0), (99, 0)),
    "ReduceSum": (1, "axes", (7, 0), (99, 0)),
    "Split": (1, "split", (7, 0), (8, 0)),
}


@rule(*_CONSTANT_INPUTS)
def constant_inputs(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """Inputs that say where, and must be known when the engine is built."""
    index, what, first, last = _CONSTANT_INPUTS[node.op_type]
    value = _input(node, index)
    if first <= tensorrt.number <= last and value is not None and constant(value) is None:
        yield f"its {what} are computed by the graph", "make them constants"


@rule("TopK")
def topk(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """At most 3840 elements (recorded for 10.1, true of the layer in every release)."""
    k = constant(_input(node, 1))
    if k is not None and int(k.ravel()[0]) > 3840:
        yield f"the {int(k.ravel()[0])} largest elements", "TensorRT finds at most 3840"


@rule("Clip")
def clip(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """Constant bounds up to 8.0."""
    bounds = [value for value in node.inputs[1:] if value is not None]
    if tensorrt.number <= (8, 0) and any(constant(value) is None for value in bounds):
        yield "its bounds are computed by the graph", "use Max and Min"


@rule("Gather", "GatherElements")
def negative_indices(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """Counted from the front up to 8.0."""
    indices = constant(_input(node, 1))
    if tensorrt.number <= (8, 0) and indices is not None and indices.size and indices.min() < 0:
        yield "negative indices", "count from the front"


@rule("Pad")
def pad(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """Up to 8.0 zeros around the last two dimensions, and nothing else; no cropping in any release of TensorRT 8."""
    pads = constant(_input(node, 1))
    if pads is None:
        return
    if pads.size and pads.min() < 0 and tensorrt.number < (10, 0):
        yield "negative padding", "cut with Slice"
    if tensorrt.number <= (8, 0):
        half = pads.size // 2
        outside = [int(p) for p in (*pads[: half - 2], *pads[half:-2])]
        fill = constant(_input(node, 2))
        if _text(node, "mode", "constant") != "constant" or (
            fill is not None and fill.size and float(fill.ravel()[0]) != 0
        ):
            yield "padding with something other than 0", f"{tensorrt} pads with 0 only; use Concat"
        if any(outside):
            yield "padding of more than the last two dimensions", f"{tensorrt} pads those only; use Concat"


@rule("InstanceNormalization")
def instance_normalization(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """Constant scale and shift up to 8.5, of 3 to 5 dimensions."""
    if tensorrt.number <= (8, 5) and any(constant(value) is None for value in node.inputs[1:3]):
        yield "its scale or shift is computed by the graph", "multiply and add after it"
    rank = _rank(_input(node, 0))
    if rank is not None and not 3 <= rank <= 5:
        yield f"its input has {rank} dimensions", "TensorRT takes 3 to 5"


@rule("QuantizeLinear", "DequantizeLinear")
def quantisation(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """Symmetric INT8: three inputs, zero point 0, positive scales."""
    scale, zero = constant(_input(node, 1)), constant(_input(node, 2))
    if _input(node, 2) is None and tensorrt.number < (10, 0):
        yield "no zero point", "give it one: 0, of type INT8"
    if zero is not None and zero.any():
        yield "a zero point other than 0", "TensorRT quantises symmetrically"
    if zero is not None and zero.dtype == np.uint8:
        yield "UINT8", "TensorRT 8 quantises to INT8"
    if scale is not None and not (scale > 0).all():
        yield "a scale that is not positive", "use its absolute value"


@rule("Conv")
def quantised_groups(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """INT8 kernels of grouped convolutions take channels per group in multiples of 4, on both sides."""
    groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
    data, weight = _input(node, 0), _input(node, 1)
    producers = [value.producer() for value in (data, weight) if value is not None]
    quantised = [each for each in producers if each is not None and each.op_type == "DequantizeLinear"]
    if groups == 1 or len(quantised) < 2 or weight is None or weight.shape is None:
        return
    out, inside = weight.shape[0], weight.shape[1]
    if isinstance(out, int) and isinstance(inside, int) and (inside % 4 or (out // groups) % 4):
        yield (
            f"an INT8 convolution in {groups} groups of {inside} to {out // groups} channels",
            "make both multiples of 4, or leave it in floating point",
        )


@rule("Einsum")
def einsum(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    """No ellipsis and no diagonal."""
    equation = _text(node, "equation", "")
    terms = equation.split("->")[0].split(",")
    if "..." in equation or any(len(set(term.strip())) < len(term.strip()) for term in terms):
        yield f"the equation {equation!r}", "name every dimension once per tensor"
