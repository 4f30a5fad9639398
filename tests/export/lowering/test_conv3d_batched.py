"""The disparity network over a batch of slices gives the network's scores."""

from __future__ import annotations

from hypothesis import given, settings

from edgekit.export.lowering.conv3d_batched import Conv3dBatched
from tests.export.lowering.conv3d_judge import agrees, shapes


@given(shape=shapes)
@settings(max_examples=30, deadline=None)
def test_the_scores_are_those_of_the_network(shape: dict[str, int]) -> None:
    agrees(lambda chain, slices, size: Conv3dBatched(chain), shape)
