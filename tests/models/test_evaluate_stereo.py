"""Measuring on real pairs: the truth is read as it was meant, and the shipped weights reach what the card says."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from edgekit.models.anynet import AnyNet
from edgekit.models.evaluate_stereo import (
    StereoPair,
    epe_d1,
    load_pairs,
    measure,
    read_pfm,
)
from edgekit.models.families import WEIGHTS
from edgekit.models.training.anynet_run import predict
from edgekit.runtime.page.matching import BlockMatching

PAIRS = (
    "kitti2015_000000",
    "kitti2015_000001",
    "flyingthings_TEST-A-0000_0006",
    "middlebury2014_MotorcycleQ",
    "aloe_half",
)


@pytest.fixture(scope="module")
def pairs(shared: Path) -> dict[str, StereoPair]:
    """The real pairs by name."""
    return {pair.name: pair for pair in load_pairs(shared / "data" / "stereo")}


def _pair(pairs: dict[str, StereoPair], name: str) -> StereoPair:
    if name not in pairs:
        pytest.skip(f"{name} is absent (aloe_half comes with Debian's opencv-doc)")
    return pairs[name]


def _mismatch(pair: StereoPair, scale: float) -> float:
    """How different the left picture is from the right one warped by the truth times `scale`."""
    x = np.arange(pair.left.shape[1], dtype=np.float32)[None, :] - pair.disparity * np.float32(scale)
    y = np.broadcast_to(np.arange(pair.left.shape[0], dtype=np.float32)[:, None], x.shape)
    warped = cv2.remap(pair.right, x, np.ascontiguousarray(y), cv2.INTER_LINEAR)
    return float(np.median(np.abs(warped.astype(float) - pair.left).mean(axis=-1)[pair.valid & (x >= 0)]))


@pytest.mark.parametrize("name", PAIRS)
def test_the_truth_explains_the_right_picture_at_its_own_scale_only(
    pairs: dict[str, StereoPair], name: str
) -> None:
    pair = _pair(pairs, name)
    fitting = _mismatch(pair, 1.0)
    assert fitting < 0.7 * min(_mismatch(pair, 0.5), _mismatch(pair, 2.0))
    assert fitting < min(_mismatch(pair, 0.97), _mismatch(pair, 1.03))


def test_a_pfm_file_is_read_top_row_first(tmp_path: Path) -> None:
    rows = np.arange(6, dtype="<f4").reshape(2, 3)
    (tmp_path / "x.pfm").write_bytes(b"Pf\n3 2\n-1.0\n" + rows[::-1].tobytes())
    assert np.array_equal(read_pfm(tmp_path / "x.pfm"), rows)


def test_pairs_that_are_absent_are_left_out(tmp_path: Path) -> None:
    assert {pair.name for pair in load_pairs(tmp_path)} <= {"aloe_half"}


@pytest.mark.parametrize("name", PAIRS)
def test_every_exit_of_the_shipped_weights_is_better_than_the_one_before(
    pairs: dict[str, StereoPair], name: str
) -> None:
    pair = _pair(pairs, name)
    net = AnyNet()
    net.load_state_dict(load_file(WEIGHTS / "anynet.safetensors"))
    exits = measure(lambda left, right: predict(net, left, right), [pair])[name]
    errors = [epe for epe, _ in exits]
    assert all(later < earlier for earlier, later in zip(errors, errors[1:], strict=False)), errors

    card = json.loads((WEIGHTS / "anynet.json").read_text())["accuracy"][name]
    for (epe, d1), stated in zip(exits, card.values(), strict=True):
        assert epe == pytest.approx(stated["epe_px"], abs=0.02)
        assert d1 == pytest.approx(stated["d1_percent"], abs=0.3)


@pytest.mark.parametrize("name", ["kitti2015_000000", "kitti2015_000001", "aloe_half"])
def test_the_last_exit_is_wrong_less_often_than_block_matching_with_holes_counted(
    pairs: dict[str, StereoPair], name: str
) -> None:
    pair = _pair(pairs, name)
    net = AnyNet()
    net.load_state_dict(load_file(WEIGHTS / "anynet.safetensors"))
    ours = epe_d1(predict(net, pair.left, pair.right)[-1], pair.disparity, pair.valid)[1]
    peer = epe_d1(BlockMatching()(pair.left, pair.right), pair.disparity, pair.valid)[1]
    assert ours < peer
