"""What a quantised supernet begins with: bottlenecks above zero, which changes nothing in float, steps of least error, bits inherited."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import OptionError
from edgekit.models.lsq import activation_levels, codes, weight_levels
from edgekit.models.oqa_space import BITS, SubnetConfig, SupernetOptions, largest
from edgekit.models.training.oqa_beginning import begin_with_float, closest_step, inherit
from edgekit.models.training.oqa_supernet import Forward, TrainingSupernet

SHAPE = (0.25, 10, (3, 5), (3, 4), (1, 2))
OPTIONS = SupernetOptions(4, *SHAPE)
SMALLEST = SubnetConfig((3,) * OPTIONS.blocks, (3,) * OPTIONS.blocks, (1,) * 5)


def _net(bits: int = 4, quantised: bool = True) -> TrainingSupernet:
    torch.manual_seed(0)
    return TrainingSupernet(SupernetOptions(bits, *SHAPE), quantised)


def _pictures() -> torch.Tensor:
    return torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class _Watched(Forward):
    """Keeps the share of values below zero that every block hands on."""

    def __init__(self, net: TrainingSupernet) -> None:
        super().__init__(net)
        self.below: list[float] = []

    def carried(self, layers: torch.nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
        self.below.append(float((x < 0).float().mean()))
        return super().carried(layers, x)


def test_blocks_hand_on_hardly_a_value_below_zero_and_did_before() -> None:
    net = _net().train()
    shares = []
    for begun in (False, True):
        if begun:
            begin_with_float(net, _pictures())
        net.quantised = False  # what quantisation would read
        watched = _Watched(net)
        with torch.no_grad():
            watched(_pictures(), largest(OPTIONS))
        net.quantised = True
        shares.append(watched.below)
    before, after = shares
    assert len(after) == 11 and min(before) > 0.2 and max(after) < 0.1


@pytest.mark.parametrize("subnet", [largest(OPTIONS), SMALLEST], ids=["largest", "smallest"])
def test_a_float_network_answers_as_before_once_its_bottlenecks_are_raised(subnet: SubnetConfig) -> None:
    before, raised = _net(quantised=False), _net()
    begin_with_float(raised, _pictures())
    raised.quantised = False
    with torch.no_grad():
        one, other = (net.train()(_pictures(), subnet) for net in (before, raised))
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def test_the_closest_step_errs_less_than_lsq_s_first_one_on_values_that_were_raised() -> None:
    x = 3 + torch.randn(5000, generator=torch.Generator().manual_seed(0))
    for bits in BITS:
        low, high = activation_levels(bits)
        first = (2 * x.abs().mean() / high**0.5).view(1)
        error = {
            name: float((codes(x, step, low, high) * step - x).square().mean())
            for name, step in (("first", first), ("closest", closest_step(x, low, high)))
        }
        assert error["closest"] < 0.5 * error["first"]


def test_a_layer_that_gets_nothing_but_zeros_has_a_step_that_spans_a_grid() -> None:
    assert float(closest_step(torch.zeros(10), 0, 15)) > 0
    assert float(closest_step(-torch.ones(10), 0, 15)) > 0


def test_inheriting_from_one_bit_more_keeps_the_weights_and_doubles_every_step() -> None:
    upper, lower = _net(bits=4), _net(bits=3)
    begin_with_float(upper, _pictures())
    inherit(lower, upper.supernet.state_dict(), 4, _pictures())
    before, after = upper.supernet.state_dict(), lower.supernet.state_dict()
    for name, tensor in before.items():
        factor = 2 if name.endswith((".sa", ".sw")) else 1
        assert torch.equal(after[name], factor * tensor), name


def test_weights_of_the_same_bits_go_on_as_they_are() -> None:
    before, after = _net(bits=4), _net(bits=4)
    begin_with_float(before, _pictures())
    inherit(after, before.supernet.state_dict(), 4, _pictures())
    for name, tensor in before.supernet.state_dict().items():
        assert torch.equal(after.supernet.state_dict()[name], tensor), name


@given(value=st.floats(-20, 20, width=32), bits=st.sampled_from([3, 4]), step=st.floats(0.0625, 2, width=32))
def test_the_doubled_step_moves_no_quantised_value_by_more_than_one_old_step(
    value: float, bits: int, step: float
) -> None:
    x, s = torch.tensor([value]), torch.tensor([step])
    for levels in (activation_levels, weight_levels):
        higher = codes(x, s, *levels(bits)) * s
        lower = codes(x, 2 * s, *levels(bits - 1)) * 2 * s
        assert float((higher - lower).abs()) <= step * (1 + 1e-4)


def test_inheriting_from_float_begins_the_steps_anew() -> None:
    float_net, lower, fresh = _net(quantised=False), _net(bits=2), _net(bits=2)
    inherit(lower, float_net.supernet.state_dict(), None, _pictures())
    begin_with_float(fresh, _pictures())  # of the same seed, so of the same weights
    for name, conv in lower.convolutions().items():
        assert torch.equal(conv.sw, fresh.convolutions()[name].sw), name


def test_bits_are_inherited_one_at_a_time() -> None:
    with pytest.raises(OptionError, match="one at a time, so give the weights of 3 bits"):
        inherit(_net(bits=2), _net(bits=4).supernet.state_dict(), 4, _pictures())
