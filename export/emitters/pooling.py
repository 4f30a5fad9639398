"""Max, average and adaptive pooling; one-dimensional pooling is lifted to two dimensions, since TensorRT 8 has no other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.emitters import emits
from edgekit.export.emitters.convolution import Ints, each
from edgekit.export.graph import GraphBuilder, shape_of


def max_pool(
    spatial: int, graph: GraphBuilder, x: ir.Value, kernel_size: Ints, stride: Ints = (), padding: Ints = 0,
    dilation: Ints = 1, ceil_mode: bool = False,
) -> ir.Value:  # fmt: skip
    """Largest element of each window."""
    window = each(kernel_size, spatial)
    strides, pads = each(stride or window, spatial), each(padding, spatial)
    return _pool(graph, "MaxPool", x, window, strides, pads, each(dilation, spatial))


def max_pool_with_indices(
    spatial: int, graph: GraphBuilder, x: ir.Value, kernel_size: Ints, stride: Ints = (), padding: Ints = 0,
    dilation: Ints = 1, ceil_mode: bool = False,
) -> tuple[ir.Value, None]:  # fmt: skip
    """Core ATen's max pooling; the indices are not computed, since TensorRT cannot, and reading them is refused."""
    return max_pool(spatial, graph, x, kernel_size, stride, padding, dilation, ceil_mode), None


def avg_pool(
    spatial: int, graph: GraphBuilder, x: ir.Value, kernel_size: Ints, stride: Ints = (), padding: Ints = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> ir.Value:  # fmt: skip
    """Mean of each window; whether padding counts as elements is as in ATen."""
    window = each(kernel_size, spatial)
    strides, pads = each(stride or window, spatial), each(padding, spatial)
    if divisor_override is not None:
        raise ExportError(
            f"{graph.scope}: average pooling with divisor_override has no ONNX operator; divide after it"
        )
    if ceil_mode and any(pads) and count_include_pad:
        raise ExportError(
            f"{graph.scope}: average pooling with ceil_mode and counted padding: set one of them to False"
        )
    counted = int(count_include_pad and any(pads))
    return _pool(graph, "AveragePool", x, window, strides, pads, [1] * spatial, count_include_pad=counted)


def adaptive_avg_pool(graph: GraphBuilder, x: ir.Value, output_size: Sequence[int | None]) -> ir.Value:
    """Mean over a grid of windows; only grids that divide the input have the same window everywhere."""
    return _adaptive(graph, "AveragePool", x, output_size)


def adaptive_max_pool(
    graph: GraphBuilder, x: ir.Value, output_size: Sequence[int | None]
) -> tuple[ir.Value, None]:
    """Largest element over a grid of windows, without its place."""
    return _adaptive(graph, "MaxPool", x, output_size), None


for _rank in (1, 2, 3):
    emits(f"aten.max_pool{_rank}d.default")(partial(max_pool, _rank))
    emits(f"aten.max_pool{_rank}d_with_indices.default")(partial(max_pool_with_indices, _rank))
    emits(f"aten.avg_pool{_rank}d.default")(partial(avg_pool, _rank))
    emits(f"aten.adaptive_avg_pool{_rank}d.default", f"aten._adaptive_avg_pool{_rank}d.default")(
        adaptive_avg_pool
    )
    emits(f"aten.adaptive_max_pool{_rank}d.default")(adaptive_max_pool)


def _adaptive(graph: GraphBuilder, op_type: str, x: ir.Value, output_size: Sequence[int | None]) -> ir.Value:
    shape = shape_of(x)
    sides = shape[-len(output_size) :]
    output = [side if wanted is None else wanted for side, wanted in zip(sides, output_size, strict=True)]
    if all(wanted == 1 for wanted in output) and len(sides) > 1 and len(shape) == len(sides) + 2:
        return graph.op("Global" + op_type, x)
    if any(side % wanted for side, wanted in zip(sides, output, strict=True)):
        raise ExportError(
            f"{graph.scope}: adaptive pooling of {sides} to {tuple(output)} needs windows of different sizes, which no ONNX "
            "operator has; choose an input size that the grid divides, or 1 per side"
        )
    window = [side // wanted for side, wanted in zip(sides, output, strict=True)]
    if all(side == 1 for side in window):
        return x
    return _pool(graph, op_type, x, window, window, [0] * len(window), [1] * len(window))


def _pool(
    graph: GraphBuilder, op_type: str, x: ir.Value, window: list[int], strides: list[int], pads: list[int],
    dilations: list[int], **attributes: int | list[int],
) -> ir.Value:  # fmt: skip
    """One pooling node; without a batch dimension, or with one spatial dimension, between two reshapes.

    Torch's ceil_mode is written as padding at the end, which pooling never counts: torch leaves out a last window that
    would start beyond the input, where ONNX's own ceil_mode of opset 13 keeps it.
    """
    shape, result = shape_of(x), graph.result.shape
    ends = []
    for side, out, k, s, p, d in zip(
        shape[-len(window) :], result[-len(window) :], window, strides, pads, dilations, strict=True
    ):
        ends.append(p + max(0, (out - 1) * s + d * (k - 1) + 1 - side - 2 * p))
    lifted = x
    if len(window) == 1:
        window, strides, dilations, pads, ends = (
            [1, *window],
            [1, *strides],
            [1, *dilations],
            [0, *pads],
            [0, *ends],
        )
        lifted = graph.reshape(x, (*([1] * (3 - len(shape))), *shape[:-1], 1, shape[-1]))
    elif len(shape) == len(window) + 1:
        lifted = graph.reshape(x, (1, *shape))
    if op_type == "MaxPool":
        attributes["dilations"] = dilations
    # Dilated: runtimes refuse to pad that much.
    if any(end >= side for end, side in zip(ends, window, strict=True)):
        lowest = graph.constant(np.finfo(np.float32).min, x.dtype)
        lifted = graph.op("Pad", lifted, graph.ints([0, 0, *pads, 0, 0, *ends]), lowest)
        pads = ends = [0] * len(window)
    y = graph.op(op_type, lifted, kernel_shape=window, strides=strides, pads=pads + ends, **attributes)
    return y if lifted is x else graph.op("Reshape", y, graph.ints(result))
