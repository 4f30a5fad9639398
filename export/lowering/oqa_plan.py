"""A quantised layer of OQA as whole numbers: what the integers are, what one unit of the accumulator is worth, how far it reaches.

before: norm(conv(sa q, sw w)) with q, w whole numbers
after:  gain[c] * conv(q, w) + shift[c]      gain = |sa| |sw| gamma / sigma

Batch norm and both steps go into ``gain`` and ``shift``, so that the weights stay on their grid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgekit.errors import ExportError
from edgekit.models.lsq import activation_levels
from edgekit.models.oqa import QuantLayer

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
INT32 = 2**31 - 1
FLOAT16_EXACT = 2**11  # whole numbers up to here are exact in float16
LANES = 16  # channels that a kernel takes at once


@dataclass(frozen=True)
class IntegerLayer:
    """One convolution on the integer grid.

    Attributes:
        name: of the layer in the subnet.
        bits: of its weights and of its input.
        weight: codes (outputs, inputs / groups, kernel, kernel).
        gain, shift: (outputs,): what the accumulator's unit is worth, and what batch norm adds.
        step: of the input: code 1 stands for this much.
        top: the input's highest code.
        stride, groups: of the convolution.
        activation: what follows: ``relu``, ``h_swish`` or ``none``.
    """

    name: str
    bits: int
    weight: Ints
    gain: Floats
    shift: Floats
    step: float
    top: int
    stride: int
    groups: int
    activation: str

    @property
    def kernel(self) -> int:
        """Side of the kernel."""
        return int(self.weight.shape[-1])

    @property
    def lowest(self) -> Ints:
        """The smallest accumulator that any input can give, per output channel."""
        return self.top * np.minimum(self.weight, 0).sum((1, 2, 3))  # type: ignore[no-any-return]

    @property
    def highest(self) -> Ints:
        """The largest accumulator that any input can give, per output channel."""
        return self.top * np.maximum(self.weight, 0).sum((1, 2, 3))  # type: ignore[no-any-return]

    @property
    def reach(self) -> int:
        """The largest magnitude that any accumulator or partial sum can have."""
        return int(max(-self.lowest.min(), self.highest.max(), 0))


def integer_layer(name: str, layer: QuantLayer) -> IntegerLayer:
    """The layer as whole numbers.

    Raises:
        ExportError: some input could overflow a 32-bit accumulator.
    """
    conv = layer.conv
    scale, shift = _norm(layer)
    step = float(conv.sa.detach().abs().double())
    plan = IntegerLayer(
        name=name,
        bits=conv.bits,
        weight=conv.weight_codes().detach().numpy().astype(np.int64),
        gain=step * float(conv.sw.detach().abs().double()) * scale,
        shift=shift,
        step=step,
        top=activation_levels(conv.bits)[1],
        stride=conv.stride,
        groups=conv.groups,
        activation=layer.activation.kind,
    )
    check_reach(plan)
    return plan


def widened(
    first: IntegerLayer, deep: IntegerLayer, last: IntegerLayer, multiple: int = LANES
) -> tuple[IntegerLayer, IntegerLayer, IntegerLayer]:
    """A block whose inner width is the next ``multiple``: more channels, all of weights 0, that nothing reads.

    ONNX Runtime's 8-bit depthwise kernel takes 72 channels in two and a half times the time of 80 (1.31, AVX-512).
    """
    more = -len(deep.weight) % multiple

    def outputs(layer: IntegerLayer, groups: int) -> IntegerLayer:
        weight = np.pad(layer.weight, ((0, more), (0, 0), (0, 0), (0, 0)))
        gain = np.pad(layer.gain, (0, more), constant_values=layer.gain.mean())
        return replace(layer, weight=weight, gain=gain, shift=np.pad(layer.shift, (0, more)), groups=groups)

    inner = replace(last, weight=np.pad(last.weight, ((0, 0), (0, more), (0, 0), (0, 0))))
    return outputs(first, first.groups), outputs(deep, deep.groups + more), inner


def check_reach(layer: IntegerLayer, factor: int = 1) -> None:
    """Refuse a layer whose accumulator, in units of 1 / ``factor``, could leave 32 bits.

    Raises:
        ExportError: it could, and for which layer.
    """
    if layer.reach * factor > INT32:
        raise ExportError(
            f"{layer.name}: an input could drive its accumulator to {layer.reach * factor}, beyond 32 bits; "
            "a layer this wide needs narrower weights"
        )


def _norm(layer: QuantLayer) -> tuple[Floats, Floats]:
    """What follows the convolution as a scale and a shift per channel."""
    norm = layer.norm
    if norm is None:
        channels = layer.conv.weight.shape[0]
        return np.ones(channels), np.zeros(channels)
    assert norm.running_mean is not None and norm.running_var is not None
    mean, var, gamma, beta = (
        tensor.detach().double().numpy()
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    scale = gamma / np.sqrt(var + norm.eps)
    return scale, beta - mean * scale
