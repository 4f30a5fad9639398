"""Bilinear resizing in numpy alone, so that every device computes the same picture and the same disparity."""

from functools import lru_cache
from typing import Tuple

import numpy as np


def resize(plane: np.ndarray, size: Tuple[int, ...]) -> np.ndarray:
    """Resize (H, W) to ``size`` (rows, columns), float32; pixel centres are mapped to pixel centres.

    Shrinking widens the filter by the scale, so that nothing of the picture is skipped (no aliasing).
    """
    rows, columns = size
    # The axis that shrinks most first: the second pass then has less to do.
    if rows * plane.shape[1] <= columns * plane.shape[0]:
        return _along_columns(_along_rows(plane, rows), columns)
    return _along_rows(_along_columns(plane, columns), rows)


def _along_rows(plane: np.ndarray, rows: int) -> np.ndarray:
    if plane.shape[0] == rows:
        return plane.astype(np.float32, copy=False)
    indices, weights = taps(plane.shape[0], rows)
    out = plane[indices[0]] * weights[0][:, None]
    for index, weight in zip(indices[1:], weights[1:]):
        out += plane[index] * weight[:, None]
    return out  # type: ignore[no-any-return]


def _along_columns(plane: np.ndarray, columns: int) -> np.ndarray:
    if plane.shape[1] == columns:
        return plane.astype(np.float32, copy=False)
    indices, weights = taps(plane.shape[1], columns)
    out = plane[:, indices[0]] * weights[0]
    for index, weight in zip(indices[1:], weights[1:]):
        out += plane[:, index] * weight
    return out  # type: ignore[no-any-return]


@lru_cache(maxsize=16)
def taps(source: int, target: int) -> Tuple[np.ndarray, np.ndarray]:
    """Which ``source`` pixels make each of ``target`` pixels: indices and float32 weights, both (taps, target)."""
    scale = source / target
    reach = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale - 0.5
    first = np.ceil(centre - reach).astype(np.int64)
    indices = first + np.arange(int(np.floor(2 * reach)) + 1)[:, None]
    weights = np.maximum(1.0 - np.abs(indices - centre) / reach, 0.0)
    used = weights.any(axis=1)
    indices, weights = np.clip(indices[used], 0, source - 1), weights[used]
    return indices, (weights / weights.sum(axis=0)).astype(np.float32)
