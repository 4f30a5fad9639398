"""The answer belongs to the picture that was given, whatever the network's own size is."""

import numpy as np
import pytest

from edgekit.runtime.postprocess import answer
from edgekit.runtime.preprocess import Placement


def test_a_disparity_is_cropped_to_the_picture() -> None:
    exit_array = np.arange(48 * 64, dtype=np.float32).reshape(1, 1, 48, 64)
    output = answer("stereo", exit_array, Placement(45, 60, 3, 4, 45, 60))
    np.testing.assert_array_equal(output, exit_array[0, 0, 3:, 4:])
    assert np.shares_memory(output, exit_array)


def test_a_disparity_of_a_shrunk_picture_is_enlarged_and_counts_its_own_pixels() -> None:
    exit_array = np.full((1, 1, 48, 64), 7.0, np.float32)
    output = answer("stereo", exit_array, Placement(90, 120, 3, 4, 45, 60))
    assert output.shape == (90, 120)
    np.testing.assert_allclose(output, 14.0)


def test_without_a_placement_the_disparity_is_the_networks() -> None:
    exit_array = np.random.RandomState(0).randn(1, 1, 48, 64).astype(np.float32)
    np.testing.assert_array_equal(answer("stereo", exit_array, None), exit_array[0, 0])


@pytest.mark.parametrize(
    ("task", "shape", "expected"), [("classification", (1, 10), (10,)), ("else", (1, 2, 3), (1, 2, 3))]
)
def test_logits_are_one_vector_and_other_answers_are_handed_on(
    task: str, shape: "tuple[int, ...]", expected: "tuple[int, ...]"
) -> None:
    assert answer(task, np.zeros(shape, np.float32), None).shape == expected
