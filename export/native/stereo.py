"""Stereo's steps: resizing, costs of a match and what is expected of them, and spatial propagation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.export.native.planes import Before, Floats, Grid, Maps, OfMaps, Places, Step


@dataclass(frozen=True)
class Axis:
    """What a bilinear resize reads along one axis.

    Attributes:
        pairs: the two neighbours of every result, shape (N, 2).
        weights: of the second one, shape (N,).
    """

    pairs: Places
    weights: Floats

    @staticmethod
    def of(outputs: int, inputs: int, align_corners: bool) -> Axis:
        """As torch's ``interpolate`` with mode ``bilinear`` has it."""
        place = np.arange(outputs, dtype=np.float64)
        if align_corners:
            place *= (inputs - 1) / (outputs - 1) if outputs > 1 else 0.0
        else:
            place = np.maximum((place + 0.5) * (inputs / outputs) - 0.5, 0)
        first = np.minimum(np.floor(place).astype(np.int64), inputs - 1)
        pairs = np.stack([first, np.minimum(first + 1, inputs - 1)], axis=1)
        return Axis(pairs, (place - first).astype(np.float32))

    @staticmethod
    def same(count: int) -> Axis:
        """That leaves it as it is."""
        return Axis(np.repeat(np.arange(count), 2).reshape(count, 2), np.zeros(count, np.float32))


@dataclass
class Resize(Step):
    """Maps or an input, resized; into planes or as an output.

    Attributes:
        source: an input's number, or maps.
        shape: of what it reads: channels, height and width.
        before: what becomes of each channel's results.
        to: an output's number, or the grid and the planes that it fills.
        addend: the number of an input that is added, or -1.
    """

    source: int | Maps
    shape: tuple[int, int, int]
    rows: Axis
    columns: Axis
    to: int | tuple[Grid, Places]
    before: Before | None = None
    addend: int = -1

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return self.source.planes.tolist() if isinstance(self.source, Maps) else ()

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return () if isinstance(self.to, int) else self.to[1].tolist()


@dataclass
class Transpose(OfMaps):
    """Rows become columns."""

    grid: Grid
    planes: Places

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return self.planes.tolist()  # type: ignore[no-any-return]


@dataclass
class Volume(Step):
    """Costs of matches, a plane a slice: sums[0] * (the L1 distance of the features) + sums[1], at least ``low``.

    Slice s compares with what lies ``first + step * s`` px further left, and a ``disparity`` further (a plane) where there is one.
    """

    grid: Grid
    left: Places
    right: Places
    disparity: int | None
    first: int
    step: int
    planes: Places
    sums: tuple[float, float]
    low: float

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        also = () if self.disparity is None else (self.disparity,)
        return [*self.left.tolist(), *self.right.tolist(), *also]

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return self.planes.tolist()  # type: ignore[no-any-return]


@dataclass
class Expectation(OfMaps):
    """The mean of ``values`` under the softmax of what maps hold, pixel by pixel."""

    values: Floats
    plane: int

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return (self.plane,)


@dataclass
class Propagate(OfMaps):
    """Maps spread from row to row, along three gates a channel: all first ones, then all second and third ones."""

    gates: Places
    planes: Places

    @property
    def reads(self) -> Sequence[int]:
        """See `Step.reads`."""
        return [*self.source.planes.tolist(), *self.gates.tolist()]

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return self.planes.tolist()  # type: ignore[no-any-return]


@dataclass
class Stem(Step):
    """Two 3x3 convolutions of an input with a ReLU between, the second one of stride two."""

    number: int
    size: tuple[int, int]
    weight: Floats  # (inner, C, 3, 3)
    bias: Floats
    second: Floats  # (M, inner, 3, 3)
    second_bias: Floats
    grid: Grid
    planes: Places

    @property
    def writes(self) -> Sequence[int]:
        """See `Step.writes`."""
        return self.planes.tolist()  # type: ignore[no-any-return]
