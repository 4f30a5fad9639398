"""Convolutions of one to three spatial dimensions, grouped, dilated and transposed."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, shape_of

Ints = int | Sequence[int]


@emits("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")
def conv(
    graph: GraphBuilder, x: ir.Value, weight: ir.Value, bias: ir.Value | None = None,
    stride: Ints = 1, padding: Ints = 0, dilation: Ints = 1, groups: int = 1,
) -> ir.Value:  # fmt: skip
    """Convolution of (N, C, spatial) with weights (outputs, C / groups, kernel)."""
    kernel = shape_of(weight)[2:]
    pads = each(padding, len(kernel))
    return graph.op(
        "Conv", x, weight, bias, kernel_shape=kernel, strides=each(stride, len(kernel)),
        dilations=each(dilation, len(kernel)), pads=pads + pads, group=groups,
    )  # fmt: skip


@emits("aten.conv1d.padding", "aten.conv2d.padding", "aten.conv3d.padding")
def conv_same(
    graph: GraphBuilder, x: ir.Value, weight: ir.Value, bias: ir.Value | None = None,
    stride: Ints = 1, padding: str = "valid", dilation: Ints = 1, groups: int = 1,
) -> ir.Value:  # fmt: skip
    """Convolution with padding "valid" or "same"; where "same" is odd, the extra element is at the end, as torch has it."""
    kernel = shape_of(weight)[2:]
    dilations = each(dilation, len(kernel))
    total = [0 if padding == "valid" else d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    begin = [t // 2 for t in total]
    return graph.op(
        "Conv", x, weight, bias, kernel_shape=kernel, strides=each(stride, len(kernel)), dilations=dilations,
        pads=begin + [t - b for t, b in zip(total, begin, strict=True)], group=groups,
    )  # fmt: skip


def conv_transpose(
    graph: GraphBuilder, x: ir.Value, weight: ir.Value, bias: ir.Value | None = None, stride: Ints = 1,
    padding: Ints = 0, output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1,
) -> ir.Value:  # fmt: skip
    """Transposed convolution of (N, C, spatial) with weights (C, outputs / groups, kernel)."""
    kernel = shape_of(weight)[2:]
    pads = each(padding, len(kernel))
    return graph.op(
        "ConvTranspose", x, weight, bias, kernel_shape=kernel, strides=each(stride, len(kernel)),
        dilations=each(dilation, len(kernel)), pads=pads + pads, output_padding=each(output_padding, len(kernel)),
        group=groups,
    )  # fmt: skip


emits("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")(
    conv_transpose
)


@emits("aten.convolution.default", "aten._convolution.default")
def convolution(
    graph: GraphBuilder, x: ir.Value, weight: ir.Value, bias: ir.Value | None, stride: Ints, padding: Ints,
    dilation: Ints, transposed: bool, output_padding: Ints, groups: int, *backend_flags: bool,
) -> ir.Value:  # fmt: skip
    """Core ATen's one name for every convolution."""
    if transposed:
        return conv_transpose(graph, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return conv(graph, x, weight, bias, stride, padding, dilation, groups)


def each(value: Ints, count: int) -> list[int]:
    """One whole number per spatial dimension: ATen lets a single one stand for all.

    Raises:
        ExportError: another number of them.
    """
    values = [value] * count if isinstance(value, int) else list(value)
    if len(values) == 1:
        values *= count
    if len(values) != count:
        raise ExportError(f"{value}: expected {count} numbers, one per spatial dimension")
    return values
