"""Resizing, against OpenCV and against what must hold whatever the filter."""

from types import ModuleType
from typing import Callable, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.runtime.pictures.resize import resize, resize_columns, resize_rows

sides = st.integers(1, 40)


@pytest.mark.parametrize(
    "size", [(60, 90), (40, 50), (75, 71), (50, 100), (50, 70), (26, 36), (200, 36), (49, 69)]
)
def test_it_is_the_bilinear_resize_of_opencv(
    needs: Callable[[str], ModuleType], size: Tuple[int, int]
) -> None:
    cv2 = needs("cv2")
    plane = np.random.RandomState(0).randint(0, 256, (50, 70)).astype(np.uint8)
    expected = cv2.resize(plane.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resize(plane, size), expected, atol=1e-3)


@pytest.mark.parametrize("factors", [(2, 2), (2, 3), (5, 1), (4, 4)])
def test_shrinking_by_a_whole_number_averages_blocks(
    needs: Callable[[str], ModuleType], factors: Tuple[int, int]
) -> None:
    cv2 = needs("cv2")
    plane = np.random.RandomState(1).randint(0, 256, (60, 60)).astype(np.uint8)
    size = (60 // factors[0], 60 // factors[1])
    expected = cv2.resize(plane.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(resize(plane, size), expected, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 255))
def test_a_flat_picture_stays_flat(source: Tuple[int, int], target: Tuple[int, int], value: int) -> None:
    resized = resize(np.full(source, value, np.uint8), target)
    assert resized.shape == target
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, value, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(1, 60))
def test_a_ramp_stays_a_ramp_over_pixel_centres(source: int, target: int) -> None:
    ramp = np.arange(source, dtype=np.float32)
    expected = (np.arange(target) + 0.5) * source / target - 0.5
    rows = resize_rows(ramp[:, None], target)[:, 0]
    columns = resize_columns(ramp[None], target)[0]
    np.testing.assert_array_equal(rows, columns)
    # Beyond the outermost pixel centres, and the outermost block centres, there is nothing to interpolate with.
    margin = max(source // target, 1) * 1.5
    inside = (expected >= margin - 1) & (expected <= source - margin)
    np.testing.assert_allclose(rows[inside], expected[inside], atol=1e-3)


def test_the_channels_of_a_picture_are_resized_alike() -> None:
    picture = np.random.RandomState(2).randint(0, 256, (31, 47, 3)).astype(np.uint8)
    rows = resize_rows(picture, 20)
    for channel in range(3):
        np.testing.assert_allclose(rows[..., channel], resize_rows(picture[..., channel], 20))
