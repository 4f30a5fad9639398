"""The disparity network by minimal filtering gives the network's scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.export.lowering.conv3d_winograd import Conv3dWinograd, filtering
from tests.export.lowering.conv3d_judge import agrees, shapes
from tests.export.lowering.random_weights import maps


@given(shape=shapes)
@settings(max_examples=30, deadline=None)
def test_the_scores_are_those_of_the_network(shape: dict[str, int]) -> None:
    agrees(Conv3dWinograd, shape)


@given(outputs=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_minimal_filtering_is_a_sliding_product_with_fewer_multiplications(outputs: int, seed: int) -> None:
    f = filtering(outputs)
    x, taps = maps(seed, outputs + 2).double(), maps(seed + 1, 3).double()
    expected = torch.stack([x[k : k + 3] @ taps for k in range(outputs)])
    torch.testing.assert_close(f.inverse @ ((f.taps @ taps) * (f.forward @ x)), expected)
    assert f.taps.shape[0] == outputs + 2


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 5, 8, 12, 13])
def test_any_number_of_slices_is_covered_by_tiles(slices: int) -> None:
    agrees(
        Conv3dWinograd,
        {"channels": 16, "slices": slices, "height": 5, "width": 7, "layers": 4, "seed": slices},
    )
