"""The arena of a program in numpy, and Winograd's steps on it."""

from __future__ import annotations

import numpy as np

from edgekit.export.native.planes import Floats
from edgekit.program import (
    FEW,
    LANES,
    MANY,
    SQUARE,
    SQUARE_PARTS,
    UNIT,
    WINOGRAD_PARTS,
    WINOGRAD_ROWS,
    Program,
)

# Winograd's matrices for four results of three taps, of the points 0, 1, -1, 2, -2 and infinity.
BEFORE_PRODUCTS = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
    np.float32,
)  # fmt: skip
AFTER_PRODUCTS = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)


class Planes:
    """The planes of a program's arena."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._table, self._constants = program.table, program.constants
        self._arena = np.zeros(program.arena, np.float32)

    def _plane(self, at: int, height: int, width: int, pitch: int) -> Floats:
        """A view of a plane's pixels."""
        rows = self._arena[at : at + (height - 1) * pitch + width]
        step = rows.itemsize
        return np.lib.stride_tricks.as_strided(rows, (height, width), (pitch * step, step))

    def _planes(self, table: int, channels: int, height: int, width: int, pitch: int) -> Floats:
        places = self._table[table : table + channels]
        return np.stack([self._plane(at, height, width, pitch) for at in places])

    def _fill(self, table: int, pitch: int, maps: Floats) -> None:
        for place, values in zip(self._table[table:], maps, strict=False):
            self._plane(place, len(values), values.shape[1], pitch)[:] = values

    def _units(self, table: int, count: int) -> list[dict[str, int]]:
        rows = self._table[table : table + count * len(UNIT)].reshape(count, len(UNIT)).tolist()
        return [dict(zip(UNIT, row, strict=True)) for row in rows]


class Products(Planes):
    """Convolutions with fewer products."""

    def _winograd(
        self, height: int, width: int, pitch: int, units: int, unit_table: int, limits: int
    ) -> None:
        groups = -(-height // WINOGRAD_ROWS)
        low, high = self._constants[limits : limits + 2]
        for unit in self._units(unit_table, units):
            outputs, planes = unit["outputs"], unit["taps"]
            x = self._planes(unit["tap_table"], planes, height, width, pitch)
            x = np.pad(x, ((0, 0), (1, groups * WINOGRAD_ROWS + 1 - height), (1, 1)))
            six = np.stack([x[:, WINOGRAD_ROWS * g :][:, :WINOGRAD_PARTS] for g in range(groups)])
            parts = np.einsum("kj,gcjx->kcgx", BEFORE_PRODUCTS, six)
            near = np.stack([parts[..., column : column + width] for column in range(3)], axis=2)
            near = near.reshape(WINOGRAD_PARTS, 3 * planes, groups * width)
            products = self._strips(unit["weight"], outputs, 3 * planes) @ near
            rows = np.einsum(
                "ik,kmgx->mgix", AFTER_PRODUCTS, products.reshape(WINOGRAD_PARTS, outputs, groups, width)
            )
            found = rows.reshape(outputs, -1, width)[:, :height]
            found = found + self._constants[unit["bias"] : unit["bias"] + outputs, None, None]
            self._fill(unit["output_table"], pitch, np.clip(found, low, high))

    def _strips(self, at: int, outputs: int, taps: int) -> Floats:
        """A Winograd unit's weights, (parts, outputs, taps)."""
        found = []
        for first in range(0, outputs, FEW):
            rows = min(FEW, outputs - first)
            strip = self._constants[at : at + WINOGRAD_PARTS * taps * rows].reshape(
                WINOGRAD_PARTS, taps, rows
            )
            found.append(strip.swapaxes(1, 2))
            at += strip.size
        return np.concatenate(found, axis=1)

    def _parts(self, at: int, channels: int, height: int, width: int) -> tuple[Floats, tuple[int, int]]:
        """A view of the parts of squares, (parts, channels, squares), and how many squares there are down and along."""
        sides = -(-height // SQUARE), -(-width // SQUARE)
        room = -(-sides[0] * sides[1] // MANY) * MANY
        apart = channels * room + LANES
        whole = self._arena[at : at + SQUARE_PARTS * apart].reshape(SQUARE_PARTS, apart)
        return whole[:, : channels * room].reshape(SQUARE_PARTS, channels, room), sides

    def _squares(self, channels: int, sources: int, height: int, width: int, pitch: int, to: int) -> None:
        parts, (down, along) = self._parts(to, channels, height, width)
        x = self._planes(sources, channels, height, width, pitch)
        x = np.pad(x, ((0, 0), (1, SQUARE * down + 1 - height), (1, SQUARE * along + 1 - width)))
        reach = SQUARE + 2
        for q in range(down * along):
            y, z = q // along * SQUARE, q % along * SQUARE
            six = x[:, y : y + reach, z : z + reach]
            parts[:, :, q] = np.einsum(
                "kr,qc,nrc->kqn", BEFORE_PRODUCTS, BEFORE_PRODUCTS, six
            ).reshape(SQUARE_PARTS, channels)  # fmt: skip

    def _squared(
        self, channels: int, source: int, outputs: int, planes: int, height: int, width: int, pitch: int, weight: int, bias: int,
        limits: int,
    ) -> None:  # fmt: skip
        parts, (down, along) = self._parts(source, channels, height, width)
        strips = -(-outputs // MANY)
        weights = self._constants[weight : weight + SQUARE_PARTS * strips * channels * MANY]
        weights = weights.reshape(strips, SQUARE_PARTS, channels, MANY)
        products = np.einsum("skco,kcq->ksoq", weights, parts[:, :, : down * along])
        side = SQUARE + 2
        products = products.reshape(side, side, strips * MANY, down, along)[:, :, :outputs]
        found = np.einsum("yk,xq,kqoda->odyax", AFTER_PRODUCTS, AFTER_PRODUCTS, products)
        found = found.reshape(outputs, SQUARE * down, SQUARE * along)[:, :height, :width]
        found = found + self._constants[bias : bias + outputs, None, None]
        self._fill(planes, pitch, np.clip(found, *self._constants[limits : limits + 2]))
