"""Bilinear resizing in numpy alone, so that every device computes the same picture and the same disparity.

Shrinking to half or less averages whole blocks of pixels first, so that nothing of the picture is skipped.
"""

from functools import lru_cache
from typing import Tuple, Type

import numpy as np


def resize(plane: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Resize (H, W) to ``size`` (rows, columns), float32; pixel centres are mapped to pixel centres."""
    return resize_columns(resize_rows(plane, size[0]), size[1])


def resize_rows(picture: np.ndarray, rows: int) -> np.ndarray:
    """Resize the first axis of a picture of any number of axes to ``rows``."""
    flat = np.ascontiguousarray(picture).reshape(len(picture), -1)
    factor = max(len(flat) // rows, 1)
    length = len(flat) / factor
    if factor > 1:
        end = len(flat) // factor * factor
        total: np.ndarray = flat[0:end:factor].astype(_wide(flat, factor))
        for k in range(1, factor):
            total += flat[k:end:factor]
        flat = _mean(total, factor)
    if not len(flat) == rows == length:
        before, after, weight = neighbours(len(flat), rows, length)
        flat = _between(flat[before], flat[after], weight[:, None])
    return flat.reshape((rows,) + picture.shape[1:])


def resize_columns(plane: np.ndarray, columns: int) -> np.ndarray:
    """Resize the second axis of (H, W) to ``columns``."""
    factor = max(plane.shape[1] // columns, 1)
    length = plane.shape[1] / factor
    if factor > 1:
        end = plane.shape[1] // factor * factor
        total: np.ndarray = plane[:, 0:end:factor].astype(_wide(plane, factor))
        for k in range(1, factor):
            total += plane[:, k:end:factor]
        plane = _mean(total, factor)
    if plane.shape[1] == columns == length:
        return plane.astype(np.float32, copy=False)
    before, after, weight = neighbours(plane.shape[1], columns, length)
    return _between(plane[:, before], plane[:, after], weight)


@lru_cache(maxsize=16)
def neighbours(source: int, target: int, length: float) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two of ``source`` pixels between which each of ``target`` pixels lies, and the float32 weight of the second.

    The targets cover ``length`` pixels; a fraction of a pixel is left over where blocks did not come out even.
    """
    centre = np.clip((np.arange(target) + 0.5) * (length / target) - 0.5, 0, source - 1)
    before = np.minimum(centre.astype(np.intp), max(source - 2, 0))
    after = np.minimum(before + 1, source - 1)
    return before, after, (centre - before).astype(np.float32)


def _wide(pixels: np.ndarray, factor: int) -> "Type[np.generic]":
    # Sums of up to 257 bytes fit into 16 bits, which are added twice as fast as floats.
    return np.uint16 if pixels.dtype == np.uint8 and factor <= 257 else np.float32


def _mean(total: np.ndarray, count: int) -> np.ndarray:
    mean: np.ndarray = np.multiply(total, np.float32(1.0 / count), dtype=np.float32)
    return mean


def _between(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    low = low.astype(np.float32, copy=False)
    step = high.astype(np.float32, copy=False)
    step -= low
    step *= weight
    step += low
    return step
