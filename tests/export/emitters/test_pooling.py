"""Pooling of every rank computes what torch computes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.errors import ExportError

MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


@given(
    rank=st.integers(1, 3), kernel=st.integers(1, 3), stride=st.integers(1, 3), padding=st.integers(0, 1),
    dilation=st.integers(1, 2), ceil=st.booleans(), batch=st.booleans(),
)  # fmt: skip
@example(rank=2, kernel=2, stride=3, padding=1, dilation=2, ceil=True, batch=True)
@settings(max_examples=25, deadline=None)
def test_max_pooling_is_torchs(
    same, rank: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool, batch: bool
) -> None:
    layer = MAX[rank](kernel, stride, min(padding, kernel // 2), dilation, ceil_mode=ceil)
    same(layer, torch.randn(*([2] if batch else []), 3, *[9, 8, 7][:rank]))


@given(
    rank=st.integers(1, 3), kernel=st.integers(1, 3), stride=st.integers(1, 3), padding=st.integers(0, 1),
    counted=st.booleans(), ceil=st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_average_pooling_is_torchs(
    same, rank: int, kernel: int, stride: int, padding: int, counted: bool, ceil: bool
) -> None:
    padding = min(padding, kernel // 2)
    layer = AVERAGE[rank](kernel, stride, padding, ceil_mode=ceil and not padding, count_include_pad=counted)
    same(layer, torch.randn(2, 3, *[9, 8, 7][:rank]))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.AdaptiveAvgPool2d(1), (2, 3, 6, 4)),
        (nn.AdaptiveAvgPool2d((3, 2)), (2, 3, 6, 4)),
        (nn.AdaptiveAvgPool2d((6, None)), (2, 3, 6, 4)),
        (nn.AdaptiveAvgPool1d(3), (2, 3, 6)),
        (nn.AdaptiveAvgPool3d((1, 2, 2)), (1, 2, 4, 6, 4)),
    ],
)
def test_adaptive_pooling_over_a_grid_that_divides_the_input(
    same, layer: nn.Module, shape: tuple[int, ...]
) -> None:
    same(layer, torch.randn(*shape))


def test_adaptive_max_pooling_without_its_indices(same) -> None:
    same(nn.AdaptiveMaxPool2d((3, 2)), torch.randn(2, 3, 6, 4))


def test_global_pooling_is_the_operator_that_runtimes_are_fast_at(same) -> None:
    assert same(nn.AdaptiveAvgPool2d(1), torch.randn(1, 3, 6, 4)).operators == {"GlobalAveragePool": 1}
    assert same(lambda x: x.mean((2, 3)), torch.randn(1, 3, 6, 4)).operators == {
        "GlobalAveragePool": 1,
        "Reshape": 1,
    }


def test_windows_of_different_sizes_are_refused_with_the_sizes(same) -> None:
    with pytest.raises(ExportError, match=r"\(7, 5\) to \(3, 2\)"):
        same(nn.AdaptiveAvgPool2d((3, 2)), torch.randn(1, 1, 7, 5))


def test_indices_of_max_pooling_are_refused(same) -> None:
    with pytest.raises(ExportError, match="no ONNX operator"):
        same(nn.MaxPool2d(2, return_indices=True), torch.randn(1, 1, 6, 6))
