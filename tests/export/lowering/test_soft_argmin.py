"""Exponentials and a matrix product give the disparity that a softmax expects."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.export.lowering.soft_argmin import SoftArgmin
from edgekit.models.anynet import regress_disparity
from tests.export.lowering.random_weights import maps


@given(
    slices=st.integers(1, 14), first=st.integers(-4, 2), spread=st.sampled_from([0.1, 5.0, 500.0]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_the_expectation_is_the_softmax_one_at_any_scale_of_the_costs(
    slices: int, first: int, spread: float, seed: int
) -> None:
    cost = spread * maps(seed, 1, slices, 3, 5)
    disparity = SoftArgmin(slices, first, gain=4)(-cost[0])
    torch.testing.assert_close(
        disparity.unsqueeze(0), 4 * regress_disparity(cost, first), rtol=1e-4, atol=1e-4
    )
