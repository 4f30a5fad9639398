"""The disparity network slice by slice gives the network's scores."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from edgekit.export.lowering.conv3d_planes import Conv3dPlanes
from tests.export.lowering.conv3d_judge import agrees, shapes


@given(shape=shapes)
@settings(max_examples=30, deadline=None)
def test_the_scores_are_those_of_the_network(shape: dict[str, int]) -> None:
    agrees(Conv3dPlanes, shape)


@pytest.mark.parametrize("channels", [8, 12, 16, 17, 32])
def test_wide_networks_and_those_that_fill_the_lanes_unevenly_agree_as_well(channels: int) -> None:
    agrees(
        Conv3dPlanes,
        {"channels": channels, "slices": 4, "height": 5, "width": 7, "layers": 1, "seed": channels},
    )
