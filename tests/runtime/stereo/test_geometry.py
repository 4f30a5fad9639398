"""Depth and points from disparities, against OpenCV's reprojection and against the pinhole camera itself."""

import struct
from pathlib import Path
from types import ModuleType
from typing import Callable

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.runtime.stereo import Geometry, write_ply

CAMERA = Geometry(focal=700.0, baseline=0.12, cx=310.5, cy=241.0, cx_right=310.5)


def disparities(shape: "tuple[int, int]" = (48, 64)) -> np.ndarray:
    return np.random.RandomState(3).uniform(1.0, 60.0, shape).astype(np.float32)


@pytest.mark.parametrize("cx_right", [310.5, 290.25])
def test_points_are_those_of_opencv(needs: Callable[[str], ModuleType], cx_right: float) -> None:
    cv2 = needs("cv2")
    camera = CAMERA._replace(cx_right=cx_right)
    disparity = disparities() + np.float32(25.0)  # beyond the shift of the axes
    expected = cv2.reprojectImageTo3D(disparity, camera.q())
    np.testing.assert_allclose(camera.points(disparity), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(Geometry.from_q(camera.q()), camera)


def test_a_point_that_both_cameras_see_is_found_again() -> None:
    x, y, z = 0.4, -0.2, 3.5
    camera = Geometry.of(focal=500.0, baseline=0.1, width=641, height=481)
    column, row = 320 + 500 * x / z, 240 + 500 * y / z
    right = 320 + 500 * (x - 0.1) / z
    disparity = np.full((481, 641), column - right, np.float32)
    # So that the point falls on a whole pixel
    exact = camera.cropped(column - round(column), row - round(row))
    np.testing.assert_allclose(exact.points(disparity)[round(row), round(column)], (x, y, z), rtol=1e-5)


def test_no_disparity_is_infinitely_far_and_a_negative_or_unknown_one_is_not_known() -> None:
    disparity = np.array([[7.0, 0.0, -0.0], [-1.0, np.nan, np.inf]], np.float32)
    depth = CAMERA.depth(disparity)
    np.testing.assert_array_equal(depth, np.float32([[12.0, np.inf, np.inf], [np.nan, np.nan, 0.0]]))
    assert depth.dtype == np.float32
    assert not np.isfinite(CAMERA.points(disparity)[0, 1]).all()


def test_pictures_that_were_resized_and_cropped_give_the_same_depth() -> None:
    camera = Geometry.of(focal=600.0, baseline=0.2, width=640, height=480)._replace(cx_right=330.0)
    disparity = np.full((480, 640), 30.0, np.float32)
    points = camera.points(disparity)
    half = camera.resized(0.5, 0.5)
    small = half.points(np.full((240, 320), 15.0, np.float32))
    # The middle of a small pixel lies between four large ones.
    between = (points[0::2, 0::2] + points[1::2, 1::2]) / 2
    np.testing.assert_allclose(small, between, rtol=1e-4, atol=1e-4)
    cut = camera.cropped(left=100, top=50).points(disparity[50:, 100:])
    np.testing.assert_allclose(cut, points[50:, 100:], rtol=1e-5, atol=1e-6)
    padded = camera.cropped(left=0, top=-20).points(np.full((500, 640), 30.0, np.float32))
    np.testing.assert_allclose(padded[20:], points, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="no single focal length"):
        camera.resized(0.5, 0.7)


@pytest.mark.parametrize("wrong", [np.eye(4), np.zeros((3, 4)), np.full((4, 4), np.nan)])
def test_what_is_no_q_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match="Q is no matrix"):
        Geometry.from_q(wrong)
    with pytest.raises(InputError, match="read it first"):
        Geometry.from_q("Q.npy")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must be above 0"):
        Geometry.of(0.0, 0.1, 10, 10)


def test_a_ply_file_holds_the_finite_points_and_their_colours(tmp_path: Path) -> None:
    points = np.array([[[1, 2, 3], [4, 5, np.inf]], [[np.nan, 0, 1], [7, 8, 9]]], np.float32)
    colors = np.array([[[10, 20, 30], [0, 0, 0]], [[0, 0, 0], [40, 50, 60]]], np.uint8)
    path = str(tmp_path / "points.ply")
    assert write_ply(path, points, colors) == 2
    data = (tmp_path / "points.ply").read_bytes()
    header, body = data.split(b"end_header\n")
    assert b"element vertex 2\n" in header and b"property uchar red" in header
    assert struct.unpack("<3f3B3f3B", body) == (1, 2, 3, 10, 20, 30, 7, 8, 9, 40, 50, 60)
    assert write_ply(path, points, farthest=5.0) == 1
    assert write_ply(path, points, colors[..., 0]) == 2
    with pytest.raises(InputError, match="do not fit"):
        write_ply(path, points, colors[:1])
    with pytest.raises(InputError, match="cannot be written"):
        write_ply(str(tmp_path / "absent" / "points.ply"), points)
