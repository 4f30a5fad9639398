"""Every activation function computes what torch computes, and stays within TensorRT 8.2's operators."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-2, 3), nn.Sigmoid(), nn.Tanh(), nn.SiLU(), nn.Hardsigmoid(), nn.Hardswish(),
    nn.LeakyReLU(0.2), nn.PReLU(), nn.PReLU(4), nn.ELU(1.3), nn.SELU(), nn.CELU(0.7), nn.Softplus(), nn.Softplus(2.0),
    nn.Mish(), nn.GELU(), nn.GELU("tanh"), nn.LogSigmoid(), nn.Softmax(1), nn.LogSoftmax(-1), nn.Softsign(), nn.GLU(1),
    nn.Softmin(1), nn.Hardshrink(), nn.Softshrink(), nn.Tanhshrink(), nn.Threshold(0.1, 20.0), nn.ReLU(inplace=True),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_an_activation_is_what_torch_computes(same, activation: nn.Module) -> None:
    same(activation, 4 * torch.randn(2, 4, 3, 5))


def test_hardswish_is_written_without_the_operator_that_tensorrt_8_lacks(same) -> None:
    assert set(same(nn.Hardswish(), torch.randn(1, 2)).operators) == {"Add", "Clip", "Mul", "Div"}


def test_dropout_in_an_evaluated_network_leaves_no_node(same) -> None:
    converted = same(nn.Sequential(nn.Dropout(), nn.ReLU(), nn.Dropout2d()), torch.randn(1, 2, 3, 3))
    assert list(converted.operators) == ["Relu"]


def test_softmax_over_channels_of_a_volume(same) -> None:
    same(lambda x: F.softmax(-x, dim=1), torch.randn(1, 5, 3, 4))
