"""The lowered feature extractor gives the extractor's maps for both views."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.export.lowering.unet import DecoderStep, Encoder
from edgekit.models.anynet import FeatureExtractor, UpBlock
from tests.export.lowering.random_weights import maps, shaken


@given(
    channels=st.integers(1, 4), nblocks=st.integers(1, 3), height=st.sampled_from([32, 48]), width=st.sampled_from([32, 80]),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_the_encoder_gives_features_and_skip_maps_of_both_views_as_one_batch(
    channels: int, nblocks: int, height: int, width: int, seed: int
) -> None:
    extractor = shaken(FeatureExtractor(channels, nblocks), seed)
    assert isinstance(extractor, FeatureExtractor)
    left, right = maps(seed, 2, 1, 3, height, width)
    lowered = Encoder(extractor, (height, width))(left, right)
    for mine, expected in zip(lowered, extractor.encode(torch.cat((left, right))), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-3)


@given(
    coarse=st.integers(1, 6),
    fine=st.integers(1, 5),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_a_decoder_step_needs_neither_resize_nor_concat(
    coarse: int, fine: int, height: int, width: int, seed: int
) -> None:
    block = shaken(UpBlock(coarse, fine), seed)
    assert isinstance(block, UpBlock)
    skip, below = maps(seed, 2, fine, 2 * height, 2 * width), maps(seed + 1, 2, coarse, height, width)
    lowered = DecoderStep(block, (2 * height, 2 * width))
    torch.testing.assert_close(lowered(skip, below), block(skip, below), rtol=1e-3, atol=1e-3)


def test_maps_large_enough_to_repay_it_are_convolved_in_phases() -> None:
    block = shaken(UpBlock(4, 2), 1)
    assert isinstance(block, UpBlock)
    lowered = DecoderStep(block, (128, 160))
    assert lowered.phases.stride == (8, 1)
    skip, below = maps(1, 2, 2, 128, 160), maps(2, 2, 4, 64, 80)
    torch.testing.assert_close(lowered(skip, below), block(skip, below), rtol=1e-3, atol=1e-3)
