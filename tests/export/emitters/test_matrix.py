"""Matrix products and normalisations compute what torch computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

A, B = torch.randn(2, 3, 4), torch.randn(2, 4, 5)

PRODUCTS = {
    "mm": lambda a, b: a[0] @ b[0],
    "bmm": torch.bmm,
    "matmul_broadcast": lambda a, b: a @ b[0],
    "matrix_vector": lambda a, b: a[0] @ b[0, :, 0],
    "vector_matrix": lambda a, b: a[0, 0] @ b[0],
    "dot": lambda a, b: a[0, 0].dot(b[0, :, 0]),
    "addmm": lambda a, b: torch.addmm(torch.ones(5), a[0], b[0], beta=0.5, alpha=2),
    "baddbmm": lambda a, b: torch.baddbmm(torch.ones(2, 3, 5), a, b, beta=0.5, alpha=2),
    "einsum": lambda a, b: torch.einsum("bij,bjk->bik", a, b),
    "attention": lambda a, b: F.scaled_dot_product_attention(a, a, a),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_torchs(same, name: str) -> None:
    same(PRODUCTS[name], A, B)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_fully_connected_layer_of_any_rank(same, shape: tuple[int, ...], bias: bool) -> None:
    same(nn.Linear(4, 6, bias=bias), torch.randn(*shape))


def _trained(layer: nn.Module) -> nn.Module:
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return layer


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d(4), (2, 4)),
        (nn.BatchNorm1d(4), (2, 4, 5)),
        (nn.BatchNorm2d(4), (2, 4, 5, 3)),
        (nn.BatchNorm2d(4, affine=False), (2, 4, 5, 3)),
        (nn.BatchNorm3d(4), (1, 4, 5, 3, 2)),
        (nn.GroupNorm(2, 4), (2, 4, 5, 3)),
        (nn.LayerNorm([5, 3]), (2, 4, 5, 3)),
        (nn.InstanceNorm2d(4, affine=True), (2, 4, 5, 3)),
        (nn.InstanceNorm2d(4, track_running_stats=True), (2, 4, 5, 3)),
        (nn.RMSNorm(3), (2, 4, 5, 3)),
        (nn.LocalResponseNorm(3), (2, 4, 5, 3)),
        (nn.MultiheadAttention(4, 2, batch_first=True), None),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, nn.Module) else "",
)
def test_a_normalisation_at_inference_is_torchs(
    same, layer: nn.Module, shape: tuple[int, ...] | None
) -> None:
    if shape is None:
        x = torch.randn(2, 5, 4)
        same(lambda x: layer.eval()(x, x, x)[0], x, rtol=1e-4)
    else:
        same(_trained(layer), torch.randn(*shape), rtol=1e-4)
