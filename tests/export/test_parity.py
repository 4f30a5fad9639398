"""Parity is lenient about rounding and about nothing else; and its pictures look like pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ParityError
from edgekit.export.parity import ParityRow, compare, table
from edgekit.export.sample_inputs import sample_inputs
from edgekit.export.staging import StageRun
from edgekit.models.staged import ImageInput, Stage


def _row(reference: Tensor, got: np.ndarray, unit: str | None) -> ParityRow:
    units = {} if unit is None else {"y": unit}
    run = StageRun(Stage("stage1", nn.Identity(), ("x",), ("y",), "y", units), {}, {"y": reference}, 0, 0)
    return compare(run, "plain", "y", got, reference)


DISPARITY = torch.linspace(0, 100, 10_000).view(1, 1, 100, 100)


def _moved(share: float, by: float) -> np.ndarray:
    moved = DISPARITY.numpy().copy()
    moved.reshape(-1)[: int(share * moved.size)] += by
    return moved


def test_disparities_may_differ_by_two_hundredths_of_a_pixel() -> None:
    assert _row(DISPARITY, _moved(1.0, 0.019), "px").passed
    assert not _row(DISPARITY, _moved(1.0, 0.021), "px").passed


def test_one_pixel_in_a_thousand_may_differ_more_but_not_wildly() -> None:
    assert _row(DISPARITY, _moved(0.0009, 4.0), "px").passed
    assert not _row(DISPARITY, _moved(0.0011, 4.0), "px").passed
    assert not _row(DISPARITY, _moved(0.0009, 6.0), "px").passed


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_features_and_logits_are_judged_by_their_own_magnitude(scale: float) -> None:
    logits = scale * torch.tensor([[1.0, -2.0, 5.0]])
    assert _row(logits, (logits * 1.0009).numpy(), None).passed
    assert not _row(logits, (logits * 1.0011).numpy(), None).passed


def test_nan_and_another_shape_never_pass() -> None:
    broken = DISPARITY.numpy().copy()
    broken[0, 0, 0, 0] = np.nan
    assert not _row(DISPARITY, broken, "px").passed
    with pytest.raises(ParityError, match="shape"):
        _row(DISPARITY, broken[:, :, :50], "px")


def test_masks_and_whole_numbers_are_compared_too() -> None:
    mask = torch.tensor([True, False, True])
    assert _row(mask, np.array([True, False, True]), None).passed
    assert not _row(mask, np.array([True, True, True]), None).passed


def test_the_table_marks_what_failed() -> None:
    lines = table([_row(DISPARITY, _moved(1, 0.0), "px"), _row(DISPARITY, _moved(1, 1.0), "px")]).splitlines()
    assert [line.endswith("FAILED") for line in lines] == [False, False, True]
    assert lines[2].split()[:3] == ["stage1", "plain", "y"] and "1.00e+00" in lines[2]


def test_a_stereo_sample_shows_one_scene_twice() -> None:
    specs = [ImageInput(name, 96, 320) for name in ("left", "right")]
    left, right = sample_inputs(specs, "stereo").values()
    assert left.shape == (1, 3, 96, 320)

    def distance(shift: int) -> float:  # of the lowest rows, which are the nearest: 6 % of the width
        return float((left[..., -4:, shift:] - right[..., -4:, : 320 - shift]).abs().mean())

    assert min(range(40), key=distance) in (18, 19, 20)
    assert distance(19) < 0.3 * distance(0)


def test_samples_are_seeded_and_have_the_levels_of_a_picture() -> None:
    spec = [ImageInput("image", 40, 60)]
    first, again, other = (sample_inputs(spec, "classification", seed)["image"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    levels = (
        first * torch.tensor(spec[0].std).view(1, 3, 1, 1) + torch.tensor(spec[0].mean).view(1, 3, 1, 1)
    ) * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)
    assert levels.min() >= -1e-3 and levels.max() <= 255.001
