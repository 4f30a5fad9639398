"""OQA's layers in float32 on the integer grid, and as INT8 between Quantize and Dequantize by TensorRT 8's rules.

before: norm(conv(fake_quantise(x), fake_quantise(w)))
float:  gain * conv(round(clip(x / step, 0, top)), codes) + shift          every product and sum a whole number below 2^24
INT8:   conv(DQ(Q(min(relu(x), top step))), DQ(codes)) + shift              Q and DQ of INT8 with zero point 0

The codes of weights are what both hold, untouched by batch norm. The INT8 weights' scale is one a channel and positive; a layer
with a channel that batch norm turns round or puts out keeps one scale for all, and is scaled after the convolution.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, shape_of
from edgekit.export.lowering.oqa_plan import IntegerLayer, integer_layer
from edgekit.models.oqa import Activation, OqaNet


def with_layers(net: OqaNet, form: Callable[[IntegerLayer], nn.Module]) -> OqaNet:
    """A copy of ``net`` whose quantised layers have another form."""
    layers = {name: form(integer_layer(name, layer)) for name, layer in net.quantised().items()}
    lowered = copy.deepcopy(net)
    for name, layer in layers.items():
        lowered.set_submodule(name, layer)
    return lowered.eval()


def per_channel(values: np.ndarray) -> nn.Buffer:
    """(C,) as (C, 1, 1) float32."""
    return nn.Buffer(torch.from_numpy(values.astype(np.float32)).view(-1, 1, 1))


class GridLayer(nn.Module):
    """A layer in float32: (N, C, H, W) of real values to the same."""

    def __init__(self, plan: IntegerLayer) -> None:
        super().__init__()
        self.step, self.top = plan.step, float(plan.top)
        self.stride, self.padding, self.groups = plan.stride, plan.kernel // 2, plan.groups
        self.weight = nn.Buffer(torch.from_numpy(plan.weight.astype(np.float32)))
        self.gain, self.shift = per_channel(plan.gain), per_channel(plan.shift)
        self.activation = Activation(plan.activation)

    def forward(self, x: Tensor) -> Tensor:
        codes = (x / self.step).clamp(0, self.top).round()
        sums = F.conv2d(codes, self.weight, None, self.stride, self.padding, 1, self.groups)
        return self.activation(sums * self.gain + self.shift)  # type: ignore[no-any-return]


class QdqLayer(nn.Module):
    """A layer as INT8: (N, C, H, W) of real values to the same."""

    def __init__(self, plan: IntegerLayer) -> None:
        super().__init__()
        self.step = plan.step
        self.highest = nn.Buffer(torch.tensor(plan.top * plan.step, dtype=torch.float32))
        self.stride, self.groups = plan.stride, plan.groups
        self.weight = nn.Buffer(torch.from_numpy(plan.weight.astype(np.int8)))
        scales = (plan.gain / plan.step).astype(np.float32)
        self.folded = bool((scales > 0).all())
        self.scales = nn.Buffer(torch.from_numpy(scales if self.folded else np.ones_like(scales)))
        self.bias = nn.Buffer(torch.from_numpy(plan.shift.astype(np.float32))) if self.folded else None
        self.gain, self.shift = per_channel(plan.gain / plan.step), per_channel(plan.shift)
        self.activation = Activation(plan.activation)

    def forward(self, x: Tensor) -> Tensor:
        # Not one Clip: ONNX Runtime 1.31 merges a Clip into the QuantizeLinear behind it, and moves the grid by that.
        clipped = torch.minimum(torch.relu(x), self.highest)
        y = qdq_conv(clipped, self.weight, self.scales, self.bias, self.step, self.stride, self.groups)
        return self.activation(y if self.folded else y * self.gain + self.shift)  # type: ignore[no-any-return]


def int8_layer(plan: IntegerLayer) -> nn.Module:
    """INT8 but for depthwise layers, which TensorRT's INT8 takes in groups of multiples of 4 channels only."""
    return GridLayer(plan) if plan.groups > 1 else QdqLayer(plan)


@torch.library.custom_op("edgekit::qdq_conv", mutates_args=())
def qdq_conv(
    x: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None, step: float, stride: int, groups: int
) -> Tensor:
    """Convolution of x, quantised to INT8 with ``step``, with weights (INT8) times ``scales`` (outputs,)."""
    quantised = torch.fake_quantize_per_tensor_affine(x, step, 0, -128, 127)
    kernel = weight.float() * scales.view(-1, 1, 1, 1)
    return F.conv2d(quantised, kernel, bias, stride, weight.shape[-1] // 2, 1, groups)


@qdq_conv.register_fake
def _(
    x: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None, step: float, stride: int, groups: int
) -> Tensor:
    return F.conv2d(x, weight.float(), bias, stride, weight.shape[-1] // 2, 1, groups)


@emits("edgekit.qdq_conv.default")
def emit_qdq_conv(
    graph: GraphBuilder, x: ir.Value, weight: ir.Value, scales: ir.Value, bias: ir.Value | None, step: float,
    stride: int, groups: int,
) -> ir.Value:  # fmt: skip
    """QuantizeLinear, DequantizeLinear, and a Conv whose weights come through a DequantizeLinear of axis 0."""
    array = graph.array(weight)
    assert array is not None
    scale, zero = graph.constant(np.float32(step)), graph.constant(np.int8(0))
    quantised = graph.typed(graph.op("QuantizeLinear", x, scale, zero), shape_of(x), ir.DataType.INT8)
    real = graph.typed(graph.op("DequantizeLinear", quantised, scale, zero), shape_of(x), x.dtype)
    zeros = graph.constant(np.zeros(array.shape[0], np.int8))
    kernel = graph.typed(graph.op("DequantizeLinear", weight, scales, zeros, axis=0), array.shape, x.dtype)
    pad = array.shape[-1] // 2
    return graph.op(
        "Conv", real, kernel, bias, kernel_shape=array.shape[2:], strides=[stride] * 2, dilations=[1, 1], pads=[pad] * 4,
        group=groups,
    )  # fmt: skip
