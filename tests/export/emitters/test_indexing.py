"""Gathers, scatters and assignments to slices compute what torch computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ExportError

X = torch.arange(120.0).reshape(2, 3, 4, 5)
ROWS = torch.tensor([3, 0, 2])


def _assigned(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:2, ..., 2:4] = 7.0
    y[:, 0] = x[:, 2] * 2
    y[..., 1:] += x[..., :-1]
    return y


READS = {
    "index_select": lambda x: x.index_select(2, ROWS),
    "index_select_run": lambda x: x.index_select(3, torch.tensor([1, 2, 3])) * 1,
    "index": lambda x: x[:, :, ROWS],
    "index_matrix": lambda x: x[..., torch.tensor([[0, -1], [2, 3]])],
    "index_two": lambda x: x[:, :, ROWS, torch.tensor([1, 2, 4])],
    "index_two_broadcast": lambda x: x[:, torch.tensor([[0], [2]]), torch.tensor([1, 3, 2])],
    "gather": lambda x: x.gather(3, (x % 5).long().flip(3)),
    "scatter": lambda x: x.scatter(1, torch.zeros(2, 1, 4, 5, dtype=torch.long), -1.0),
    "take_along": lambda x: torch.take_along_dim(x, x.argmax(1, keepdim=True), 1),
    "assigned": _assigned,
}


@pytest.mark.parametrize("name", READS)
def test_reading_and_writing_by_index_is_torchs(same, name: str) -> None:
    same(READS[name], X)


def test_computed_indices_are_read_as_32_bit(same) -> None:
    converted = same(lambda x, i: x.index_select(1, i), X, torch.tensor([2, 0]))
    assert converted.operators == {"Gather": 1}


def test_neighbouring_slices_in_order_are_one_slice(same) -> None:
    assert same(READS["index_select_run"], X).operators == {"Slice": 1, "Mul": 1}


def test_embedding(same) -> None:
    same(nn.Embedding(10, 4), torch.tensor([[1, 9], [0, 3]]))


def test_a_mask_as_an_index_is_refused_with_what_to_do(same) -> None:
    with pytest.raises(ExportError, match=r"torch\.where"):
        same(lambda x: x[x > 3], X)
