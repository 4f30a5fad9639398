"""What only moves elements moves them where torch does, and leaves no node where nothing moves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

X = torch.arange(120.0).reshape(2, 3, 4, 5)

MOVES = {
    "view": lambda x: x.view(6, -1),
    "reshape_of_permuted": lambda x: x.permute(0, 2, 3, 1).reshape(2, -1),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(2, (2, 2)),
    "permute": lambda x: x.permute(3, 0, 2, 1),
    "transpose": lambda x: x.transpose(1, -1),
    "movedim": lambda x: x.movedim((0, 1), (2, 0)),
    "matrix_transpose": lambda x: x[0, 0].t() + x[0, 0].mT,
    "squeeze": lambda x: x[:, :1].squeeze(1).unsqueeze(0).squeeze(),
    "expand": lambda x: x[:, :1].expand(-1, 7, -1, -1),
    "expand_new": lambda x: x.expand(2, 2, 3, 4, 5),
    "repeat": lambda x: x.repeat(2, 1, 1, 2),
    "repeat_new": lambda x: x[0].repeat(2, 1, 1, 2),
    "repeat_interleave": lambda x: x.repeat_interleave(2, dim=2),
    "cat": lambda x: torch.cat([x, x[:, :2], x], 1),
    "cat_empty": lambda x: torch.cat([x[:, :0], x, x], 1),
    "cat_mixed": lambda x: torch.cat([x, x.int()], -1),
    "stack": lambda x: torch.stack([x, x + 1], -1),
    "chunk": lambda x: x.chunk(2, 3),
    "chunk_swap": lambda x: torch.cat(x.chunk(2, 2)[::-1], 2),
    "split": lambda x: x.split(2, 3),
    "split_sizes": lambda x: x.split([1, 3, 1], 3),
    "unbind": lambda x: x.unbind(1),
    "select": lambda x: x[:, -1],
    "slice_negative": lambda x: x[..., -3:-1],
    "slice_step": lambda x: x[:, :, ::2, 1::3],
    "narrow": lambda x: x.narrow(2, 1, 2),
    "flip": lambda x: x.flip(1, 3),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "new_axis": lambda x: x[:, None, 0],
    "zeros_like": lambda x: torch.cat([x, torch.zeros_like(x), x.new_full((2, 1, 4, 5), 3.0)], 1),
    "arange": lambda x: x * torch.arange(5, device=x.device) + torch.linspace(0, 1, 4).view(4, 1),
    "channel_shuffle": lambda x: F.channel_shuffle(torch.cat([x, x], 1), 2),
    "unfold": lambda x: x.unfold(3, 3, 1),
    "tril": lambda x: x.tril(),
    "meshgrid": lambda x: (
        x + torch.stack(torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")).sum(0)
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_move_is_torchs(same, name: str) -> None:
    same(MOVES[name], X)


@given(
    st.lists(st.integers(-2, 3), min_size=1, max_size=4).map(lambda side: side * 2),
    st.sampled_from(["constant", "reflect", "replicate"]),
)
@settings(max_examples=25, deadline=None)
def test_padding_is_torchs_and_crops_where_negative(same, pads: list[int], mode: str) -> None:
    if mode != "constant":
        pads = [max(min(side, 2), 0) for side in (pads * 4)[:4]]
        same(lambda x: F.pad(x, pads, mode=mode), X)
    else:
        pads = [max(side, -1) for side in pads]
        same(lambda x: F.pad(x, pads, value=1.5), X)


@given(st.integers(-6, 6), st.integers(-6, 6), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_any_slice_that_leaves_something_is_torchs(same, start: int, end: int, step: int) -> None:
    if len(range(*slice(start, end, step).indices(5))):
        same(lambda x: x[..., start:end:step] * 1, X)


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous().clone().to(torch.float32).view(2, 3, 4, 5).expand(2, 3, 4, 5).detach()
        return torch.cat([x[:]], 0).permute(0, 1, 2, 3).repeat(1, 1, 1, 1).relu()


def test_moves_that_do_nothing_leave_no_node(same) -> None:
    assert same(_Nothing(), X).operators == {"Relu": 1}


def test_permuting_sides_of_length_one_is_a_reshape(same) -> None:
    assert same(lambda x: x[:1, :, :1].permute(1, 2, 0, 3) * 2, X).operators == {
        "Slice": 2,
        "Reshape": 1,
        "Mul": 1,
    }


def test_an_input_that_is_also_an_output_keeps_both_names(same) -> None:
    same(lambda x: (x, x * 2, x), X)
