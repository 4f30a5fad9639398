"""Stereo's steps compute what torch computes, in numpy and in the kernels, on any size."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.export.native.draft import Draft
from edgekit.export.native.memory import written
from edgekit.export.native.planes import Before, Convolution, Export, Grid, Import, Maps, Unit
from edgekit.export.native.stereo import Axis, Expectation, Propagate, Resize, Stem, Transpose, Volume
from edgekit.kernels import Kernels
from edgekit.models.anynet import (
    cost_volume,
    propagate,
    regress_disparity,
    residual_cost_volume,
    split_gates,
)
from edgekit.program import Program
from tests.export.lowering.random_weights import maps
from tests.export.native.answers import agree

sides = st.integers(1, 40)
sizes = st.tuples(sides, sides)
seeds = st.integers(0, 99)


class Sheet(Draft):
    """A program in the making, of steps one by one."""

    def __init__(self, halo: int = 1) -> None:
        super().__init__((), {})
        self.halo = halo
        self.inputs = 0

    def sheet(self, height: int, width: int) -> Grid:
        return Grid(height, width, self.halo)

    def given(self, x: Tensor) -> Maps:
        """The next input as planes."""
        channels, height, width = (int(side) for side in x.shape[1:])
        grid = self.sheet(height, width)
        planes = self.planes(channels, grid)
        self.steps.append(Import(self.inputs, (channels, height, width), 1, grid, planes))
        self.inputs += 1
        return Maps.made(grid, planes)

    def program(self, made: Maps | None = None) -> Program:
        if made is not None:
            self.steps.append(Export(made, 0))
        return written(self.steps, self.grids, [f"x{k}" for k in range(self.inputs)], ["y"])


@settings(max_examples=80, deadline=None)
@given(
    before=sizes, after=sizes, channels=st.integers(1, 5), align=st.booleans(), read=st.booleans(), written_=st.booleans(),
    changed=st.booleans(), added=st.booleans(), seed=seeds,
)  # fmt: skip
def test_maps_are_resized_as_torch_resizes_them(
    kernels: Kernels, before: tuple[int, int], after: tuple[int, int], channels: int, align: bool, read: bool,
    written_: bool, changed: bool, added: bool, seed: int,
) -> None:  # fmt: skip
    """From an input or planes, into an output or planes, with and without a norm, a ReLU and an addend."""
    x, addend = maps(seed, 1, channels, *before), maps(seed + 1, 1, channels, *after)
    scale, shift = maps(seed + 2, 2, channels)
    sheet = Sheet()
    source: int | Maps = 0
    if read:
        sheet.inputs += 1
    else:
        source = sheet.given(x)
    axes = [Axis.of(out, inside, align) for out, inside in zip(after, before, strict=True)]
    norm = Before(scale.numpy(), shift.numpy(), np.zeros(channels, np.float32)) if changed else None
    grid = sheet.sheet(*after)
    planes = sheet.planes(channels, grid)
    sheet.inputs += added
    sheet.steps.append(
        Resize(
            source, (channels, *before), axes[0], axes[1], 0 if written_ else (grid, planes), norm, 1 if added else -1
        )
    )  # fmt: skip
    made = sheet.program(None if written_ else Maps.made(grid, planes))
    want = F.interpolate(x, after, mode="bilinear", align_corners=align)
    if changed:
        want = torch.relu(want * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1))
    agree(kernels, made, [x, addend][: 1 + added], [want + addend if added else want])


@settings(max_examples=20, deadline=None)
@given(size=sizes, factor=st.sampled_from([2, 4, 8, 16]), up=st.booleans(), seed=seeds)
def test_whole_factors_are_resized_as_any(
    kernels: Kernels, size: tuple[int, int], factor: int, up: bool, seed: int
) -> None:
    large = (size[0] * factor, size[1] * factor)
    before, after = (size, large) if up else (large, size)
    x = maps(seed, 1, 2, *before)
    sheet = Sheet()
    axes = [Axis.of(out, inside, False) for out, inside in zip(after, before, strict=True)]
    sheet.steps.append(Resize(sheet.given(x) if up else 0, (2, *before), axes[0], axes[1], 0))
    sheet.inputs = 1
    want = F.interpolate(x, after, mode="bilinear", align_corners=False)
    agree(kernels, sheet.program(), [x], [want])


def test_an_axis_that_stays_as_it_is(kernels: Kernels) -> None:
    x = maps(1, 1, 3, 9, 21)
    sheet = Sheet()
    sheet.inputs = 1
    sheet.steps.append(Resize(0, (3, 9, 21), Axis.same(9), Axis.same(21), 0))
    agree(kernels, sheet.program(), [x], [x], closely=0)


@settings(max_examples=30, deadline=None)
@given(size=sizes, channels=st.integers(1, 4), seed=seeds)
def test_rows_become_columns(kernels: Kernels, size: tuple[int, int], channels: int, seed: int) -> None:
    x = maps(seed, 1, channels, *size)
    sheet = Sheet()
    source, grid = sheet.given(x), sheet.sheet(size[1], size[0])
    planes = sheet.planes(channels, grid)
    sheet.steps.append(Transpose(source, grid, planes))
    agree(kernels, sheet.program(Maps.made(grid, planes)), [x], [x.transpose(2, 3)], closely=0)


def _volume(
    features: Tensor, disparity: Tensor | None, first: int, step: int, slices: int, sums: tuple[float, float]
) -> Program:
    sheet = Sheet()
    both = sheet.given(features.reshape(1, -1, *features.shape[2:]))
    left, right = both.planes.reshape(2, -1)
    known = None if disparity is None else int(sheet.given(disparity).planes[0])
    planes = sheet.planes(slices, both.grid)
    sheet.steps.append(Volume(both.grid, left, right, known, first, step, planes, sums, 0.0))
    return sheet.program(Maps.made(both.grid, planes))


@settings(max_examples=50, deadline=None)
@given(size=sizes, channels=st.integers(1, 9), slices=st.integers(1, 14), seed=seeds)
def test_costs_of_shifts_are_the_networks(
    kernels: Kernels, size: tuple[int, int], channels: int, slices: int, seed: int
) -> None:
    """Also where the map is narrower than the search, and with the norm and ReLU of what reads them."""
    features = maps(seed, 2, channels, *size)
    made = _volume(features, None, 0, 1, slices, (-0.7, 2.5))
    want = torch.relu(-0.7 * cost_volume(features[:1], features[1:], slices) + 2.5)
    agree(kernels, made, [features], [want])


@settings(max_examples=60, deadline=None)
@given(
    height=sides, width=st.integers(2, 40), channels=st.integers(1, 5), reach=st.integers(1, 5),
    spread=st.sampled_from([0.3, 3.0, 60.0]), seed=seeds,
)  # fmt: skip
def test_costs_of_residuals_are_what_grid_samples_say(
    kernels: Kernels, height: int, width: int, channels: int, reach: int, spread: float, seed: int
) -> None:
    features = maps(seed, 2, channels, height, width)
    disparity = spread * maps(seed + 1, 1, 1, height, width)
    made = _volume(features, disparity, reach - 1, -1, 2 * reach - 1, (1.0, 0.0))
    # grid_sample brings positions to -1 .. 1 and back, which costs it digits.
    want = residual_cost_volume(features[:1], features[1:], disparity, reach)
    agree(kernels, made, [features, disparity], [want], closely=1e-3 if spread < 10 else 3e-3)


@pytest.mark.parametrize("far", [1e9, -1e9, 1e30, -1e30, math.inf, -math.inf, math.nan])
def test_a_disparity_beyond_every_map_finds_zeros_and_spoils_nothing_else(
    kernels: Kernels, far: float
) -> None:
    features, disparity = maps(4, 2, 2, 5, 19), torch.ones(1, 1, 5, 19)
    disparity[0, 0, 2, 7] = far
    want = residual_cost_volume(features[:1], features[1:], torch.ones(1, 1, 5, 19), 3)
    want[0, :, 2, 7] = features[0, :, 2, 7].abs().sum()
    made = _volume(features, disparity, 2, -1, 5, (1.0, 0.0))
    agree(kernels, made, [features, disparity], [want])


@settings(max_examples=40, deadline=None)
@given(
    size=sizes, slices=st.integers(1, 14), first=st.integers(-5, 5), spread=st.sampled_from([0.1, 5.0, 200.0]), seed=seeds
)  # fmt: skip
def test_the_expected_disparity_is_the_networks(
    kernels: Kernels, size: tuple[int, int], slices: int, first: int, spread: float, seed: int
) -> None:
    scores = spread * maps(seed, 1, slices, *size)
    sheet = Sheet()
    source = sheet.given(scores)
    planes = sheet.planes(1, source.grid)
    values = 4.0 * np.arange(first, first + slices, dtype=np.float32)
    sheet.steps.append(Expectation(source, values, int(planes[0])))
    want = 4 * regress_disparity(-scores, first)
    agree(kernels, sheet.program(Maps.made(source.grid, planes)), [scores], [want], closely=1e-5)


def test_scores_far_apart_are_no_infinities(kernels: Kernels) -> None:
    scores = torch.tensor([-1e38, 0.0, 1e38, -300.0]).view(1, 4, 1, 1).expand(1, 4, 3, 20).contiguous()
    sheet = Sheet()
    source = sheet.given(scores)
    planes = sheet.planes(1, source.grid)
    sheet.steps.append(Expectation(source, np.arange(4, dtype=np.float32), int(planes[0])))
    agree(kernels, sheet.program(Maps.made(source.grid, planes)), [scores], [torch.full((1, 1, 3, 20), 2.0)])


@settings(max_examples=40, deadline=None)
@given(size=sizes, channels=st.integers(1, 9), zero=st.booleans(), seed=seeds)
def test_maps_spread_along_gates_as_the_network_spreads_them(
    kernels: Kernels, size: tuple[int, int], channels: int, zero: bool, seed: int
) -> None:
    """Along rows instead of columns: transposed."""
    x, raw = maps(seed, 1, channels, *size), maps(seed + 1, 1, 3 * channels, *size)
    if zero:
        raw[..., ::2] = 0
    sheet = Sheet()
    source, gates = sheet.given(x), sheet.given(raw)
    planes = sheet.planes(channels, source.grid)
    sheet.steps.append(Propagate(source, gates.planes, planes))
    want = propagate(x.transpose(2, 3), *split_gates(raw.transpose(2, 3))).transpose(2, 3)
    agree(kernels, sheet.program(Maps.made(source.grid, planes)), [x, raw], [want])


@settings(max_examples=40, deadline=None)
@given(size=sizes, inner=st.integers(1, 5), outputs=st.integers(1, 6), seed=seeds)
def test_a_stem_is_two_convolutions(
    kernels: Kernels, size: tuple[int, int], inner: int, outputs: int, seed: int
) -> None:
    torch.manual_seed(seed)
    first, second = nn.Conv2d(3, inner, 3, padding=1), nn.Conv2d(inner, outputs, 3, 2, 1)
    x = maps(seed, 1, 3, *size)
    sheet = Sheet()
    sheet.inputs = 1
    grid = sheet.sheet((size[0] + 1) // 2, (size[1] + 1) // 2)
    planes = sheet.planes(outputs, grid)
    numbers = [each.detach().numpy() for each in (first.weight, first.bias, second.weight, second.bias)]
    sheet.steps.append(Stem(0, size, numbers[0], numbers[1], numbers[2], numbers[3], grid, planes))
    with torch.no_grad():
        want = second(torch.relu(first(x)))
    agree(kernels, sheet.program(Maps.made(grid, planes)), [x], [want])


def test_what_lies_between_rows_stays_zero(kernels: Kernels) -> None:
    """A convolution behind a step reads the zeros around its planes: here, a mean over everything around."""
    x = 3 + maps(8, 1, 4, 7, 13)
    sheet = Sheet()
    source = sheet.given(x)
    planes = sheet.planes(1, source.grid)
    sheet.steps.append(Expectation(source, np.full(4, 5.0, np.float32), int(planes[0])))
    out = sheet.planes(1, source.grid)
    window = np.add.outer(np.arange(-1, 2) * source.grid.pitch, np.arange(-1, 2)).ravel()
    unit = Unit(out, planes.repeat(9), window, np.ones((1, 9), np.float32), np.zeros(1, np.float32), None)
    sheet.steps.append(Convolution(source.grid, [unit]))
    want = F.conv2d(torch.full((1, 1, 7, 13), 5.0), torch.ones(1, 1, 3, 3), padding=1)
    agree(kernels, sheet.program(Maps.made(source.grid, out)), [x], [want])
