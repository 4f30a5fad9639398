"""Scale and bias with which an 8-bit convolution gives exactly the next layer's codes, proven for every accumulator there can be.

before: code = round(clip((gain a + shift) / step, 0, top))                       a: the accumulator, a whole number
after:  code = min(round(max((f a + bias) * scale, 0)), top)                      bias: a whole number too

ONNX Runtime's QLinearConv adds a whole-numbered bias to the accumulator; rounding ``shift`` to it moves the thresholds between
codes by up to half a unit, and flips one code in some hundred. Weights times ``f`` (16 for 4 bits: they still fit 8) make that
unit f times finer, and since f a only takes every f-th value, a bias and a scale near the ideal ones can be found that flip
none. Every channel is checked for every accumulator, in the arithmetic that the kernel uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.export.lowering.oqa_plan import IntegerLayer

Float32 = npt.NDArray[np.float32]
_BIASES = (0, 1, -1, 2, -2, 3, -3, 4, -4)
_SCALES = tuple(1 + sign * 2.0**-k for k in (30, 12, 11, 10, 9, 8) for sign in (1, -1))


@dataclass(frozen=True)
class Requantisation:
    """What the convolution is given.

    Attributes:
        factor: the codes of the weights are multiplied by it.
        weight_scale: (outputs,) float32, for an input scale and an output scale of ``step`` and ``next_step``.
        bias: (outputs,) int32.
    """

    factor: int
    weight_scale: Float32
    bias: npt.NDArray[np.int32]


def factor(bits: int) -> int:
    """What brings weights of ``bits`` to the whole range of 8 bits."""
    return 1 << (8 - bits)


def requantise(layer: IntegerLayer, next_step: float, next_top: int) -> Requantisation | None:
    """Scale and bias that give the codes of a next layer exactly, None where none were found.

    ``layer`` must be followed by ReLU, or by nothing: the codes' own lower end is the ReLU.
    """
    f = factor(layer.bits)
    gain, shift = layer.gain / next_step, layer.shift / next_step
    if (gain <= 0).any() or not np.isfinite(shift / gain).all() or np.abs(shift / gain).max() * f > 2**30:
        return None
    ideal_scale = (layer.gain / layer.step / f).astype(np.float32)
    ideal_bias = np.rint(shift / gain * f).astype(np.int64)
    scale, bias = ideal_scale.copy(), ideal_bias.copy()
    open_channels = np.arange(len(gain))
    for nudge in _SCALES:
        for move in _BIASES:
            tried_scale = (ideal_scale[open_channels].astype(np.float64) * nudge).astype(np.float32)
            tried_bias = ideal_bias[open_channels] + move
            exact = _exact(layer, open_channels, f, tried_scale, tried_bias, gain, shift, next_step, next_top)
            scale[open_channels[exact]] = tried_scale[exact]
            bias[open_channels[exact]] = tried_bias[exact]
            open_channels = open_channels[~exact]
            if not len(open_channels):
                return Requantisation(f, scale, bias.astype(np.int32))
    return None


def _exact(
    layer: IntegerLayer, channels: npt.NDArray[np.int64], f: int, scale: Float32, bias: npt.NDArray[np.int64],
    gain: npt.NDArray[np.float64], shift: npt.NDArray[np.float64], next_step: float, next_top: int,
) -> npt.NDArray[np.bool_]:  # fmt: skip
    """For which of ``channels`` every accumulator gets the code that it must."""
    low, high = int(layer.lowest[channels].min()), int(layer.highest[channels].max())
    a = np.arange(low, high + 1)[None]
    wanted = np.rint(np.clip(gain[channels, None] * a + shift[channels, None], 0, next_top))
    # As ONNX Runtime does: one float32 product of the scales, divided by the output's, times the accumulator.
    factor32 = (np.float32(layer.step) * scale) / np.float32(next_step)
    given = np.rint((f * a + bias[:, None]).astype(np.float32) * factor32[:, None])
    given = np.clip(given, 0, next_top)
    inside = (a >= layer.lowest[channels, None]) & (a <= layer.highest[channels, None])
    return ((given == wanted) | ~inside).all(1)  # type: ignore[no-any-return]
