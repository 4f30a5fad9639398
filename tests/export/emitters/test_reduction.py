"""Reductions compute what torch computes, over any dimensions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

X = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
REDUCTIONS = {
    "sum": torch.sum,
    "mean": torch.mean,
    "amax": torch.amax,
    "amin": torch.amin,
    "logsumexp": torch.logsumexp,
    "var": torch.var,
    "l1": lambda x, dim, keepdim: torch.linalg.vector_norm(x, 1, dim, keepdim),
    "l2": lambda x, dim, keepdim: torch.norm(x, 2, dim, keepdim),
    "l3": lambda x, dim, keepdim: torch.linalg.vector_norm(x, 3, dim, keepdim),
    "linf": lambda x, dim, keepdim: torch.linalg.vector_norm(x, math.inf, dim, keepdim),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@given(dims=st.sets(st.integers(-4, 3), min_size=1, max_size=2), keepdim=st.booleans())
@settings(max_examples=6, deadline=None)
def test_a_reduction_over_some_dimensions_is_torchs(same, name: str, dims: set[int], keepdim: bool) -> None:
    unique = sorted({dim % 4 for dim in dims})
    same(lambda x: REDUCTIONS[name](x, dim=unique, keepdim=keepdim), X, rtol=1e-4)


ALONG_ONE = {
    "argmax": lambda x: x.argmax(1),
    "argmax_keep": lambda x: x.argmax(-1, keepdim=True),
    "argmin": lambda x: x.argmin(2),
    "argmax_all": lambda x: x.argmax(),
    "max": lambda x: x.max(1),
    "min_values": lambda x: x.min(-1, keepdim=True).values,
    "sum_all": lambda x: x.sum(),
    "mean_all": lambda x: x.mean(),
    "max_all": lambda x: x.max() - x.min(),
    "cumsum": lambda x: x.cumsum(2),
    "topk": lambda x: x.topk(2, 3),
    "prod": lambda x: x.prod(1),
    "any": lambda x: (x > 1.5).any(1),
    "all": lambda x: (x > -1.5).all(2, keepdim=True),
    "sum_of_mask": lambda x: (x > 0).sum(1).float(),
    "std": lambda x: x.std(1, unbiased=False),
    "normalize": lambda x: torch.nn.functional.normalize(x, dim=1),
    "cosine": lambda x: torch.nn.functional.cosine_similarity(x, x.flip(0), dim=1),
}


@pytest.mark.parametrize("name", ALONG_ONE)
def test_a_reduction_along_one_dimension_is_torchs(same, name: str) -> None:
    same(ALONG_ONE[name], X, rtol=1e-4)
