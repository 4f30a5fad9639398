"""How far a disparity is from the truth: one convention, whether a network is judged in training or on the device."""

from typing import NamedTuple

import numpy as np

from edgekit.errors import InputError


class DisparityErrors(NamedTuple):
    """Errors over the pixels whose truth is known.

    Attributes:
        epe: mean absolute error in px.
        d1: share of pixels that are off by more than 3 px and more than 5 % of the truth (KITTI 2015), 0 to 1.
        pixels: how many pixels were compared.
    """

    epe: float
    d1: float
    pixels: int


def disparity_errors(disparity: np.ndarray, truth: np.ndarray) -> DisparityErrors:
    """Compare a disparity (H, W) px with the truth (H, W) px, whose unknown pixels are NaN.

    A disparity that is not finite or negative where the truth is known is a hole: wrong, and for the mean error a
    disparity of 0.

    Raises:
        InputError: the sizes differ, or no pixel's truth is known.
    """
    if disparity.shape != truth.shape:
        raise InputError(
            f"the ground truth has {truth.shape[1]} x {truth.shape[0]} px and the disparity {disparity.shape[1]} x"
            f" {disparity.shape[0]}; give the truth of this very picture"
        )
    known = np.isfinite(truth)
    pixels = int(known.sum())
    if not pixels:
        raise InputError("the ground truth knows no pixel's disparity")
    found, right = disparity[known].astype(np.float64), truth[known].astype(np.float64)
    hole = ~(np.isfinite(found) & (found >= 0))
    error = np.abs(np.where(hole, 0.0, found) - right)
    wrong = hole | ((error > 3.0) & (error > 0.05 * np.abs(right)))
    return DisparityErrors(float(error.mean()), float(wrong.mean()), pixels)
