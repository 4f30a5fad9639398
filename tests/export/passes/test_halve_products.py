"""Products in float16, everything else in float32: what stays, what moves, and that the answer does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from edgekit.export.convert import convert, serialize
from edgekit.export.passes import simplify
from edgekit.export.passes.halve_products import HalveProducts, halve_products
from edgekit.export.tensorrt_rtx import compile_graph


class _Branches(nn.Module):
    """Two convolutions, joined and moved about, then a product and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.three, self.linear = nn.Conv2d(8, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.relu(torch.cat([self.one(x), self.two(x)], 1))
        pooled = self.three(joined).mean((2, 3))
        return torch.softmax(self.linear(pooled), 1)


def _halved(module: nn.Module, x: Tensor) -> ir.Model:
    return halve_products(simplify(convert(module.eval(), {"x": x}, ["y"])))


def test_the_answer_is_the_same_to_float16s_precision(onnxruntime_of) -> None:
    module, x = _Branches(), torch.randn(1, 3, 8, 8)
    model = _halved(module, x)
    with torch.no_grad():
        np.testing.assert_allclose(onnxruntime_of(model, x)[0], module(x).numpy(), atol=2e-3)
    assert [value.dtype for value in [*model.graph.inputs, *model.graph.outputs]] == [ir.DataType.FLOAT] * 2


def test_products_read_float16_and_sums_and_softmaxes_float32() -> None:
    model = _halved(_Branches(), torch.randn(1, 3, 8, 8))
    for node in model.graph:
        kinds = {
            value.dtype
            for value in node.inputs
            if value is not None and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)
        }
        if node.op_type in ("Conv", "Gemm", "MatMul", "Relu", "Concat"):
            assert kinds == {ir.DataType.FLOAT16}, node
        elif node.op_type != "Cast":
            assert kinds <= {ir.DataType.FLOAT}, node


def test_what_only_moves_numbers_needs_no_casts_between_two_products() -> None:
    counted = Counter(node.op_type for node in _halved(_Branches(), torch.randn(1, 3, 8, 8)).graph)
    assert counted["Cast"] == 4  # into the network, out of the convolutions, into the linear layer, out of it


def test_a_product_of_whole_numbers_stays(onnxruntime_of) -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x) + 1

    x = torch.randn(1, 3)
    model = simplify(convert(Sum(), {"x": x}, ["y"]))
    assert not HalveProducts()(model).modified
    assert {node.op_type for node in model.graph} == {"Relu", "Add"}


@pytest.mark.parametrize("shape", [(1, 3, 8, 8)])
def test_turing_compiles_it_where_float32_products_are_refused(
    needs: Callable[[str], ModuleType], shape: tuple[int, ...]
) -> None:
    needs("tensorrt_rtx")
    assert compile_graph(serialize(_halved(_Branches(), torch.randn(shape))), ["75"]).engine
