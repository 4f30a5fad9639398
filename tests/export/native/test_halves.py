"""Weights that are many and used for few pixels are kept as halves, and no others; what that changes is small and known."""

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.export.native import program
from edgekit.kernels import Kernels
from edgekit.program import steps_of
from tests.export.lowering.random_weights import maps
from tests.export.native.answers import agree
from tests.export.native.test_programs import model_of


def kinds(module: nn.Module, *shape: int) -> list[str]:
    return [kind for kind, _ in steps_of(program(model_of(module.eval(), maps(0, 1, *shape))))]


def rounded(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, (nn.Conv2d, nn.Linear)):
                each.weight.copy_(each.weight.half().float())
    return module


@pytest.mark.parametrize("stride, side", [(2, 8), (2, 4), (2, 3), (1, 4), (1, 2), (1, 1), (2, 7)])
@pytest.mark.parametrize("outputs", [128, 150])
def test_a_convolution_of_few_pixels_is_that_of_rounded_weights(
    kernels: Kernels, stride: int, side: int, outputs: int
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(128, outputs, 3, stride, 1), nn.ReLU()).eval()
    x = maps(0, 1, 128, side, side)
    made = program(model_of(net, x))
    assert "halved" in [kind for kind, _ in steps_of(made)]
    with torch.no_grad():
        exact, wanted = net(x), rounded(net)(x)
    agree(kernels, made, [x], [wanted])
    assert float((exact - wanted).abs().max() / exact.abs().max()) < 5e-4


def test_so_is_a_linear_layer(kernels: Kernels) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(384, 1001)).eval()
    x = maps(0, 1, 384, 7, 7)
    made = program(model_of(net, x))
    assert [kind for kind, _ in steps_of(made)].count("halved") == 1
    with torch.no_grad():
        wanted = rounded(net)(x)
    agree(kernels, made, [x], [wanted])


def test_halves_of_every_kind_are_what_numpy_reads(kernels: Kernels) -> None:
    """Subnormal ones, zeros of both signs, the largest and the smallest."""
    special = np.array(
        [0, -0.0, 6e-8, -6e-8, 6e-5, 6.1e-5, 65472 / 2, -32000, 1, -1 / 3, 1.0009765], np.float16
    )
    weight = np.resize(special, (512, 256)).astype(np.float32)
    net = nn.Linear(256, 512)
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(weight))
        net.bias.zero_()  # type: ignore[union-attr]
    for at in range(11):
        x = torch.zeros(1, 256)
        x[0, at] = 1
        made = program(model_of(net.eval(), x))
        assert [kind for kind, _ in steps_of(made)].count("halved") == 1
        with torch.no_grad():
            agree(kernels, made, [x], [net(x)])


def test_others_are_kept_as_they_are() -> None:
    assert "halved" not in kinds(nn.Conv2d(128, 128, 3, 2, 1), 128, 10, 10)  # 25 pixels
    assert "halved" not in kinds(nn.Conv2d(16, 16, 3, 2, 1), 16, 8, 8)  # few weights
    assert "halved" not in kinds(nn.Conv2d(1500, 15, 3, 2, 1), 1500, 8, 8)  # no strip of outputs
    large = nn.Conv2d(128, 128, 3, 2, 1)
    with torch.no_grad():
        large.weight[3, 5, 1, 1] = 7e4
    assert "halved" not in kinds(large, 128, 8, 8)  # more than a half holds
