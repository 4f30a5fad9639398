"""Whether a layer on the integer grid survives FP16: proven where every sum stays whole, measured where it may not.

FP16 holds every whole number up to 2048. Codes and their products (at most 15 x 8) always fit; partial sums fit where the layer's
reach does, and then any order of summation is exact; in 32-bit accumulators they always are. What FP16 rounds in any case is the
real value behind the sums: it flips a code of the next layer where it lies next to the middle between two. How many it flips is
measured by computing each layer as a device with nothing but FP16 would: sums in FP16, term by term, scale, shift and
activation in FP16, at the inputs that the float32 network has there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.export.lowering.oqa_plan import FLOAT16_EXACT, IntegerLayer, integer_layer
from edgekit.models.oqa import Block, OqaNet, QuantLayer

Half = NDArray[np.float16]
SIDE = 64  # px, at most: noise pictures of this size show as many roundings as larger ones


@dataclass(frozen=True)
class HalfLayer:
    """One layer in FP16.

    Attributes:
        reach: the largest magnitude that any partial sum can have, in whole numbers.
        flipped: share of the next layer's codes that differ from float32's, emulated on noise; None where no code follows.
    """

    reach: int
    flipped: float | None

    @property
    def proven(self) -> bool:
        """Whether the sums are exact even where they are accumulated in FP16."""
        return self.reach <= FLOAT16_EXACT


def in_half(net: OqaNet, size: tuple[int, int]) -> dict[str, HalfLayer]:
    """Every quantised layer by its name, for pictures of ``size``."""
    given = _inputs(net, size)
    readers = {name: (between, reader) for name, between, reader in _readers(net)}
    quantised, found = net.quantised(), dict[str, HalfLayer]()
    for name, layer in quantised.items():
        plan = integer_layer(name, layer)
        flipped = None
        if name in readers:
            between, reader = readers[name]
            with torch.no_grad():
                exact = layer(given[name])
                rounded = torch.from_numpy(emulated(plan, layer, given[name]).astype(np.float32))
                if between is not None:
                    exact, rounded = between(exact), _halved(between(rounded))
                if name.endswith("project"):
                    # A residual sum may stand between: what goes into the reader, moved by the error.
                    exact, rounded = given[reader], _halved(given[reader] + (rounded - exact))
                conv = quantised[reader].conv
                flipped = float((conv.input_codes(exact) != conv.input_codes(rounded)).float().mean())
        found[name] = HalfLayer(plan.reach, flipped)
    return found


def emulated(plan: IntegerLayer, layer: QuantLayer, x: Tensor) -> Half:
    """The layer's answer (1, O, H, W) with every operation behind the input's codes rounded to FP16."""
    sums = _sums(plan, layer.conv.input_codes(x))
    gain, shift = (values.astype(np.float16)[:, None, None] for values in (plan.gain, plan.shift))
    y = sums * gain + shift
    if plan.activation == "relu":
        y = np.maximum(y, np.float16(0))
    elif plan.activation == "h_swish":
        y = y * (np.clip(y + np.float16(3), np.float16(0), np.float16(6)) / np.float16(6))
    return y[None]


def _sums(plan: IntegerLayer, codes: Tensor) -> Half:
    """The convolution's sums (O, H, W), accumulated in FP16 term by term.

    Whatever the order, no partial sum is larger than the sum of all positive terms or that of all negative ones. Where both
    stay within 2048, the whole number is the answer, and only the few others are added up one term after the other.
    """
    weight = torch.from_numpy(plan.weight.astype(np.float32))
    pad = plan.kernel // 2

    def convolved(kernel: Tensor) -> NDArray[np.float32]:
        found = F.conv2d(codes, kernel, None, plan.stride, pad, 1, plan.groups)[0]
        return found.numpy()

    sums = convolved(weight).astype(np.float16)
    reached = np.maximum(convolved(weight.clamp(min=0)), convolved((-weight).clamp(min=0)))
    outputs, rows, columns = np.nonzero(reached > FLOAT16_EXACT)
    padded = np.pad(codes.numpy()[0].astype(np.float16), ((0, 0), (pad, pad), (pad, pad)))
    halves = plan.weight.astype(np.float16)
    late = np.zeros(len(outputs), np.float16)
    for dy in range(plan.kernel):
        for dx in range(plan.kernel):
            y, x = rows * plan.stride + dy, columns * plan.stride + dx
            if plan.groups > 1:
                late += padded[outputs, y, x] * halves[outputs, 0, dy, dx]
            else:
                for channel, plane in enumerate(padded):
                    late += plane[y, x] * halves[outputs, channel, dy, dx]
    sums[outputs, rows, columns] = late
    return sums


def _halved(x: Tensor) -> Tensor:
    return x.half().float()


def _inputs(net: OqaNet, size: tuple[int, int]) -> dict[str, Tensor]:
    """What goes into every quantised layer for a picture of noise."""
    found: dict[str, Tensor] = {}

    def keep(name: str, layer: QuantLayer) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_pre_hook(lambda _, inputs: found.update({name: inputs[0]}))

    handles = [keep(name, layer) for name, layer in net.quantised().items()]
    noise = torch.randn(1, 3, *(min(side, SIDE) for side in size), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net(noise)
    for handle in handles:
        handle.remove()
    return found


def _readers(net: OqaNet) -> Iterator[tuple[str, nn.Module | None, str]]:
    """Layers whose answers become codes: their names, what lies between, and the layer that reads them."""
    count = len(net.blocks)
    for number, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        if block.expand is not None:
            yield f"blocks.{number}.expand", None, f"blocks.{number}.depthwise"
        yield f"blocks.{number}.depthwise", block.se, f"blocks.{number}.project"
        yield (
            f"blocks.{number}.project",
            None,
            f"blocks.{number + 1}.expand" if number + 1 < count else "final",
        )
