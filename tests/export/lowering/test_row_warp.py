"""One gather compares with the warped right map as a grid sample for every residual does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.export.lowering.row_warp import RowWarpVolume
from edgekit.models.anynet import residual_cost_volume
from tests.export.lowering.random_weights import maps


@given(
    channels=st.integers(1, 4), height=st.integers(1, 6), width=st.integers(2, 30), reach=st.integers(1, 5),
    spread=st.sampled_from([0.3, 3.0, 60.0]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_residual_costs_what_grid_samples_say_inside_and_outside_the_map(
    channels: int, height: int, width: int, reach: int, spread: float, seed: int
) -> None:
    left, right = maps(seed, 2, 1, channels, height, width)
    disparity = spread * maps(seed + 1, 1, 1, height, width)
    volume = RowWarpVolume(channels, (height, width), reach)(left, right, disparity)
    # grid_sample brings positions to -1 .. 1 and back, which costs it digits.
    expected = residual_cost_volume(left, right, disparity, reach)
    torch.testing.assert_close(volume, expected, rtol=1e-3, atol=1e-3 if spread < 10 else 1e-2)


def test_whole_disparities_compare_with_pixels_untouched() -> None:
    left, right = maps(3, 2, 1, 2, 4, 12)
    volume = RowWarpVolume(2, (4, 12), 1, gain=0.5)(left, right, torch.full((1, 1, 4, 12), 5.0))
    shifted = torch.nn.functional.pad(right, (5, 0))[..., :12]
    torch.testing.assert_close(volume, 0.5 * (left - shifted).abs().sum(dim=1, keepdim=True))


@pytest.mark.parametrize("far", [1e9, -1e9, 1e30, -1e30, float("inf"), float("-inf")])
def test_a_disparity_beyond_every_map_finds_zeros(far: float) -> None:
    left, right = maps(4, 2, 1, 2, 4, 12)
    volume = RowWarpVolume(2, (4, 12), 3)(left, right, torch.full((1, 1, 4, 12), far))
    torch.testing.assert_close(volume, left.abs().sum(dim=1, keepdim=True).expand(1, 5, 4, 12))


def test_a_disparity_that_is_no_number_spoils_its_own_pixel_only() -> None:
    left, right = maps(5, 2, 1, 2, 4, 12)
    disparity = torch.ones(1, 1, 4, 12)
    clean = RowWarpVolume(2, (4, 12), 2)(left, right, disparity)
    disparity[0, 0, 1, 7] = float("nan")
    spoilt = RowWarpVolume(2, (4, 12), 2)(left, right, disparity)
    unequal = spoilt.ne(clean).nonzero()[:, 2:].unique(dim=0)
    assert unequal.tolist() == [[1, 7]]
