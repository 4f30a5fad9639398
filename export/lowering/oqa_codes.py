"""OQA's layers as products of unsigned codes and INT8 codes, in operators of ONNX's own, for OpenVINO.

before: norm(conv(fake_quantise(x), fake_quantise(w)))
after:  gain * conv(DQ(Q(clip(x / step, 0, top))), DQ(codes)) + shift          Q and DQ of step one: UINT8 in front, INT8 for weights

OpenVINO recomputes the steps of every Q and DQ from the ends of their ranges, which moves `qdq`'s values by a few last digits, and
a code in a hundred thousand by one. A step of one it recomputes exactly, and the sums are whole numbers: what is left are `grid`'s
own products and sums, and it fuses them into the 8-bit convolution.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, shape_of
from edgekit.export.lowering.oqa_grid import per_channel
from edgekit.export.lowering.oqa_plan import IntegerLayer
from edgekit.models.oqa import Activation


class CodesLayer(nn.Module):
    """A layer in 8 bits, depthwise or not: (N, C, H, W) of real values to the same."""

    def __init__(self, plan: IntegerLayer) -> None:
        super().__init__()
        self.step, self.top = plan.step, float(plan.top)
        self.stride, self.groups = plan.stride, plan.groups
        self.weight = nn.Buffer(torch.from_numpy(plan.weight.astype(np.int8)))
        self.gain, self.shift = per_channel(plan.gain), per_channel(plan.shift)
        self.activation = Activation(plan.activation)

    def forward(self, x: Tensor) -> Tensor:
        codes = (x / self.step).clamp(0, self.top)
        sums = codes_conv(codes, self.weight, self.stride, self.groups)
        return self.activation(sums * self.gain + self.shift)  # type: ignore[no-any-return]


@torch.library.custom_op("edgekit::codes_conv", mutates_args=())
def codes_conv(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """Convolution of x, rounded to whole numbers from 0 to 255, with weights (INT8)."""
    return F.conv2d(x.round().clamp(0, 255), weight.float(), None, stride, weight.shape[-1] // 2, 1, groups)


@codes_conv.register_fake
def _(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    return F.conv2d(x, weight.float(), None, stride, weight.shape[-1] // 2, 1, groups)


@emits("edgekit.codes_conv.default")
def emit_codes_conv(graph: GraphBuilder, x: ir.Value, weight: ir.Value, stride: int, groups: int) -> ir.Value:
    """QuantizeLinear and DequantizeLinear of step one, and a Conv whose weights come through another DequantizeLinear."""
    array = graph.array(weight)
    assert array is not None
    one, unsigned, signed = (graph.constant(value) for value in (np.float32(1), np.uint8(0), np.int8(0)))
    codes = graph.typed(graph.op("QuantizeLinear", x, one, unsigned), shape_of(x), ir.DataType.UINT8)
    real = graph.typed(graph.op("DequantizeLinear", codes, one, unsigned), shape_of(x), x.dtype)
    kernel = graph.typed(graph.op("DequantizeLinear", weight, one, signed), array.shape, x.dtype)
    pad = array.shape[-1] // 2
    return graph.op(
        "Conv", real, kernel, None, kernel_shape=array.shape[2:], strides=[stride] * 2, dilations=[1, 1], pads=[pad] * 4,
        group=groups,
    )  # fmt: skip
