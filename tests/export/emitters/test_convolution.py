"""Convolutions of every rank, stride, padding, dilation and grouping compute what torch computes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.errors import ExportError

LAYERS = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


@given(
    rank=st.integers(1, 3), transposed=st.booleans(), kernel=st.integers(1, 3), stride=st.integers(1, 2),
    padding=st.integers(0, 2), dilation=st.integers(1, 2), groups=st.sampled_from([1, 2]), bias=st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_convolution_is_torchs(
    same,
    rank: int,
    transposed: bool,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
    bias: bool,
) -> None:
    padding = min(padding, dilation * (kernel - 1))
    layer = LAYERS[rank][transposed](
        4, 6, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
    )
    same(layer, torch.randn(2, 4, *[7, 6, 5][:rank]), rtol=1e-4)


def test_transposed_convolution_with_output_padding(same) -> None:
    same(
        nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), torch.randn(1, 3, 5, 6), rtol=1e-4
    )


@pytest.mark.parametrize("kernel", [2, 3, (3, 2)])
def test_same_padding_puts_the_odd_element_where_torch_does(same, kernel: int | tuple[int, int]) -> None:
    same(nn.Conv2d(3, 4, kernel, padding="same"), torch.randn(1, 3, 5, 6), rtol=1e-4)
    same(nn.Conv2d(3, 4, kernel, padding="valid"), torch.randn(1, 3, 5, 6), rtol=1e-4)


def test_a_depthwise_convolution_is_one_node(same) -> None:
    assert same(nn.Conv2d(8, 8, 3, groups=8), torch.randn(1, 8, 6, 6), rtol=1e-4).operators == {"Conv": 1}


def test_reflecting_padding_of_a_convolution(same) -> None:
    same(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), torch.randn(1, 2, 6, 6), rtol=1e-4)
    same(nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate"), torch.randn(1, 2, 6, 6), rtol=1e-4)
    with pytest.raises(ExportError, match="circular"):
        same(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), torch.randn(1, 2, 6, 6))
