"""Arithmetic, comparisons and type promotion compute what torch computes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

FLOATS = (
    torch.tensor([[-2.5, -1.5, -0.5, 0.5], [1.5, 2.5, 7.0, 0.25]]),
    torch.tensor([1.5, -2.0, 3.0, -0.5]),
)
INTS = (torch.tensor([[-7, 7, 5, -5], [4, -4, 9, 0]]), torch.tensor([2, -2, 3, 4]))

BINARY = {
    "add": lambda a, b: a + b,
    "add_alpha": lambda a, b: torch.add(a, b, alpha=3),
    "sub": lambda a, b: a - b,
    "sub_alpha": lambda a, b: torch.sub(a, b, alpha=2),
    "rsub": lambda a, b: 2 - a,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "floor_div": lambda a, b: a // b,
    "div_trunc": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "div_floor_number": lambda a, b: torch.div(a, 3, rounding_mode="floor"),
    "remainder": lambda a, b: a % b,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "square": lambda a, b: a**2 + torch.square(b),
    "cube": lambda a, b: a**3,
    "clamp": lambda a, b: a.clamp(-1, 2),
    "clamp_min": lambda a, b: a.clamp(min=0),
    "clamp_max": lambda a, b: a.clamp_max(1),
    "clamp_tensor": lambda a, b: a.clamp(max=b),
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "ge_number": lambda a, b: a >= 0.5,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > 1,
    "logic": lambda a, b: (a > 0) & ~(b > 0) | (a < -2),
    "where": lambda a, b: torch.where(a > b, a, b),
    "where_number": lambda a, b: torch.where(a > b, 1.0, b),
    "masked_fill": lambda a, b: a.masked_fill(a > 1, 9),
    "mixed": lambda a, b: a * 0.5 + b.float() - 1,
    "bool_times": lambda a, b: (a > 0) * b,
    "inplace": lambda a, b: (a + 0).mul_(2).add_(b),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("operands", [FLOATS, INTS], ids=["floats", "whole numbers"])
def test_arithmetic_is_torchs(same, name: str, operands: tuple[torch.Tensor, torch.Tensor]) -> None:
    same(BINARY[name], *operands)


UNARY = [
    "abs",
    "neg",
    "exp",
    "floor",
    "ceil",
    "round",
    "sign",
    "sin",
    "cos",
    "atan",
    "erf",
    "trunc",
    "sinh",
    "cosh",
    "expm1",
]
POSITIVE = ["log", "sqrt", "rsqrt", "log2", "log1p", "reciprocal"]


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number_are_torchs(same, name: str) -> None:
    same(getattr(torch, name), FLOATS[0])


@pytest.mark.parametrize("name", POSITIVE)
def test_functions_of_positive_numbers_are_torchs(same, name: str) -> None:
    same(getattr(torch, name), FLOATS[0].abs() + 0.1)


@given(
    st.sampled_from([torch.float32, torch.int64, torch.int32, torch.bool]), st.sampled_from([2, 0.5, True])
)
@settings(max_examples=12, deadline=None)
def test_a_number_promotes_a_tensor_as_torch_does(same, dtype: torch.dtype, number: float) -> None:
    x = torch.tensor([0, 1, 3]).to(dtype)
    same(lambda x: x * number, x)
    same(lambda x: x > number, x)


def test_whole_numbers_are_32_bit_in_the_graph(same) -> None:
    converted = same(lambda x: torch.floor(x).long() * 2 + 1, FLOATS[0])
    assert {value.dtype.name for node in converted.model.graph for value in node.outputs} <= {
        "FLOAT",
        "INT32",
    }


def test_lerp_and_friends(same) -> None:
    a, b = FLOATS
    same(lambda a, b: torch.lerp(a, b.expand_as(a), 0.3), a, b)
    same(lambda a, b: torch.addcmul(a, a, b, value=2), a, b)
    same(lambda a, b: torch.addcdiv(a, a, b, value=0.5), a, b)
