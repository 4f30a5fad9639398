"""The propagation stage on transposed maps is the propagation stage."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.export.lowering.propagation import LoweredPropagation
from edgekit.export.lowering.spn_scan import propagate_columns
from edgekit.models.anynet import AnyNet, AnyNetOptions
from tests.export.lowering.random_weights import maps, shaken


@given(
    channels=st.integers(1, 9), height=st.sampled_from([32, 48]), width=st.sampled_from([32, 80]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_the_disparity_is_spread_as_the_network_does(
    channels: int, height: int, width: int, seed: int
) -> None:
    net = shaken(AnyNet(AnyNetOptions(spn_init_channels=channels)), seed)
    assert isinstance(net, AnyNet) and net.refine_spn is not None
    left, disparity = maps(seed, 1, 3, height, width), 20 * maps(seed + 1, 1, 1, height, width)
    lowered = LoweredPropagation(net.refine_spn, (height, width), propagate_columns)
    torch.testing.assert_close(
        lowered(left, disparity), net.propagated_disparity(left, disparity), rtol=1e-3, atol=1e-3
    )
