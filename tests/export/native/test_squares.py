"""Winograd's squares are the convolution that they stand for, in numpy and in the kernels, and stand only where they are quicker."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.export.native import program, squares
from edgekit.kernels import Kernels
from edgekit.program import steps_of
from tests.export.lowering.random_weights import maps
from tests.export.native.answers import agree
from tests.export.native.test_programs import model_of


def conv(channels: int, outputs: int, kernel: int = 3, groups: int = 1, stride: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, groups=groups).eval()


def kinds(module: nn.Module, *shape: int) -> set[str]:
    return {kind for kind, _ in steps_of(program(model_of(module, maps(0, 1, *shape))))}


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 70), channels=st.integers(1, 24), outputs=st.integers(1, 70),
    relu=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_they_are_the_convolution(
    kernels: Kernels, height: int, width: int, channels: int, outputs: int, relu: bool, seed: int
) -> None:
    """Of any size, whose sides are no multiples of four, and of outputs that fill no strip."""
    x = maps(seed, 1, channels, height, width)
    layer = conv(channels, outputs)
    net = nn.Sequential(layer, nn.ReLU()) if relu else layer
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("SMALLEST", 1), ("LARGEST", 99), ("FEWEST_PLANES", 1), ("WORTH", 1e9)):
            patch.setattr(squares, name, value)
        made = program(model_of(net, x))
    assert {"squares", "squared"} <= {kind for kind, _ in steps_of(made)}
    with torch.no_grad():
        sums = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)  # type: ignore[arg-type, operator, union-attr]
    wanted = sums.clamp(min=0) if relu else sums
    most = [max(1.0, float(each.abs().max())) for each in (sums, wanted)]
    agree(kernels, made, [x], [wanted.float().detach()], closely=2e-5 * most[0] / most[1])


def test_what_surrounds_a_picture_is_zero_whatever_was_there_before(kernels: Kernels) -> None:
    """Scratch memory and lanes beyond the last square hold what an earlier run, of infinite numbers, has left."""
    x = maps(0, 1, 16, 14, 18)
    made = program(model_of(conv(16, 16), x))
    handle = kernels.load(made, [(1, 16, 14, 18)], "squares")
    (first,) = kernels.run(handle, [x.numpy()]) or [None]
    for wrong in (np.inf, np.nan, 1e38):
        kernels.run(handle, [np.full((1, 16, 14, 18), wrong, np.float32)])
        (again,) = kernels.run(handle, [x.numpy()]) or [None]
        np.testing.assert_array_equal(again, first)


def test_they_stand_where_they_take_fewer_products() -> None:
    assert {"squares", "squared"} <= kinds(conv(128, 64), 128, 14, 14)
    assert {"squares", "squared"} <= kinds(conv(64, 64), 64, 28, 28)
    assert "squares" not in kinds(conv(128, 64, kernel=1), 128, 14, 14)  # no window
    assert "squares" not in kinds(conv(128, 64, kernel=5), 128, 14, 14)  # another one
    assert "squares" not in kinds(conv(128, 64), 128, 7, 7)  # half of every second square lies outside
    assert "squares" not in kinds(conv(16, 16), 16, 14, 14)  # combining takes longer than what is saved
    assert "squares" not in kinds(conv(128, 64, groups=8), 128, 14, 14)
    assert "squares" not in kinds(conv(128, 64, stride=2), 128, 28, 28)
    assert "squares" not in kinds(conv(64, 64), 64, 100, 100)  # their parts would leave the caches
