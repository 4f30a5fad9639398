"""What is said of FP16: sums within 2048 are exact in any order, and what is emulated flips few codes, the more the more bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.export.lowering.oqa_half import HalfLayer, emulated, in_half
from edgekit.export.lowering.oqa_plan import FLOAT16_EXACT, integer_layer
from edgekit.models.oqa import OqaNet
from edgekit.models.oqa_space import largest
from edgekit.models.recalibration import recalibrate_on
from tests.export.search.supernets import options, supernet


def network(bits: int, folder: Path) -> OqaNet:
    net = supernet(bits, folder / "net.pth").subnet(largest(options(bits)))
    recalibrate_on(net, [torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))])
    return net


def test_half_precision_holds_whole_numbers_up_to_2048_and_not_beyond() -> None:
    whole = np.arange(FLOAT16_EXACT + 2)
    assert (whole[:-1].astype(np.float16).astype(int) == whole[:-1]).all()
    assert np.float16(whole[-1]) != whole[-1]


@pytest.mark.parametrize("bits", [4, 2])
def test_sums_that_are_proven_are_exact_in_any_order_at_the_worst_input(bits: int, tmp_path: Path) -> None:
    net = network(bits, tmp_path)
    generator = np.random.default_rng(0)
    proven = 0
    for name, layer in net.quantised().items():
        plan = integer_layer(name, layer)
        if plan.reach > FLOAT16_EXACT:
            continue
        proven += 1
        weight = plan.weight.reshape(len(plan.weight), -1)
        for sign in (1, -1):
            products = (np.where(sign * weight > 0, plan.top, 0) * weight).astype(np.float16)
            total = np.zeros(len(weight), np.float16)
            for term in generator.permutation(products.shape[1]):
                total += products[:, term]
            assert np.array_equal(total.astype(int), products.astype(int).sum(1)), name
    assert proven


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_half_precision_flips_few_codes_of_the_next_layer(bits: int, tmp_path: Path) -> None:
    net = network(bits, tmp_path)
    found = in_half(net, (64, 64))
    assert found.keys() == net.quantised().keys()
    assert found["mix"].flipped is None, "no codes follow it"
    flipped = [one.flipped for one in found.values() if one.flipped is not None]
    assert len(flipped) == len(found) - 2 and max(flipped) < 0.02
    if bits == 2:
        assert all(one.proven for one in found.values())


def test_what_is_emulated_is_the_layer_but_for_half_precisions_roundings(tmp_path: Path) -> None:
    net = network(4, tmp_path)
    layer = net.quantised()["blocks.3.depthwise"]
    x = torch.rand(1, layer.conv.weight.shape[0], 9, 9) * 3
    with torch.no_grad():
        exact = layer(x).numpy()
    rounded = emulated(integer_layer("blocks.3.depthwise", layer), layer, x)
    assert rounded.dtype == np.float16 and rounded.shape == exact.shape
    assert np.abs(rounded.astype(float) - exact).max() <= 4e-3 * np.abs(exact).max()


def test_reach_decides_what_is_proven() -> None:
    assert HalfLayer(FLOAT16_EXACT, 0.0).proven and not HalfLayer(FLOAT16_EXACT + 1, 0.0).proven
