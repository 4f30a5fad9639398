"""The loop over columns computes the network's propagation, in torch and as ONNX's Scan."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.export.lowering.spn_scan import propagate_columns
from edgekit.models.anynet import propagate
from tests.export.lowering.random_weights import maps


class _Loop(nn.Module):
    def forward(self, start: Tensor, own: Tensor, gates: Tensor) -> Tensor:
        return propagate_columns(start, own, gates)  # type: ignore[no-any-return]


def _gates(seed: int, columns: int, rows: int, channels: int) -> Tensor:
    """(T, H, 3, C), small enough to stay bounded, 0 where the source lies outside the map."""
    gates = maps(seed, columns, rows, 3, channels).tanh() / 3
    gates[:, 0, 0] = 0
    gates[:, -1, 2] = 0
    return gates


@given(columns=st.integers(1, 9), rows=st.integers(1, 6), channels=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_loop_is_the_propagation_of_the_network(
    columns: int, rows: int, channels: int, seed: int
) -> None:
    x = maps(seed, columns, rows, channels)
    gates = _gates(seed + 1, columns, rows, channels)
    # A first column whose neighbours have its own value keeps it, as the network's first column does.
    mine = propagate_columns(x[0], (1 - gates.sum(dim=2)) * x, gates.flatten(2))
    network = [t.permute(2, 1, 0).unsqueeze(0) for t in (x, *gates.unbind(dim=2))]
    torch.testing.assert_close(mine, propagate(*network)[0].permute(2, 1, 0), rtol=1e-4, atol=1e-4)


def test_the_graph_holds_one_scan_whatever_the_width(same) -> None:
    own, gates = maps(1, 12, 5, 3), _gates(2, 12, 5, 3).flatten(2)
    operators = same(_Loop(), maps(3, 5, 3), own, gates).operators
    assert operators["Scan"] == 1
    assert set(operators) <= {"Scan", "Expand", "Reshape"}
