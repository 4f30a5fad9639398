"""From a disparity to depth and to points, for a rectified stereo pair."""

import math
from typing import NamedTuple

import numpy as np

from edgekit.errors import InputError


class Geometry(NamedTuple):
    """A rectified stereo camera: focal length px, baseline in the unit that depths are to have, principal points px.

    ``cx_right`` differs from ``cx`` where the right picture was cropped or shifted against the left one; a disparity of
    ``cx - cx_right`` is then infinitely far away.
    """

    focal: float
    baseline: float
    cx: float
    cy: float
    cx_right: float

    @classmethod
    def of(cls, focal: float, baseline: float, width: int, height: int) -> "Geometry":
        """Of a camera whose axis goes through the middle of its pictures, (height, width) px.

        Raises:
            InputError: the focal length or the baseline is not above 0.
        """
        if not (focal > 0 and baseline > 0 and math.isfinite(focal) and math.isfinite(baseline)):
            raise InputError(f"focal length {focal} px and baseline {baseline}: both must be above 0")
        cx = (width - 1) / 2
        return cls(focal, baseline, cx, (height - 1) / 2, cx)

    @classmethod
    def from_q(cls, q: np.ndarray) -> "Geometry":
        """Of the matrix Q (4, 4) that ``cv2.stereoRectify`` gives.

        Raises:
            InputError: it is none of a pair beside each other.
        """
        try:
            q = np.asarray(q, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"Q is no matrix of numbers: {q!r:.80}; read it first, as with np.load"
            ) from error
        if q.shape != (4, 4) or not np.isfinite(q).all() or q[3, 2] == 0 or not q[2, 3] > 0:
            raise InputError(
                f"Q is no matrix of a rectified stereo pair: {q.shape}, with focal length and baseline in it"
            )
        cx = -q[0, 3]
        return cls(
            float(q[2, 3]),
            abs(1.0 / float(q[3, 2])),
            float(cx),
            float(-q[1, 3]),
            float(cx + q[3, 3] / q[3, 2]),
        )

    def depth(self, disparity: np.ndarray) -> np.ndarray:
        """Depth (H, W) float32 along the camera's axis, in the baseline's unit, of a disparity (H, W) px of the left picture.

        What is infinitely far away is inf; where the disparity is not known (NaN) or negative, so that it can be of nothing
        before the cameras, it is NaN.
        """
        shifted = np.asarray(disparity, np.float32) - np.float32(self.cx - self.cx_right)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.float32(self.focal * self.baseline) / shifted
        # 1 / -0.0 is -inf.
        return np.where(shifted < 0, np.float32(np.nan), np.abs(depth))

    def points(self, disparity: np.ndarray) -> np.ndarray:
        """Points (H, W, 3) float32 seen from the left camera: x right, y down, z forward; not finite where `depth` is not."""
        depth = self.depth(disparity)
        rows, columns = np.indices(depth.shape, dtype=np.float32)
        with np.errstate(invalid="ignore"):
            x = (columns - np.float32(self.cx)) * depth / np.float32(self.focal)
            y = (rows - np.float32(self.cy)) * depth / np.float32(self.focal)
        return np.stack([x, y, depth], axis=-1)

    def resized(self, columns: float, rows: float) -> "Geometry":
        """Of the same camera's pictures made ``columns`` times as wide and ``rows`` times as high; disparities grow with the width."""
        if abs(columns - rows) > 0.02 * rows:
            raise InputError(
                f"pictures stretched by {columns:.3f} x {rows:.3f} have no single focal length; keep their shape"
            )
        # The middle of the first pixel is 0: half a pixel is left of it, in either size.
        cx, right = ((value + 0.5) * columns - 0.5 for value in (self.cx, self.cx_right))
        return Geometry(self.focal * columns, self.baseline, cx, (self.cy + 0.5) * rows - 0.5, right)

    def cropped(self, left: float, top: float) -> "Geometry":
        """Of pictures of which so many columns and rows were cut off at the left and the top; negative where they were padded."""
        return Geometry(self.focal, self.baseline, self.cx - left, self.cy - top, self.cx_right - left)

    def q(self) -> np.ndarray:
        """The matrix Q (4, 4) as ``cv2.reprojectImageTo3D`` takes it."""
        shift = (self.cx - self.cx_right) / self.baseline
        return np.array(
            [
                [1, 0, 0, -self.cx],
                [0, 1, 0, -self.cy],
                [0, 0, 0, self.focal],
                [0, 0, 1 / self.baseline, -shift],
            ]
        )
