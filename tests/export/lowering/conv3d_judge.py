"""What every form of the disparity network must compute: the network's own scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import nn

from edgekit.export.lowering.batch_norm import Chain, fold_chain
from tests.export.lowering.random_weights import disparity_network, maps

shapes = st.fixed_dictionaries(
    {
        "channels": st.integers(1, 6),
        "slices": st.integers(1, 7),
        "height": st.integers(1, 9),
        "width": st.integers(1, 9),
        "layers": st.integers(0, 2),
        "seed": st.integers(0, 99),
    }
)


def agrees(form: Callable[[Chain, int, tuple[int, int]], nn.Module], shape: dict[str, int]) -> None:
    """Assert that a form gives the negated output of the network, its phases interleaved where it has some."""
    network = disparity_network(shape["seed"], shape["layers"], shape["channels"])
    size = (shape["height"], shape["width"])
    cost = maps(shape["seed"], 1, shape["slices"], *size).abs() * 3
    lowered = form(fold_chain(network.children()), shape["slices"], size)
    scores = lowered(cost)
    if scores.dim() == 4:
        scores = lowered.interleave(scores).squeeze(1)
    expected = -network(cost.unsqueeze(1))[0, 0]
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-4 * max(1.0, float(expected.abs().max())))
