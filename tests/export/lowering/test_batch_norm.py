"""A chain with its batch norms folded computes what the chain computes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.export.lowering.batch_norm import Activation, conv2d, fold_chain, kernel_of
from edgekit.models.anynet import bn_relu_conv2d
from tests.export.lowering.random_weights import maps, shaken


@given(widths=st.lists(st.integers(1, 6), min_size=2, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_folded_chain_computes_what_the_chain_computes(widths: list[int], seed: int) -> None:
    blocks = nn.Sequential(*(bn_relu_conv2d(a, b) for a, b in zip(widths, widths[1:], strict=False)))
    shaken(blocks, seed)
    chain = fold_chain(blocks.children())
    image = maps(seed, 2, widths[0], 7, 9)
    x = conv2d(chain.kernels[0], padding=1)(Activation(chain.scale, chain.shift)(image))
    for kernel in chain.kernels[1:]:
        x = conv2d(kernel, padding=1)(torch.relu(x))
    torch.testing.assert_close(x, blocks(image), rtol=1e-4, atol=1e-4)


@given(channels=st.integers(1, 5), bias=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_kernel_takes_the_norm_behind_it_with_and_without_a_bias(
    channels: int, bias: bool, seed: int
) -> None:
    layers = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=bias), nn.BatchNorm2d(channels))
    shaken(layers, seed)
    image = maps(seed, 1, 3, 6, 5)
    folded = conv2d(kernel_of(layers[0]).normed(layers[1]), padding=1)
    torch.testing.assert_close(folded(image), layers(image), rtol=1e-4, atol=1e-4)


def test_an_activation_without_a_scale_multiplies_by_nothing() -> None:
    image = maps(1, 1, 2, 3, 4)
    shift = torch.tensor([0.5, -0.5])
    expected = torch.relu(image + shift.view(1, 2, 1, 1))
    torch.testing.assert_close(Activation(torch.ones(2), shift)(image), expected, rtol=0, atol=0)
