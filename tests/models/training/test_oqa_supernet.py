"""OQA's training: shared slices are the subnets, steps learn by LSQ's gradients, bits are inherited, the space opens in turn."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from edgekit.models.lsq import activation_levels, weight_levels
from edgekit.models.oqa import Supernet
from edgekit.models.oqa_space import BITS, SubnetConfig, SupernetOptions, largest
from edgekit.models.training.oqa_beginning import begin_with_float
from edgekit.models.training.oqa_shrinking import Space, space_at, spaces
from edgekit.models.training.oqa_supernet import Quantise, TrainingSupernet, reaching

OPTIONS = SupernetOptions(4, 0.25, 10, (3, 5), (3, 4), (1, 2))
SMALLEST = SubnetConfig((3,) * OPTIONS.blocks, (3,) * OPTIONS.blocks, (1,) * 5)


def _net(bits: int = 4, quantised: bool = True) -> TrainingSupernet:
    torch.manual_seed(0)
    net = TrainingSupernet(SupernetOptions(bits, 0.25, 10, (3, 5), (3, 4), (1, 2)), quantised)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("matrix"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def _pictures() -> torch.Tensor:
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("subnet", [largest(OPTIONS), SMALLEST], ids=["largest", "smallest"])
def test_a_subnet_in_training_answers_as_the_one_that_is_cut_out_for_use(subnet: SubnetConfig) -> None:
    net = _net()
    begin_with_float(net, _pictures())
    net.train()
    net(_pictures(), largest(OPTIONS))  # gives batch norms statistics of their own
    net.eval()
    used = Supernet(OPTIONS)
    used.load(net.supernet.state_dict(), "the training")
    with torch.no_grad():
        assert torch.allclose(
            net(_pictures(), subnet), used.subnet(subnet)(_pictures()), rtol=1e-4, atol=1e-5
        )


def test_the_gradients_of_the_quantiser_are_those_of_torch_s_own_learnable_one() -> None:
    for bits in BITS:
        step = torch.tensor([0.37], requires_grad=True)
        for low, high in (activation_levels(bits), weight_levels(bits)):
            x = torch.linspace(low - 5, high + 5, 97) * 0.37
            beyond = torch.maximum(low - x / 0.37, x / 0.37 - high)
            x = x[
                (beyond <= 0) | (beyond > 0.5)
            ].requires_grad_()  # torch lets half a step more pass; LSQ's equation 5 does not
            upstream = torch.randn(len(x), generator=torch.Generator().manual_seed(bits))
            zero = torch.zeros(1, requires_grad=True)
            theirs = torch._fake_quantize_learnable_per_tensor_affine(x, step, zero, low, high, 0.5)
            expected = torch.autograd.grad(theirs, (x, step), upstream)
            found = torch.autograd.grad(Quantise.apply(x, step, low, high, 0.5), (x, step), upstream)  # type: ignore[no-untyped-call]
            for one, other in zip(expected, found, strict=True):
                assert torch.allclose(one, other, atol=1e-5)


def test_a_step_whose_sign_turned_still_grows_the_grid_away_from_zero() -> None:
    x = torch.tensor([9.0])  # far beyond the grid: a larger grid is what the gradient asks for
    for start in (0.5, -0.5):
        step = torch.tensor([start], requires_grad=True)
        (9 - Quantise.apply(x, step, 0, 3, 1.0)).square().sum().backward()  # type: ignore[no-untyped-call]
        assert step.grad is not None and float(step.grad) * start < 0


@pytest.mark.parametrize(("kernel", "size"), [(5, 1), (5, 2), (7, 2), (5, 3), (3, 1)])
def test_taps_that_meet_padding_alone_are_left_out_and_nothing_changes(kernel: int, size: int) -> None:
    x, weight = torch.randn(2, 4, size, size), torch.randn(4, 1, kernel, kernel)
    middle = reaching(weight, size)
    assert middle.shape[2] == min(kernel, 2 * size - 1)
    for stride in (1, 2):
        whole = F.conv2d(x, weight, None, stride, kernel // 2, 1, 4)
        assert torch.allclose(F.conv2d(x, middle, None, stride, middle.shape[2] // 2, 1, 4), whole, atol=1e-5)


def test_spaces_open_from_the_largest_network_by_kernel_then_depth_then_width() -> None:
    options = SupernetOptions(4)
    assert spaces(options) == [
        Space((7,), (6,), (4,)), Space((3, 5, 7), (6,), (4,)), Space((3, 5, 7), (6,), (3, 4)),
        Space((3, 5, 7), (6,), (2, 3, 4)), Space((3, 5, 7), (4, 6), (2, 3, 4)), Space((3, 5, 7), (3, 4, 6), (2, 3, 4)),
    ]  # fmt: skip


@given(progress=st.floats(0, 1), seed=st.integers(0, 9999))
def test_only_the_opened_space_is_sampled(progress: float, seed: int) -> None:
    opened = spaces(SupernetOptions(4))
    space = space_at(opened, progress, 0.5)
    assert space.holds(space.sample(SupernetOptions(4), random.Random(seed)))
    assert space == opened[-1] if progress >= 0.5 else space != opened[-1]


def test_a_training_that_shrinks_nothing_has_the_whole_space_at_once() -> None:
    opened = spaces(SupernetOptions(4))
    assert space_at(opened, 0.0, 0.0) == opened[-1]
    assert space_at(opened, 0.0, 0.5) == opened[0]


def test_a_subnet_that_learns_leaves_what_it_does_not_use_alone() -> None:
    net = _net().train()
    begin_with_float(net, _pictures())
    net(_pictures(), SMALLEST).square().sum().backward()
    wide = net.convolutions()["blocks.1.mobile_inverted_conv.inverted_bottleneck.conv.conv"].weight
    assert wide.grad is not None
    used = 24  # three times the 8 channels that come in
    assert bool((wide.grad[:used] != 0).any()) and not bool((wide.grad[used:] != 0).any())
