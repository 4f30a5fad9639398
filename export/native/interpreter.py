"""What a program computes, step by step in numpy: `export` proves programs with it, and needs no C compiler to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgekit.export.native.planes import Floats, filled
from edgekit.program import FEW, MANY, UNIT, Program, steps_of


def run(
    program: Program, inputs: Mapping[str, Floats], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Floats]:
    """The program's outputs, of ``shapes``, for ``inputs``."""
    machine = _Machine(program, inputs)
    for name, arguments in steps_of(program):
        getattr(machine, f"_{name}")(**arguments)
    return {name: found.reshape(shapes[name]) for name, found in machine.outputs.items()}


class _Machine:
    def __init__(self, program: Program, inputs: Mapping[str, Floats]) -> None:
        self._program = program
        self._table, self._constants = program.table, program.constants
        self._inputs = [inputs[name] for name in program.inputs]
        self._arena = np.zeros(program.arena, np.float32)
        self.outputs: dict[str, Floats] = {}

    def _plane(self, at: int, height: int, width: int, pitch: int) -> Floats:
        """A view of a plane's pixels."""
        rows = self._arena[at : at + (height - 1) * pitch + width]
        step = rows.itemsize
        return np.lib.stride_tricks.as_strided(rows, (height, width), (pitch * step, step))

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
        for row in self._table[unit_table : unit_table + units * len(UNIT)].reshape(units, len(UNIT)):
            unit = dict(zip(UNIT, map(int, row), strict=True))
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

    def _strided(
        self, rows: int, columns: int, pitch: int, stride: int, source_pitch: int, units: int, unit_table: int, limits: int
    ) -> None:  # fmt: skip
        low, high = self._constants[limits : limits + 2]
        pixels = (np.arange(rows)[:, None] * source_pitch + np.arange(columns)).ravel() * stride
        for row in self._table[unit_table : unit_table + units * len(UNIT)].reshape(units, len(UNIT)):
            unit = dict(zip(UNIT, map(int, row), strict=True))
            outputs, taps = unit["outputs"], unit["taps"]
            x = self._arena[self._table[unit["tap_table"] : unit["tap_table"] + taps][:, None] + pixels]
            sums = self._weights(unit["weight"], outputs, taps, MANY) @ x
            sums += self._constants[unit["bias"] : unit["bias"] + outputs, None]
            for place, values in zip(self._table[unit["output_table"] :], sums, strict=False):
                self._plane(place, rows, columns, pitch)[:] = np.clip(values, low, high).reshape(
                    rows, columns
                )

    def _weights(self, at: int, outputs: int, taps: int, together: int) -> Floats:
        found = []
        for first in range(0, outputs, together):
            rows = min(together, outputs - first) if together == FEW else together
            found.append(self._constants[at : at + rows * taps].reshape(taps, rows).T)
            at += rows * taps
        return np.concatenate(found)[:outputs]

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
