"""Rendered stereo scenes: their ground truth is exact, and a seed and an index are all that decides them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit.models.training.scenes.batches import DISPARITY_STEP, BatchSource, ScenePool
from edgekit.models.training.scenes.scene import scene
from edgekit.models.training.scenes.surfaces import DisparityField, Surface, render_view, visible_in_right

HEIGHT, WIDTH = 160, 320


@pytest.mark.parametrize("index", range(8))
def test_warping_the_right_view_by_the_truth_gives_the_left_view_wherever_both_see(index: int) -> None:
    ideal = scene(3, index, HEIGHT, WIDTH, imperfect=False)
    x = np.arange(WIDTH, dtype=np.float32)[None, :] - ideal.disparity
    y = np.broadcast_to(np.arange(HEIGHT, dtype=np.float32)[:, None], x.shape)
    warped = cv2.remap(
        ideal.right, x, np.ascontiguousarray(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    error = np.abs(warped.astype(float) - ideal.left).mean(axis=-1)

    # Away from silhouettes: where coverage is partial, a pixel shows two surfaces and no disparity explains it.
    rim = cv2.dilate(ideal.disparity, np.ones((5, 5))) - cv2.erode(ideal.disparity, np.ones((5, 5))) > 4
    inside = ideal.visible & ~cv2.dilate(rim.astype(np.uint8), np.ones((3, 3))).astype(bool)
    contrast = float(ideal.left.std())
    assert inside.mean() > 0.3
    assert np.median(error[inside]) < max(1.0, 0.06 * contrast)

    shifted = cv2.remap(
        ideal.right, x - 3, np.ascontiguousarray(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    wrong = np.abs(shifted.astype(float) - ideal.left).mean(axis=-1)
    assert wrong[inside].mean() > 1.3 * error[inside].mean()


def test_a_scene_depends_on_nothing_but_seed_and_index() -> None:
    first = scene(5, 11, HEIGHT, WIDTH)
    scene(5, 12, HEIGHT, WIDTH)
    again = scene(5, 11, HEIGHT, WIDTH)
    assert np.array_equal(first.left, again.left)
    assert np.array_equal(first.right, again.right)
    assert np.array_equal(first.disparity, again.disparity)
    assert not np.array_equal(first.left, scene(6, 11, HEIGHT, WIDTH).left)


def test_disparities_are_known_everywhere_and_spread_over_the_range_of_real_pictures() -> None:
    disparities = np.concatenate([scene(1, index, HEIGHT, WIDTH).disparity.ravel() for index in range(24)])
    assert disparities.min() >= 0
    assert np.mean((disparities > 5) & (disparities < 80)) > 0.5
    assert np.mean(disparities > 80) > 0.01
    assert np.mean(disparities < 5) > 0.01


@pytest.mark.parametrize(
    "field",
    [
        DisparityField(20.0, 0.3, -0.1, 50.0, 30.0),
        DisparityField(40.0, -0.4, 0.1, 60.0, 30.0),
        DisparityField(30.0, 0.0, 0.05, 64.0, 32.0, bump=8.0, radius_x=60.0, radius_y=30.0),
        DisparityField(25.0, 0.1, 0.0, 10.0, 5.0, ripple=2.0, ripple_x=0.15, ripple_y=0.05, phase=1.0),
    ],
)
def test_the_left_pixel_found_for_a_right_pixel_is_seen_exactly_there(field: DisparityField) -> None:
    x_right = np.linspace(0, 120, 61, dtype=np.float32)[None, :]
    y = np.linspace(0, 64, 17, dtype=np.float32)[:, None]
    x_left = field.left_x(x_right, y)
    assert np.allclose(x_left - field.at(x_left, y), np.broadcast_to(x_right, x_left.shape), atol=2e-3)


def _card(disparity: float, x: int, width: int, shade: int) -> Surface:
    paint = np.full((40, width, 4), shade, np.uint8)
    paint[..., 3] = 255
    return Surface(DisparityField(disparity), paint, x, 0)


def test_a_near_card_hides_exactly_the_strip_that_geometry_says() -> None:
    back, front = _card(4.0, -20, 200, 50), _card(14.0, 60, 20, 200)
    left, right = (render_view([front, back], 40, 120, right=side) for side in (False, True))
    assert np.all(left.disparity[:, 61:79] == 14)
    assert np.all(right.disparity[:, 47:65] == 14)  # the card moved by its disparity

    hidden = ~visible_in_right(left.disparity, right.disparity)
    # The card covers right columns 46..65; background at left x lands on x - 4, so 50..69 is hidden, minus the card itself.
    assert np.all(hidden[:, 52:59])
    assert not hidden[:, 5:48].any()
    assert not hidden[:, 61:79].any()
    assert np.all(hidden[:, :3])  # left of the right camera's picture


def test_of_two_crossing_planes_the_nearer_one_is_seen_at_every_pixel() -> None:
    paint = np.full((40, 240, 4), 255, np.uint8)
    rising, flat = DisparityField(10.0, 0.1, 0.0, 60.0), DisparityField(10.0)
    view = render_view([Surface(rising, paint, -20, 0), Surface(flat, paint, -20, 0)], 40, 120, right=False)
    x = np.arange(120, dtype=np.float32)
    assert np.allclose(view.disparity, np.maximum(10 + 0.1 * (x - 60), 10)[None, :], atol=1e-4)


def test_a_batch_is_the_same_whether_its_scenes_come_from_disk_or_are_rendered_now(tmp_path: Path) -> None:
    source = BatchSource(ScenePool(tmp_path, 2, 6, 128, 256), 64, 128, 3, seed=9)
    fresh, cached = source(1), source(1)
    assert np.array_equal(fresh.left, cached.left)
    assert np.array_equal(fresh.right, cached.right)
    assert np.array_equal(fresh.disparity, cached.disparity)
    assert fresh.left.shape == (3, 3, 64, 128)
    assert not np.array_equal(fresh.left, source(2).left)


def test_a_damaged_cached_scene_is_rendered_again(tmp_path: Path) -> None:
    pool = ScenePool(tmp_path, 2, 6, 64, 128)
    truth = np.array(pool.packed(0))
    pool.path(0).write_bytes(b"half a file")
    assert np.array_equal(pool.packed(0), truth)


def test_cached_disparities_are_the_rendered_ones_to_a_256th_px(tmp_path: Path) -> None:
    pool = ScenePool(tmp_path, 2, 6, 64, 128)
    stored = np.ascontiguousarray(pool.packed(3)[..., 6:8]).view(np.uint16)[..., 0] / DISPARITY_STEP
    assert np.abs(stored - scene(2, 3, 64, 128).disparity).max() <= 1 / DISPARITY_STEP
