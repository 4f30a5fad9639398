"""Matrix products and strided convolutions resize as torch's interpolation does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.export.lowering.separable_resize import BlockResize, CentreMean, SeparableResize
from tests.export.lowering.random_weights import maps

sides = st.integers(1, 24)


@given(
    before=st.tuples(sides, sides),
    after=st.tuples(sides, sides),
    align=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_two_matrix_products_are_a_bilinear_resize(
    before: tuple[int, int], after: tuple[int, int], align: bool, seed: int
) -> None:
    x = maps(seed, 2, 3, *before)
    expected = F.interpolate(x, size=after, mode="bilinear", align_corners=align)
    torch.testing.assert_close(SeparableResize(before, after, align)(x), expected, rtol=1e-4, atol=1e-4)


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    factor=st.sampled_from([2, 3, 4, 8, 16]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_blocks_enlarge_as_the_whole_map_does_across_their_seams_and_at_the_border(
    height: int, width: int, factor: int, seed: int
) -> None:
    x = maps(seed, 1, 1, height, width)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    torch.testing.assert_close(BlockResize((height, width), factor)(x), expected, rtol=1e-4, atol=1e-4)


@given(
    height=st.integers(1, 6), width=st.integers(1, 6), channels=st.integers(1, 3), factor=st.sampled_from([2, 4, 6, 8, 16]),
    gain=st.sampled_from([1.0, 0.25]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_shrinking_is_a_mean_of_the_four_middle_pixels(
    height: int, width: int, channels: int, factor: int, gain: float, seed: int
) -> None:
    x = maps(seed, 1, channels, height * factor, width * factor)
    expected = gain * F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        CentreMean(channels, height * factor, factor, gain)(x), expected, rtol=1e-4, atol=1e-5
    )


def test_an_odd_factor_has_no_four_middle_pixels() -> None:
    with pytest.raises(ValueError, match="even"):
        CentreMean(1, 12, 3)
