"""A convolution in its phase form, interleaved, is the convolution."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.export.lowering.batch_norm import kernel_of
from edgekit.export.lowering.phases import Phases
from tests.export.lowering.random_weights import maps, shaken


@given(
    rows=st.integers(1, 5), columns=st.integers(1, 5), height=st.integers(1, 13), width=st.integers(1, 13),
    inputs=st.integers(1, 3), outputs=st.integers(1, 3), bias=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_interleaved_phases_are_the_convolution_whether_or_not_blocks_fit_the_size(
    rows: int, columns: int, height: int, width: int, inputs: int, outputs: int, bias: bool, seed: int
) -> None:
    conv = shaken(nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias), seed)
    phases = Phases((height, width), rows, columns)
    x = maps(seed, 2, inputs, height, width)
    torch.testing.assert_close(phases(phases.conv2d(kernel_of(conv))(x)), conv(x), rtol=1e-4, atol=1e-4)


def test_a_window_makes_all_pixels_of_its_block_at_once() -> None:
    conv = shaken(nn.Conv2d(4, 4, 3, padding=1, bias=False), 0)
    assert Phases((92, 308), 4, 1).conv2d(kernel_of(conv))(maps(0, 1, 4, 92, 308)).shape == (1, 16, 23, 308)
