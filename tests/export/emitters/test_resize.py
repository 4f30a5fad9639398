"""Resizes put pixels where torch puts them, at any ratio."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

SIDES = st.integers(1, 23)


@given(height=SIDES, width=SIDES, to_height=SIDES, to_width=SIDES, align=st.booleans())
@settings(max_examples=30, deadline=None)
def test_bilinear_to_any_size_is_torchs(
    same, height: int, width: int, to_height: int, to_width: int, align: bool
) -> None:
    x = torch.randn(1, 2, height, width)
    same(
        lambda x: F.interpolate(x, (to_height, to_width), mode="bilinear", align_corners=align), x, atol=1e-4
    )


@given(height=SIDES, width=SIDES, to_height=SIDES, to_width=SIDES)
@example(height=21, width=1, to_height=3, to_width=1)
@settings(max_examples=30, deadline=None)
def test_nearest_to_any_size_is_torchs(same, height: int, width: int, to_height: int, to_width: int) -> None:
    x = torch.randn(1, 2, height, width)
    same(lambda x: F.interpolate(x, (to_height, to_width), mode="nearest"), x)
    same(lambda x: F.interpolate(x, (to_height, to_width), mode="nearest-exact"), x)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_enlarging_by_a_whole_number_is_one_resize(same, mode: str) -> None:
    x = torch.randn(1, 2, 3, 5)
    assert same(lambda x: F.interpolate(x, scale_factor=(2, 3), mode=mode), x).operators == {"Resize": 1}


@pytest.mark.parametrize("scale", [2, 0.5, 1.5, 1.3, 0.7, 2.05])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "nearest-exact"])
def test_a_scale_that_leaves_a_remainder_counts_as_given(same, scale: float, mode: str) -> None:
    same(lambda x: F.interpolate(x, scale_factor=scale, mode=mode), torch.randn(1, 2, 7, 10), atol=1e-4)


def test_other_ranks_and_modes(same) -> None:
    same(lambda x: F.interpolate(x, scale_factor=2, mode="linear"), torch.randn(1, 2, 7))
    same(lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), torch.randn(1, 2, 7))
    same(lambda x: F.interpolate(x, (4, 6, 8), mode="trilinear"), torch.randn(1, 2, 2, 5, 4), atol=1e-4)
    same(lambda x: F.interpolate(x, (9, 12), mode="bicubic"), torch.randn(1, 2, 7, 5), atol=1e-4)


def test_pixel_shuffle_both_ways(same) -> None:
    same(lambda x: F.pixel_shuffle(x, 2), torch.randn(2, 8, 3, 4))
    same(lambda x: F.pixel_shuffle(x, 2), torch.randn(8, 3, 4))
    same(lambda x: F.pixel_unshuffle(x, 2), torch.randn(1, 2, 4, 6))


def test_a_resize_to_the_same_size_leaves_no_node(same) -> None:
    assert same(
        lambda x: F.interpolate(x, (3, 4), mode="bilinear").relu(), torch.randn(1, 2, 3, 4)
    ).operators == {"Relu": 1}
