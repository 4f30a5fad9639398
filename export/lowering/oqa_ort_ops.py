"""ONNX Runtime's own 8-bit operators as torch operators: what they compute, and how they are written."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, shape_of

DOMAIN = "com.microsoft"


@torch.library.custom_op("edgekit::codes8", mutates_args=())
def codes8(x: Tensor, step: float, top: int) -> Tensor:
    """round(clip(x / step, 0, top)) as uint8."""
    return (x / step).round().clamp(0, top).to(torch.uint8)


@codes8.register_fake
def _(x: Tensor, step: float, top: int) -> Tensor:
    return torch.empty_like(x, dtype=torch.uint8)


@emits("edgekit.codes8.default")
def emit_codes8(graph: GraphBuilder, x: ir.Value, step: float, top: int) -> ir.Value:
    """QuantizeLinear, which ends at 0 itself, and a Clip for the upper end."""
    scale, zero = graph.constant(np.float32(step)), graph.constant(np.uint8(0))
    return _capped(
        graph, graph.typed(graph.op("QuantizeLinear", x, scale, zero), shape_of(x), ir.DataType.UINT8), top
    )


@torch.library.custom_op("edgekit::raised8", mutates_args=())
def raised8(x: Tensor, step: float, top: int) -> Tensor:
    """round(clip(x / step, 0, top)) of values that are not negative, as uint8 that end where 8 bits do: 255 stands for ``top``."""
    return ((x / step).round().clamp(0, top) + (255 - top)).to(torch.uint8)


@raised8.register_fake
def _(x: Tensor, step: float, top: int) -> Tensor:
    return torch.empty_like(x, dtype=torch.uint8)


@emits("edgekit.raised8.default")
def emit_raised8(graph: GraphBuilder, x: ir.Value, step: float, top: int) -> ir.Value:
    """QuantizeLinear alone, whose upper end is the codes' own."""
    scale, zero = graph.constant(np.float32(step)), graph.constant(np.uint8(255 - top))
    return graph.typed(graph.op("QuantizeLinear", x, scale, zero), shape_of(x), ir.DataType.UINT8)


def _capped(graph: GraphBuilder, codes: ir.Value, top: int) -> ir.Value:
    return graph.typed(
        graph.op("Clip", codes, None, graph.constant(np.uint8(top))), shape_of(codes), ir.DataType.UINT8
    )


@torch.library.custom_op("edgekit::conv8", mutates_args=())
def conv8(
    codes: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, step: float, next_step: float, top: int, stride: int,
    groups: int,
) -> Tensor:  # fmt: skip
    """min(round(max((conv(codes, weight) + bias) * step * scale / next_step, 0)), top), channels last, as uint8."""
    sums = F.conv2d(
        codes.permute(0, 3, 1, 2).float(), weight.float(), None, stride, weight.shape[-1] // 2, 1, groups
    )
    factor = torch.tensor(step, dtype=torch.float32) * scale / torch.tensor(next_step, dtype=torch.float32)
    real = (sums + bias.float().view(-1, 1, 1)) * factor.view(-1, 1, 1)
    return real.round().clamp(0, top).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@conv8.register_fake
def _(
    codes: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, step: float, next_step: float, top: int, stride: int,
    groups: int,
) -> Tensor:  # fmt: skip
    n, height, width, _ = codes.shape
    sides = [-(-side // stride) for side in (height, width)]
    return torch.empty((n, *sides, weight.shape[0]), dtype=torch.uint8)


@emits("edgekit.conv8.default")
def emit_conv8(
    graph: GraphBuilder, codes: ir.Value, weight: ir.Value, scale: ir.Value, bias: ir.Value, step: float,
    next_step: float, top: int, stride: int, groups: int,
) -> ir.Value:  # fmt: skip
    """QLinearConv with channels last, and a Clip."""
    array = graph.array(weight)
    assert array is not None
    zero, zeros = graph.constant(np.uint8(0)), graph.constant(np.zeros(array.shape[0], np.int8))
    result = graph.foreign(
        DOMAIN, "QLinearConv", codes, graph.constant(np.float32(step)), zero, weight, scale, zeros,
        graph.constant(np.float32(next_step)), zero, bias, channels_last=1, kernel_shape=array.shape[2:],
        pads=[array.shape[-1] // 2] * 4, strides=[stride] * 2, dilations=[1, 1], group=groups,
    )  # fmt: skip
    return _capped(graph, graph.typed(result, graph.result.shape, ir.DataType.UINT8), top)


@torch.library.custom_op("edgekit::matmul8", mutates_args=())
def matmul8(codes: Tensor, weight: Tensor, gain: Tensor, shift: Tensor, zero: int) -> Tensor:
    """gain * ((codes - zero) @ weight) + shift over the last dimension, as float."""
    return ((codes.float() - zero) @ weight.float()) * gain + shift


@matmul8.register_fake
def _(codes: Tensor, weight: Tensor, gain: Tensor, shift: Tensor, zero: int) -> Tensor:
    return torch.empty((*codes.shape[:-1], weight.shape[1]))


@emits("edgekit.matmul8.default")
def emit_matmul8(
    graph: GraphBuilder, codes: ir.Value, weight: ir.Value, gain: ir.Value, shift: ir.Value, zero: int
) -> ir.Value:
    """MatMulIntegerToFloat: a whole-numbered product that ends in float, with a scale and a shift per column."""
    outputs = shape_of(weight)[1]
    product = graph.foreign(
        DOMAIN, "MatMulIntegerToFloat", codes, weight, graph.constant(np.float32(1)), gain, graph.constant(np.uint8(zero)),
        graph.constant(np.zeros(outputs, np.int8)), shift,
    )  # fmt: skip
    return graph.typed(product, graph.result.shape, ir.DataType.FLOAT)


@torch.library.custom_op("edgekit::ramp", mutates_args=())
def ramp(x: Tensor, slope: float, offset: float) -> Tensor:
    """slope x + offset, clipped to 0 .. 1."""
    return (slope * x + offset).clamp(0, 1)


@ramp.register_fake
def _(x: Tensor, slope: float, offset: float) -> Tensor:
    return torch.empty_like(x)


@emits("edgekit.ramp.default")
def emit_ramp(graph: GraphBuilder, x: ir.Value, slope: float, offset: float) -> ir.Value:
    """HardSigmoid."""
    return graph.op("HardSigmoid", x, alpha=slope, beta=offset)
