"""Max, average and adaptive pooling; one-dimensional pooling is lifted to two dimensions, since TensorRT 8 has no other."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.emitters import emits
from edgekit.export.emitters.convolution import Ints, each
from edgekit.export.graph import GraphBuilder, shape_of


@emits("aten.max_pool1d.default", "aten.max_pool2d.default", "aten.max_pool3d.default")
def max_pool(
    graph: GraphBuilder, x: ir.Value, kernel_size: Ints, stride: Ints = (), padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False,
) -> ir.Value:  # fmt: skip
    """Largest element of each window."""
    spatial = _spatial(x, kernel_size)
    window = each(kernel_size, spatial)
    return _pool(
        graph, "MaxPool", x, window, each(stride or window, spatial), each(padding, spatial), ceil_mode,
        dilations=each(dilation, spatial),
    )  # fmt: skip


@emits("aten.max_pool2d_with_indices.default", "aten.max_pool3d_with_indices.default")
def max_pool_with_indices(
    graph: GraphBuilder, x: ir.Value, kernel_size: Ints, stride: Ints = (), padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False,
) -> tuple[ir.Value, None]:  # fmt: skip
    """Core ATen's max pooling; the indices are not computed, since TensorRT cannot, and reading them is refused."""
    y = max_pool(graph, x, kernel_size, stride, padding, dilation, ceil_mode)
    return y, None


@emits("aten.avg_pool1d.default", "aten.avg_pool2d.default", "aten.avg_pool3d.default")
def avg_pool(
    graph: GraphBuilder, x: ir.Value, kernel_size: Ints, stride: Ints = (), padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> ir.Value:  # fmt: skip
    """Mean of each window; whether padding counts as elements is as in ATen."""
    spatial = _spatial(x, kernel_size)
    window = each(kernel_size, spatial)
    pads = each(padding, spatial)
    if divisor_override is not None:
        raise ExportError(f"{graph.scope}: average pooling with divisor_override has no ONNX operator; divide after it")
    if ceil_mode and any(pads) and count_include_pad:
        raise ExportError(f"{graph.scope}: average pooling with ceil_mode and counted padding: set one of them to False")
    return _pool(
        graph, "AveragePool", x, window, each(stride or window, spatial), pads, ceil_mode,
        count_include_pad=int(count_include_pad and any(pads)),
    )  # fmt: skip


@emits("aten.adaptive_avg_pool1d.default", "aten.adaptive_avg_pool2d.default", "aten.adaptive_avg_pool3d.default")
def adaptive_avg_pool(graph: GraphBuilder, x: ir.Value, output_size: Sequence[int]) -> ir.Value:
    """Mean over a grid of windows; only grids that divide the input are the same window everywhere."""
    return _adaptive(graph, "AveragePool", x, output_size)


emits("aten._adaptive_avg_pool2d.default", "aten._adaptive_avg_pool3d.default")(adaptive_avg_pool)


@emits("aten.adaptive_max_pool1d.default", "aten.adaptive_max_pool2d.default", "aten.adaptive_max_pool3d.default")
def adaptive_max_pool(graph: GraphBuilder, x: ir.Value, output_size: Sequence[int]) -> tuple[ir.Value, None]:
    """Largest element over a grid of windows."""
    y = _adaptive(graph, "MaxPool", x, output_size)
    return y, None


def _adaptive(graph: GraphBuilder, op_type: str, x: ir.Value, output_size: Sequence[int]) -> ir.Value:
    shape = shape_of(x)
    sides = shape[-len(output_size) :]
    output = [side if wanted is None else wanted for side, wanted in zip(sides, output_size, strict=True)]
    if all(wanted == 1 for wanted in output) and len(shape) == len(sides) + 2:
        return graph.op("Global" + op_type, x)
    if any(side % wanted for side, wanted in zip(sides, output, strict=True)):
        raise ExportError(
            f"{graph.scope}: adaptive pooling of {sides} to {tuple(output)} needs windows of different sizes, which no ONNX "
            "operator has; choose an input size that the grid divides, or 1 per side"
        )
    window = [side // wanted for side, wanted in zip(sides, output, strict=True)]
    if all(side == 1 for side in window):
        return x
    return _pool(graph, op_type, x, window, window, [0] * len(window), ceil_mode=False)


def _spatial(x: ir.Value, window: Ints) -> int:
    return len(shape_of(x)) - 2 if isinstance(window, int) or len(window) == 1 else len(window)


def _pool(
    graph: GraphBuilder, op_type: str, x: ir.Value, window: list[int], stride: list[int], pads: list[int],
    ceil_mode: bool, **more: int | list[int],
) -> ir.Value:  # fmt: skip
    """One pooling node; without a batch dimension, or with one spatial dimension, between two reshapes."""
    shape = shape_of(x)
    spatial = len(window)
    lifted = x
    if spatial == 1:
        window, stride, pads = [1, *window], [1, *stride], [0, *pads]
        more = {name: [1, *value] if isinstance(value, list) else value for name, value in more.items()}
        lead = shape[: len(shape) - 1]
        lifted = graph.reshape(lifted, (*([1] * (3 - len(shape))), *lead, 1, shape[-1]))
    elif len(shape) == spatial + 1:
        lifted = graph.reshape(lifted, (1, *shape))
    y = graph.op(
        op_type, lifted, kernel_shape=window, strides=stride, pads=pads + pads, ceil_mode=int(ceil_mode), **more
    )
    return y if lifted is x else graph.reshape(y, graph.results[0].shape)
