"""OQA for ONNX Runtime's 8-bit kernels: unsigned activations on the layers' own grids, channels last, nothing between them in float
that can be a whole number.

before: x -> [clip, round, times step] -> conv -> norm -> activation -> ...           five passes over float tensors a layer
after:  x -> codes (8 bits) -> matrix product or QLinearConv -> codes -> ...

A convolution followed by ReLU gives the next layer's codes itself, exactly (`oqa_requantise`). Before h-swish, squeeze-and-
excitation and a residual sum the real value is needed: there a matrix product ends in float (MatMulIntegerToFloat). A depthwise
convolution has no such form, and is faster as float between reordered channels: its whole-numbered sums are exact there too.
Every node counts, for most are over in microseconds: values that cannot be negative become codes whose upper end is that of 8
bits, and need no cap of their own.

QLinearConv for channels last and MatMulIntegerToFloat are ONNX Runtime's own operators (1.10 has both): this form is for no
other runtime.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering.oqa_grid import per_channel
from edgekit.export.lowering.oqa_ort_ops import codes8, conv8, matmul8, raised8, ramp
from edgekit.export.lowering.oqa_plan import IntegerLayer, check_reach, integer_layer, widened
from edgekit.export.lowering.oqa_requantise import Requantisation, factor, requantise
from edgekit.models.oqa import Block, OqaNet, SqueezeExcite


class Codes(nn.Module):
    """Real values to a layer's codes (uint8)."""

    zero = 0  # what stands for code 0

    def __init__(self, step: float, top: int) -> None:
        super().__init__()
        self.step, self.top = step, top

    def forward(self, x: Tensor) -> Tensor:
        return codes8(x, self.step, self.top)  # type: ignore[no-any-return]


class RaisedCodes(Codes):
    """The same for values that are not negative, without a pass that caps them: code ``top`` is 255, where 8 bits end."""

    def __init__(self, step: float, top: int) -> None:
        super().__init__(step, top)
        self.zero = 255 - top

    def forward(self, x: Tensor) -> Tensor:
        return raised8(x, self.step, self.top)  # type: ignore[no-any-return]


class ToFloat(nn.Module):
    """Codes (N, H, W, C) as float (N, C, H, W)."""

    def forward(self, codes: Tensor) -> Tensor:
        return codes.to(torch.float32).permute(0, 3, 1, 2)


class Product(nn.Module):
    """A 1x1 layer: codes (N, H, W, I), of which ``zero`` stands for 0, to real values (N, H, W, O); no activation."""

    def __init__(self, plan: IntegerLayer, zero: int = 0) -> None:
        super().__init__()
        self.zero = zero
        self.weight = nn.Buffer(torch.from_numpy(plan.weight[:, :, 0, 0].T.astype(np.int8)).contiguous())
        self.gain = nn.Buffer(torch.from_numpy(plan.gain.astype(np.float32)))
        self.shift = nn.Buffer(torch.from_numpy(plan.shift.astype(np.float32)))

    def forward(self, codes: Tensor) -> Tensor:
        return matmul8(codes, self.weight, self.gain, self.shift, self.zero)  # type: ignore[no-any-return]


class CodedConv(nn.Module):
    """A layer and its ReLU: codes (N, H, W, I) to the next layer's codes (N, H, W, O)."""

    def __init__(self, plan: IntegerLayer, found: Requantisation, step: float, top: int) -> None:
        super().__init__()
        check_reach(plan, factor(plan.bits))
        self.plan = (plan.step, step, top, plan.stride, plan.groups)
        self.weight = nn.Buffer(torch.from_numpy((plan.weight * found.factor).astype(np.int8)))
        self.scale = nn.Buffer(torch.from_numpy(found.weight_scale))
        self.bias = nn.Buffer(torch.from_numpy(found.bias))

    def forward(self, codes: Tensor) -> Tensor:
        return conv8(codes, self.weight, self.scale, self.bias, *self.plan)  # type: ignore[no-any-return]


class FloatDepthwise(nn.Module):
    """A depthwise layer: codes as float (N, C, H, W) to real values (N, H, W, C), through ``activation``."""

    def __init__(self, plan: IntegerLayer, activation: nn.Module) -> None:
        super().__init__()
        self.stride, self.padding, self.groups = plan.stride, plan.kernel // 2, plan.groups
        self.weight = nn.Buffer(torch.from_numpy(plan.weight.astype(np.float32)))
        self.gain, self.shift = per_channel(plan.gain), per_channel(plan.shift)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        sums = F.conv2d(x, self.weight, None, self.stride, self.padding, 1, self.groups)
        # Before the transposition, where ONNX Runtime (1.31 with h-swish too) makes one node of it and the convolution.
        return self.activation(sums * self.gain + self.shift).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class Swish(nn.Module):
    """h-swish."""

    def forward(self, x: Tensor) -> Tensor:
        return x * ramp(x, 1 / 6, 0.5)  # type: ignore[no-any-return]


class Gate(nn.Module):
    """Squeeze-and-excitation with channels last; the mean is a matrix product, since reductions over rows are slow.

    Of ``channels`` those beyond its own are of zeros, see `edgekit.export.lowering.oqa_plan.widened`.
    """

    def __init__(self, se: SqueezeExcite, pixels: int, channels: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.full((1, pixels), 1 / pixels))
        more = channels - se.reduce.in_channels
        self.reduce = _linear(se.reduce, (0, more))
        self.expand = _linear(se.expand, (0, 0, 0, more))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean @ x.reshape(-1, x.shape[3])
        return x * ramp(self.expand(F.relu(self.reduce(mean))), 1 / 6, 0.5)  # type: ignore[no-any-return]


def _linear(conv: nn.Conv2d, padding: tuple[int, ...]) -> nn.Linear:
    """A 1x1 convolution of one pixel as a matrix product, its matrix padded with zeros, last dimension first."""
    assert conv.bias is not None
    weight = F.pad(conv.weight.detach()[:, :, 0, 0], padding)
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
    bias = F.pad(conv.bias.detach(), (0, len(weight) - len(conv.bias)))
    linear.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return linear


class U8Block(nn.Module):
    """An inverted residual block: real values (1, H, W, C) to real values."""

    def __init__(self, name: str, block: Block, pixels: int) -> None:
        super().__init__()
        self.residual = block.residual
        deep = integer_layer(f"{name}.depthwise", block.depthwise)
        last = integer_layer(f"{name}.project", block.project)
        first = None if block.expand is None else integer_layer(f"{name}.expand", block.expand)
        coded = deep.activation == "relu" and block.se is None
        if first is not None:
            first, deep, last = widened(first, deep, last)
        steps: list[nn.Module] = [Codes((first or deep).step, deep.top)]
        found = requantise(deep, last.step, last.top) if coded else None
        if first is not None:
            steps += _expansion(first, deep, as_float=found is None)
        elif found is None:
            steps.append(ToFloat())
        if found is not None:
            steps.append(CodedConv(deep, found, last.step, last.top))
            codes = Codes(last.step, last.top)
        else:
            ends, codes = _float_depthwise(deep, last, block.se, pixels)
            steps += ends
        steps.append(Product(last, codes.zero))
        self.steps = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        y = self.steps(x)
        return x + y if self.residual else y  # type: ignore[no-any-return]


def _expansion(first: IntegerLayer, deep: IntegerLayer, as_float: bool) -> list[nn.Module]:
    """From the codes of a block's input to those of its depthwise layer."""
    if first.activation == "relu":
        found = requantise(first, deep.step, deep.top)
        if found is not None:
            coded: list[nn.Module] = [CodedConv(first, found, deep.step, deep.top)]
            return [*coded, ToFloat()] if as_float else coded
    swish = [Swish()] if first.activation == "h_swish" else []
    # By way of 8 bits even to float: ONNX Runtime's Round is slower than both conversions (1.10), or as slow (1.31).
    floated = [ToFloat()] if as_float else []
    return [Product(first), *swish, Codes(deep.step, deep.top), *floated]


def _float_depthwise(
    deep: IntegerLayer, last: IntegerLayer, se: SqueezeExcite | None, pixels: int
) -> tuple[list[nn.Module], Codes]:
    """From a depthwise layer's codes, as float, to those of the layer after it; and what these are."""
    swished = deep.activation == "h_swish"
    codes = (Codes if swished else RaisedCodes)(last.step, last.top)
    gate = [] if se is None else [Gate(se, pixels, deep.groups)]
    return [FloatDepthwise(deep, Swish() if swished else nn.ReLU()), *gate, codes], codes


class U8Head(nn.Module):
    """A picture (1, 3, H, W) to what the first block takes, (1, H / 2, W / 2, C); in float."""

    def __init__(self, net: OqaNet) -> None:
        super().__init__()
        self.first, self.first_norm, self.swish = net.first, net.first_norm, Swish()

    def forward(self, image: Tensor) -> Tensor:
        return self.swish(self.first_norm(self.first(image))).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class U8Tail(nn.Module):
    """What the last block gives, (1, H, W, C), to logits (1, classes)."""

    def __init__(self, net: OqaNet, pixels: int) -> None:
        super().__init__()
        final, mix = integer_layer("final", net.final), integer_layer("mix", net.mix)
        self.final = nn.Sequential(Codes(final.step, final.top), Product(final), Swish())
        self.mean = nn.Buffer(torch.full((1, pixels), 1 / pixels))
        self.mix = nn.Sequential(Codes(mix.step, mix.top), Product(mix), Swish())
        self.classifier = net.classifier

    def forward(self, x: Tensor) -> Tensor:
        x = self.final(x)
        return self.classifier(self.mix(self.mean @ x.reshape(-1, x.shape[3])))  # type: ignore[no-any-return]


class U8Net(nn.Module):
    """A subnet; see the file's docstring."""

    def __init__(self, net: OqaNet, size: tuple[int, int]) -> None:
        super().__init__()
        self.head = U8Head(net)
        sides = [_halved(side) for side in size]
        blocks = []
        for number, block in enumerate(net.blocks):
            assert isinstance(block, Block)
            if block.depthwise.conv.stride == 2:
                sides = [_halved(side) for side in sides]
            blocks.append(U8Block(f"blocks.{number}", block, sides[0] * sides[1]))
        self.blocks = nn.ModuleList(blocks)
        self.tail = U8Tail(net, sides[0] * sides[1])

    def forward(self, image: Tensor) -> Tensor:
        x = self.head(image)
        for block in self.blocks:
            x = block(x)
        return self.tail(x)  # type: ignore[no-any-return]


def _halved(side: int) -> int:
    return -(-side // 2)
