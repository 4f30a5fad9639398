"""From an exit's raw tensor to the answer a user wants: a disparity on the picture they gave, or one vector of logits."""

from typing import Optional

import numpy as np

from edgekit.runtime.pictures.resize import resize
from edgekit.runtime.preprocess import Placement


def answer(task: str, exit_array: np.ndarray, placement: Optional[Placement]) -> np.ndarray:
    """The output of one exit.

    Args:
        task: ``stereo``: a disparity (1, 1, H, W) px becomes (h, w) px of the picture given, cropped, resized, and its
            values scaled as the width is. ``classification``: logits (1, classes) become (classes,). Anything else is
            handed on as it is.
        exit_array: as the network gives it.
        placement: where the picture lies in the network's tensor; None if a tensor of its own size was given.
    """
    if task == "classification":
        return exit_array[0]  # type: ignore[no-any-return]
    if task != "stereo":
        return exit_array
    disparity = exit_array[0, 0]
    if placement is None:
        return disparity  # type: ignore[no-any-return]
    rows = slice(placement.top, placement.top + placement.rows)
    disparity = disparity[rows, placement.left : placement.left + placement.columns]
    size = placement.height, placement.width
    if disparity.shape == size:
        return disparity  # type: ignore[no-any-return]
    return resize(disparity, size) * np.float32(placement.width / placement.columns)
