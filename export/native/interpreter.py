"""What a program computes, step by step in numpy: `export` proves programs with it, and needs no C compiler to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.export.native.interpreter_products import Products
from edgekit.export.native.planes import Floats, filled
from edgekit.program import (
    FEW,
    MANY,
    Program,
    steps_of,
)


def run(
    program: Program, inputs: Mapping[str, Floats], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Floats]:
    """The program's outputs, of ``shapes``, for ``inputs``."""
    machine = _Machine(program, inputs)
    for name, arguments in steps_of(program):
        getattr(machine, f"_{name}")(**arguments)
    machine.leave()
    return {name: found.reshape(shapes[name]) for name, found in machine.outputs.items()}


def _outputs_of(weights: npt.NDArray[Any], outputs: int, taps: int, together: int) -> npt.NDArray[Any]:
    """(outputs, taps) of weights as units have them."""
    found, at = [], 0
    for first in range(0, outputs, together):
        rows = min(together, outputs - first) if together == FEW else together
        found.append(weights[at : at + rows * taps].reshape(taps, rows).T)
        at += rows * taps
    return np.concatenate(found)[:outputs]


class _Machine(Products):
    def __init__(self, program: Program, inputs: Mapping[str, Floats]) -> None:
        super().__init__(program)
        self._inputs = [inputs[name] for name in program.inputs]
        self.outputs: dict[str, Floats] = {}
        for one in program.residents:
            if one.name in program.inputs:
                self._fill(
                    one.planes, one.pitch, inputs[one.name].reshape(one.channels, one.height, one.width)
                )

    def leave(self) -> None:
        """Add what stays in the arena to the outputs."""
        for one in self._program.residents:
            if one.name in self._program.outputs:
                self.outputs[one.name] = self._planes(
                    one.planes, one.channels, one.height, one.width, one.pitch
                )

    def _group(self, steps: int) -> None:
        """One after the other is right, too."""

    def _before(self, values: Floats, scale: int, shift: int, floor: int, channel: int) -> Floats:
        if scale < 0:
            return values
        factor, term, low = (self._constants[at + channel] for at in (scale, shift, floor))
        return np.maximum(values * factor + term, low)  # type: ignore[no-any-return]

    def _import(
        self, input: int, channels: int, height: int, width: int, stride: int, rows: int, columns: int, pitch: int,
        planes: int,
    ) -> None:  # fmt: skip
        maps = self._inputs[input].reshape(channels, height, width)
        self._split(maps, stride, rows, columns, pitch, planes)

    def _phases(
        self, sources: int, channels: int, height: int, width: int, source_pitch: int, stride: int, rows: int, columns: int,
        pitch: int, planes: int,
    ) -> None:  # fmt: skip
        places = self._table[sources : sources + channels]
        maps = np.stack([self._plane(at, height, width, source_pitch) for at in places])
        self._split(maps, stride, rows, columns, pitch, planes)

    def _split(self, maps: Floats, stride: int, rows: int, columns: int, pitch: int, planes: int) -> None:
        channels, height, width = maps.shape
        whole = np.zeros((channels, rows * stride, columns * stride), np.float32)
        height, width = min(height, rows * stride), min(width, columns * stride)
        whole[:, :height, :width] = maps[:, :height, :width]
        for channel in range(channels):
            for row in range(stride):
                for column in range(stride):
                    place = self._table[planes + (channel * stride + row) * stride + column]
                    self._plane(place, rows, columns, pitch)[:] = whole[channel, row::stride, column::stride]

    def _conv(self, length: int, units: int, unit_table: int, mask: int, limits: int, together: int) -> None:
        low, high = self._constants[limits : limits + 2]
        shown = self._constants[mask : mask + filled(length)]
        span = np.arange(filled(length))
        for unit in self._units(unit_table, units):
            outputs, taps = unit["outputs"], unit["taps"]
            x = self._arena[self._table[unit["tap_table"] : unit["tap_table"] + taps][:, None] + span]
            if unit["scale"] >= 0:
                scale, shift, floor = (
                    self._constants[unit[name] : unit[name] + taps, None] for name in ("scale", "shift", "floor")
                )  # fmt: skip
                x = np.maximum(x * scale + shift, floor)
            sums = self._weights(unit["weight"], outputs, taps, together) @ x
            sums += self._constants[unit["bias"] : unit["bias"] + outputs, None]
            for place, values in zip(self._table[unit["output_table"] :], sums, strict=False):
                self._arena[place : place + len(span)] = np.clip(values, low, high) * shown

    def _halved(self, **arguments: int) -> None:
        self._strided(**arguments, halved=True)

    def _strided(
        self, rows: int, columns: int, pitch: int, stride: int, source_pitch: int, units: int, unit_table: int, limits: int,
        halved: bool = False,
    ) -> None:  # fmt: skip
        low, high = self._constants[limits : limits + 2]
        pixels = (np.arange(rows)[:, None] * source_pitch + np.arange(columns)).ravel() * stride
        for unit in self._units(unit_table, units):
            outputs, taps = unit["outputs"], unit["taps"]
            x = self._arena[self._table[unit["tap_table"] : unit["tap_table"] + taps][:, None] + pixels]
            weights = self._halves(unit) if halved else self._weights(unit["weight"], outputs, taps, MANY)
            sums = weights @ x
            sums += self._constants[unit["bias"] : unit["bias"] + outputs, None]
            for place, values in zip(self._table[unit["output_table"] :], sums, strict=False):
                self._plane(place, rows, columns, pitch)[:] = np.clip(values, low, high).reshape(
                    rows, columns
                )

    def _weights(self, at: int, outputs: int, taps: int, together: int) -> Floats:
        return _outputs_of(self._constants[at:], outputs, taps, together)

    def _halves(self, unit: Mapping[str, int]) -> Floats:
        numbers = self._constants[unit["weight"] :].view(np.int16)
        scale = self._constants[unit["scale"] : unit["scale"] + unit["outputs"], None]
        return _outputs_of(numbers, unit["outputs"], unit["taps"], MANY) * scale  # type: ignore[no-any-return]

    def _pool(
        self, kind: int, counts: int, kernel: int, stride: int, padding: int, height: int, width: int, source_pitch: int,
        rows: int, columns: int, pitch: int, channels: int, sources: int, planes: int, scale: int, shift: int, floor: int,
    ) -> None:  # fmt: skip
        for channel in range(channels):
            values = self._plane(self._table[sources + channel], height, width, source_pitch)
            values = self._before(values, scale, shift, floor, channel)
            edge = [(padding, padding + kernel)] * 2
            padded = np.pad(values, edge, constant_values=-np.inf if kind else 0)
            inside = np.pad(np.ones((height, width), np.float32), edge)
            windows, known = (
                np.lib.stride_tricks.sliding_window_view(each, (kernel, kernel))[::stride, ::stride][
                    :rows, :columns
                ]
                for each in (padded, inside)
            )
            count = kernel * kernel if counts else known.sum((2, 3))
            found = windows.max((2, 3)) if kind else windows.sum((2, 3)) / count
            self._plane(self._table[planes + channel], rows, columns, pitch)[:] = found

    def _mean(
        self, length: int, count: int, mask: int, channels: int, sources: int, to: int, scale: int, shift: int, floor: int
    ) -> None:  # fmt: skip
        shown = self._constants[mask : mask + length]
        for channel in range(channels):
            at = self._table[sources + channel]
            values = self._before(self._arena[at : at + length], scale, shift, floor, channel)
            self._arena[to + channel] = float((values * shown).sum()) / count

    def _linear(
        self, outputs: int, taps: int, source: int, to: int, weight: int, bias: int, limits: int
    ) -> None:
        matrix = self._constants[weight : weight + outputs * taps].reshape(outputs, taps)
        sums = matrix @ self._arena[source : source + taps] + self._constants[bias : bias + outputs]
        self._arena[to : to + outputs] = np.clip(sums, *self._constants[limits : limits + 2])

    def _copy(self, count: int, source: int, to: int) -> None:
        self._arena[to : to + count] = self._arena[source : source + count]

    def _export(self, output: int, channels: int, height: int, width: int, pitch: int, planes: int) -> None:
        places: npt.NDArray[np.int32] = self._table[planes : planes + channels]
        maps = [self._plane(at, height, width, pitch) for at in places]
        self.outputs[self._program.outputs[output]] = np.stack(maps)

    def _read(self, input: int, sources: int, channels: int, height: int, width: int, pitch: int) -> Floats:
        """An input's maps, or those of planes."""
        if input >= 0:
            return self._inputs[input].reshape(channels, height, width)
        return self._planes(sources, channels, height, width, pitch)

    def _resize(
        self, input: int, sources: int, channels: int, height: int, width: int, source_pitch: int, row_table: int,
        row_weights: int, column_table: int, column_weights: int, scale: int, shift: int, floor: int, addend: int, output: int,
        rows: int, columns: int, pitch: int, planes: int,
    ) -> None:  # fmt: skip
        x = self._read(input, sources, channels, height, width, source_pitch)
        upper, lower = self._table[row_table : row_table + 2 * rows].reshape(rows, 2).T
        left, right = self._table[column_table : column_table + 2 * columns].reshape(columns, 2).T
        v = self._constants[row_weights : row_weights + rows, None]
        h = self._constants[column_weights : column_weights + columns]
        wide = x[..., left] + h * (x[..., right] - x[..., left])
        found = wide[:, upper] + v * (wide[:, lower] - wide[:, upper])
        found = np.stack([self._before(each, scale, shift, floor, c) for c, each in enumerate(found)])
        if addend >= 0:
            found = found + self._inputs[addend].reshape(found.shape)
        if output >= 0:
            self.outputs[self._program.outputs[output]] = found
        else:
            self._fill(planes, pitch, found)

    def _transpose(
        self, channels: int, sources: int, height: int, width: int, source_pitch: int, planes: int, pitch: int
    ) -> None:
        self._fill(planes, pitch, self._planes(sources, channels, height, width, source_pitch).swapaxes(1, 2))

    def _volume(
        self, left: int, right: int, channels: int, height: int, width: int, pitch: int, disparity: int, first: int, step: int,
        slices: int, sums: int, limits: int, planes: int,
    ) -> None:  # fmt: skip
        ours, theirs = (self._planes(each, channels, height, width, pitch) for each in (left, right))
        far = abs(first) + slices + 1
        p = np.tile(np.arange(width, dtype=np.float32), (height, 1))
        if disparity >= 0:
            p = p - self._plane(disparity, height, width, pitch)
            p = np.clip(np.where(np.isnan(p), -far, p), -far, width + far).astype(np.float32)
        whole = np.floor(p)
        gain, term = self._constants[sums : sums + 2]
        low, high = self._constants[limits : limits + 2]
        edge = 2 * far + 2
        padded = np.pad(theirs, ((0, 0), (0, 0), (edge, edge)))
        found = []
        for number in range(slices):
            at = (whole.astype(np.int64) - first - step * number + edge)[None].repeat(channels, 0)
            near, beyond = (np.take_along_axis(padded, at + one, 2) for one in (0, 1))
            distance = np.abs(ours - (near + (p - whole) * (beyond - near))).sum(0)
            found.append(np.clip(gain * distance + term, low, high))
        self._fill(planes, pitch, np.stack(found))

    def _expectation(
        self, slices: int, sources: int, height: int, width: int, pitch: int, values: int, to: int
    ) -> None:
        x = self._planes(sources, slices, height, width, pitch)
        shares = np.exp(x - x.max(0))
        mean = np.tensordot(self._constants[values : values + slices], shares, 1) / shares.sum(0)
        self._plane(to, height, width, pitch)[:] = mean

    def _propagate(
        self, channels: int, sources: int, gates: int, height: int, width: int, pitch: int, planes: int
    ) -> None:
        x = self._planes(sources, channels, height, width, pitch)
        raw = self._planes(gates, 3 * channels, height, width, pitch).reshape(3, channels, height, width)
        above, level, below = raw / (np.abs(raw).sum(0) + np.float32(1e-8))
        above[..., 0] = below[..., -1] = above[:, 0] = level[:, 0] = below[:, 0] = 0
        h = (1 - above - level - below) * x
        for t in range(1, height):
            last = np.pad(h[:, t - 1], ((0, 0), (1, 1)))
            h[:, t] += above[:, t] * last[:, :-2] + level[:, t] * last[:, 1:-1] + below[:, t] * last[:, 2:]
        self._fill(planes, pitch, h)

    def _stem(
        self, input: int, channels: int, height: int, width: int, inner: int, outputs: int, rows: int, columns: int, pitch: int,
        planes: int, weight: int, bias: int, second: int, second_bias: int, limits: int,
    ) -> None:  # fmt: skip
        x = self._inputs[input].reshape(channels, height, width)
        x = np.maximum(self._window(x, inner, weight, bias), 0)
        found = self._window(x, outputs, second, second_bias)[:, ::2, ::2][:, :rows, :columns]
        self._fill(planes, pitch, np.clip(found, *self._constants[limits : limits + 2]))

    def _window(self, x: Floats, outputs: int, weight: int, bias: int) -> Floats:
        """A 3x3 convolution, padded with one zero."""
        channels, height, width = x.shape
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        kernels = self._constants[weight : weight + outputs * channels * 9].reshape(outputs, channels, 3, 3)
        found = np.zeros((outputs, height, width), np.float32)
        found += self._constants[bias : bias + outputs, None, None]
        for row in range(3):
            for column in range(3):
                window = padded[:, row : row + height, column : column + width]
                found += np.tensordot(kernels[..., row, column], window, 1)
        return found
