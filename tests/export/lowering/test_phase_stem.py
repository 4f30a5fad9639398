"""The stem on phases computes what the stem computes, up to the zeros around its activated map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.export.lowering.batch_norm import kernel_of
from edgekit.export.lowering.phase_stem import DirectStem, PhaseStem, stem
from tests.export.lowering.random_weights import maps, shaken


@pytest.mark.parametrize("form", [PhaseStem, DirectStem])
@given(
    channels=st.integers(1, 5), height=st.sampled_from([16, 32, 48]), width=st.sampled_from([16, 48]),
    batch=st.integers(1, 2), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_both_forms_compute_the_stem(
    form, channels: int, height: int, width: int, batch: int, seed: int
) -> None:
    first = shaken(nn.Conv2d(3, channels, 3, padding=1), seed)
    second = shaken(nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False), seed + 1)
    # A bias this large lights up what lies outside the picture, unless it is kept at zero.
    first.bias.data += 2
    image = maps(seed, batch, 3, height, width)
    expected = F.max_pool2d(second(torch.relu(first(image))), 2)
    lowered = form(kernel_of(first), kernel_of(second))
    torch.testing.assert_close(lowered(image), expected, rtol=1e-4, atol=1e-4)


def test_phases_are_taken_only_by_stems_too_narrow_to_fill_the_lanes() -> None:
    kernels = [
        (kernel_of(nn.Conv2d(3, c, 3, padding=1)), kernel_of(nn.Conv2d(c, c, 3, stride=2, padding=1)))
        for c in (1, 2, 8)
    ]
    assert [type(stem(*pair)) for pair in kernels] == [PhaseStem, PhaseStem, DirectStem]
