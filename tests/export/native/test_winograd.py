"""Winograd's products are the convolution that they stand for, in numpy and in the kernels, and stand only for what they can."""

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekit.export.native import winograd
from edgekit.export.native.memory import written
from edgekit.export.native.planes import Before, Convolution, Export, Grid, Maps, Places, Unit
from edgekit.export.native.winograd import Winograd, by_columns
from edgekit.kernels import Kernels
from edgekit.program import Program
from tests.export.lowering.random_weights import maps
from tests.export.native.answers import agree
from tests.export.native.test_stereo import Sheet


def window(grid: Grid) -> Places:
    return np.add.outer(np.arange(-1, 2) * grid.pitch, np.arange(-1, 2)).ravel()


def convolved(
    sheet: Sheet, x: Maps, weight: Tensor, bias: Tensor, groups: int, low: float, high: float
) -> Maps:
    """A 3x3 convolution as units, one a group."""
    grid, outputs, each = x.grid, len(weight), weight.shape[1]
    out = sheet.planes(outputs, grid)
    units = [
        Unit(rows, planes.repeat(9), np.tile(window(grid), each), flat.reshape(len(rows), -1).numpy(), shift.numpy(), None)
        for rows, planes, flat, shift in zip(
            out.reshape(groups, -1), x.planes.reshape(groups, -1), weight.chunk(groups), bias.chunk(groups), strict=True
        )
    ]  # fmt: skip
    sheet.steps.append(Convolution(grid, units, low, high))
    return Maps.made(grid, out)


def whole(sheet: Sheet, made: Maps) -> Program:
    steps = [
        *((isinstance(step, Convolution) and by_columns(step)) or step for step in sheet.steps),
        Export(made, 0),
    ]
    assert any(isinstance(step, Winograd) for step in steps)
    return written(steps, sheet.grids, ["x0"], ["y"])


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(12, 230), channels=st.integers(1, 5), outputs=st.integers(1, 9),
    groups=st.integers(1, 3), limited=st.booleans(), halo=st.integers(1, 2), seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_the_convolution(
    kernels: Kernels, height: int, width: int, channels: int, outputs: int, groups: int, limited: bool, halo: int, seed: int
) -> None:  # fmt: skip
    """Of any size, whose rows are no multiple of four, whose columns no multiple of a vector; in groups, with limits."""
    x = maps(seed, 1, groups * channels, height, width)
    weight, bias = maps(seed + 1, groups * outputs, channels, 3, 3), maps(seed + 2, groups * outputs)
    low, high = (-0.5, 1.5) if limited else (-np.inf, np.inf)
    sheet = Sheet(halo)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "COMBINING", 0.0)
        patch.setattr(winograd, "WORTH", 9.0)
        patch.setattr(winograd, "FEWEST", 0)
        made = convolved(sheet, sheet.given(x), weight, bias, groups, low, high)
        program = whole(sheet, made)
    sums = F.conv2d(x.double(), weight.double(), bias.double(), padding=1, groups=groups)
    wanted = sums.clamp(low, high)
    most = [max(1.0, float(each.abs().max())) for each in (sums, wanted)]
    agree(kernels, program, [x], [wanted.float()], closely=5e-6 * most[0] / most[1])


@settings(max_examples=25, deadline=None)
@given(
    slices=st.integers(1, 6), size=st.tuples(st.integers(4, 13), st.integers(12, 60)), seed=st.integers(0, 99)
)
def test_a_window_may_reach_into_other_planes(
    kernels: Kernels, slices: int, size: tuple[int, int], seed: int
) -> None:
    """A 3-D convolution: a unit a slice, which reads the slices beside it and nothing at the ends."""
    channels, outputs = 16, 16
    x, weight = maps(seed, 1, channels * slices, *size), maps(seed + 1, outputs, channels, 3, 3, 3)
    sheet = Sheet()
    read = sheet.given(x)
    volume = read.planes.reshape(channels, slices)
    out = sheet.planes(outputs * slices, read.grid).reshape(outputs, slices)
    units = []
    for at in range(slices):
        near = [depth for depth in range(3) if 0 <= at + depth - 1 < slices]
        planes = volume[:, [at + depth - 1 for depth in near]].ravel()
        flat = weight[:, :, near].reshape(outputs, -1).numpy()
        units.append(
            Unit(out[:, at], planes.repeat(9), np.tile(window(read.grid), len(planes)), flat, np.zeros(outputs, np.float32), None)
        )  # fmt: skip
    sheet.steps.append(Convolution(read.grid, units))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "WORTH", 9.0)
        patch.setattr(winograd, "FEWEST", 0)
        program = whole(sheet, Maps.made(read.grid, out.ravel()))
    wanted = F.conv3d(x.reshape(1, channels, slices, *size).double(), weight.double(), padding=1)
    agree(kernels, program, [x], [wanted.reshape(1, -1, *size).float()], closely=1e-5)


def test_weights_that_are_zero_may_be_missing(kernels: Kernels) -> None:
    """As where a unit's outputs do not use all that it could read: the middle row alone would be no gain, two rows are."""
    x, weight = maps(0, 1, 16, 45, 60), maps(1, 16, 16, 3, 3)
    weight[:, ::2, 0, 1] = 0
    sheet = Sheet()
    read = sheet.given(x)
    out = sheet.planes(16, read.grid)
    flat = weight.reshape(16, -1).numpy()
    used = np.flatnonzero(flat.any(axis=0))
    sheet.steps.append(
        Convolution(
            read.grid,
            [
                Unit(out, read.planes[used // 9], window(read.grid)[used % 9], flat[:, used], np.zeros(16, np.float32), None)
            ],
        )
    )  # fmt: skip
    agree(kernels, whole(sheet, Maps.made(read.grid, out)), [x], [F.conv2d(x, weight, padding=1)])


@pytest.mark.parametrize("what", ["a step of two", "a norm before it", "no zeros around it", "a narrow map"])
def test_what_it_cannot_stand_for_stays(what: str) -> None:
    height, width = (12, 8) if what == "a narrow map" else (12, 30)
    grid = Grid(height, width, 0 if what == "no zeros around it" else 1)
    shifts = window(grid) * (2 if what == "a step of two" else 1)
    before = Before(*np.full((3, 16 * 9), 0.5, np.float32)) if what == "a norm before it" else None
    weight = np.ones((16, 16 * 9), np.float32)
    unit = Unit(
        np.arange(16, 32),
        np.arange(16).repeat(9),
        np.tile(shifts, 16),
        weight,
        np.zeros(16, np.float32),
        before,
    )
    step = Convolution(grid, [unit])
    assert by_columns(step) is None


def test_it_is_taken_where_enough_products_are_saved() -> None:
    """Many channels in and out: yes. A channel or two, or windows of one pixel: what combining rows takes is more than what is saved."""
    grid = Grid(56, 56, 1)

    def taken(channels: int, outputs: int, pixels: int = 9, grid: Grid = grid) -> bool:
        unit = Unit(
            np.arange(outputs), np.arange(channels).repeat(pixels), np.tile(window(grid)[:pixels], channels),
            np.ones((outputs, pixels * channels), np.float32), np.zeros(outputs, np.float32), None,
        )  # fmt: skip
        return by_columns(Convolution(grid, [unit])) is not None

    assert taken(128, 32) and taken(16, 16)
    assert not taken(1, 16) and not taken(4, 4) and not taken(16, 1) and not taken(128, 32, 1)
    assert not taken(128, 32, grid=Grid(28, 28, 1)), "too few tiles for two threads to share"
