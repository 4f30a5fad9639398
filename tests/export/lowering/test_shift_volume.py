"""The coarse cost volume from slices is the one that the network fills."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.export.lowering.shift_volume import ShiftVolume
from edgekit.models.anynet import cost_volume
from tests.export.lowering.random_weights import maps


@given(
    channels=st.integers(1, 8), height=st.integers(1, 5), width=st.integers(2, 20), disparities=st.integers(1, 14),
    gain=st.sampled_from([1.0, -0.5]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_every_shift_costs_what_the_network_says_even_beyond_the_width(
    channels: int, height: int, width: int, disparities: int, gain: float, seed: int
) -> None:
    disparities = min(disparities, width)
    left, right = maps(seed, 2, 1, channels, height, width)
    volume = ShiftVolume(channels, disparities, gain)(left, right)
    torch.testing.assert_close(volume, gain * cost_volume(left, right, disparities), rtol=1e-4, atol=1e-4)
