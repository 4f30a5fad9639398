"""Textured surfaces seen by two rectified cameras, with disparities that are exact by construction.

A surface lives in the left picture's coordinates: its texture, its silhouette and its disparity d(x, y) are functions of
the left pixel. The right camera sees the surface point of left pixel x_l at x_r = x_l - d(x_l, y); solving that for x_l
tells where to sample, so both views and both disparity maps come from one description without any resampled depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Mask = NDArray[np.uint8]
Random = np.random.Generator


@dataclass(frozen=True)
class DisparityField:
    """d(x, y) in px: a plane, plus an elliptic bump (a ball, a cylinder), plus a ripple (cloth, foliage).

    The slope along x must stay below 1, otherwise the surface would fold over itself in the right view.
    """

    level: float
    slope_x: float = 0.0
    slope_y: float = 0.0
    centre_x: float = 0.0
    centre_y: float = 0.0
    bump: float = 0.0
    radius_x: float = 1.0
    radius_y: float = 1.0
    ripple: float = 0.0
    ripple_x: float = 0.0
    ripple_y: float = 0.0
    phase: float = 0.0

    def at(self, x: Map, y: Map) -> Map:
        """Disparity in px at left pixels (x, y)."""
        dx, dy = x - np.float32(self.centre_x), y - np.float32(self.centre_y)
        disparity = dx * np.float32(self.slope_x) + (dy * np.float32(self.slope_y) + np.float32(self.level))
        if self.bump:
            inside = 1 - (dx / np.float32(self.radius_x)) ** 2 - (dy / np.float32(self.radius_y)) ** 2
            disparity += np.float32(self.bump) * np.maximum(inside, 0)
        if self.ripple:
            wave = dx * np.float32(self.ripple_x) + (dy * np.float32(self.ripple_y) + np.float32(self.phase))
            disparity += np.float32(self.ripple) * np.sin(wave)
        return np.asarray(disparity, np.float32)

    def _slope(self, x: Map, y: Map) -> Map:
        dx, dy = x - np.float32(self.centre_x), y - np.float32(self.centre_y)
        slope = np.full(np.broadcast_shapes(x.shape, y.shape), self.slope_x, np.float32)
        if self.bump:
            inside = 1 - (dx / np.float32(self.radius_x)) ** 2 - (dy / np.float32(self.radius_y)) ** 2
            steep = dx * np.float32(2 * self.bump / self.radius_x**2)
            slope = np.asarray(slope - steep * (inside > 0), np.float32)
        if self.ripple:
            wave = dx * np.float32(self.ripple_x) + (dy * np.float32(self.ripple_y) + np.float32(self.phase))
            slope += np.float32(self.ripple * self.ripple_x) * np.cos(wave)
        return slope

    def left_x(self, x_right: Map, y: Map) -> Map:
        """The left x whose surface point the right camera sees at x_right: exact for planes, Newton's method otherwise."""
        flat = np.float32(1 / (1 - self.slope_x))
        offset = np.float32(self.level - self.slope_x * self.centre_x)
        offset -= np.float32(self.slope_y * self.centre_y)
        x: Map = np.asarray((x_right + (y * np.float32(self.slope_y) + offset)) * flat, np.float32)
        if self.bump or self.ripple:
            for _ in range(5):
                slack = np.maximum(1 - self._slope(x, y), np.float32(0.2))
                x = np.asarray(x - (x - self.at(x, y) - x_right) / slack, np.float32)
        return x


@dataclass(frozen=True)
class Surface:
    """A disparity field with paint on it.

    Attributes:
        paint: uint8 (h, w, 4), RGB and coverage; pixel (0, 0) lies at left-picture coordinates (x, y). Coverage of a half
            or less tints what lies behind and leaves its disparity.
        slide: px by which the paint moves on the surface between the views, as a reflection of something farther does.
    """

    field: DisparityField
    paint: Mask
    x: float
    y: float
    slide: float = 0.0

    def nearness(self) -> tuple[float, float, float]:
        """Least, middle and greatest disparity on the painted rectangle, from a coarse grid (px)."""
        height, width = self.paint.shape[:2]
        grid_x = np.linspace(self.x, self.x + width - 1, 9, dtype=np.float32)[None, :]
        grid_y = np.linspace(self.y, self.y + height - 1, 9, dtype=np.float32)[:, None]
        values = self.field.at(grid_x, grid_y)
        return float(values.min()), float(values[4, 4]), float(values.max())


@dataclass(frozen=True)
class View:
    """What one camera sees: float32 picture (H, W, 3) in 0..255 and disparity (H, W) in px."""

    image: Map
    disparity: Map


def render_view(surfaces: list[Surface], height: int, width: int, right: bool) -> View:
    """Paint the surfaces far to near with a depth test per pixel; coverage blends edges as a lens would."""
    image = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), -1.0, np.float32)
    for surface in sorted(surfaces, key=lambda surface: surface.nearness()[1]):
        rows, columns = surface.paint.shape[:2]
        least, _, greatest = surface.nearness()
        left_edge = surface.x - (greatest + 2 if right else 0)
        right_edge = surface.x + columns - (least - 2 if right else 0)
        x0, x1 = max(0, int(np.floor(left_edge))), min(width, int(np.ceil(right_edge)) + 1)
        y0, y1 = max(0, int(np.floor(surface.y))), min(height, int(np.ceil(surface.y + rows)) + 1)
        if x0 >= x1 or y0 >= y1:
            continue
        x = np.arange(x0, x1, dtype=np.float32)[None, :]
        y = np.arange(y0, y1, dtype=np.float32)[:, None]
        shape = (y1 - y0, x1 - x0)
        x_left = np.broadcast_to(surface.field.left_x(x, y) if right else x, shape)
        disparity = surface.field.at(x_left, y)
        offset = surface.x - (surface.slide if right else 0.0)
        map_x = np.ascontiguousarray(x_left - np.float32(offset))
        map_y = np.ascontiguousarray(np.broadcast_to(y - np.float32(surface.y), shape))
        painted = cv2.remap(surface.paint, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        behind = depth[y0:y1, x0:x1]
        coverage = painted[..., 3].astype(np.float32) * np.float32(1 / 255) * (disparity > behind)
        target = image[y0:y1, x0:x1]
        target += (painted[..., :3].astype(np.float32) - target) * coverage[..., None]
        np.copyto(behind, disparity, where=coverage > 0.5)
    return View(image, depth)


def visible_in_right(left: Map, right: Map, tolerance: float = 1.0) -> NDArray[np.bool_]:
    """Which left pixels (H, W) the right camera sees too: inside its picture and not behind something nearer.

    Args:
        left, right: disparity maps (H, W) of the two views, px.
        tolerance: how much nearer (px) the right view's surface may be, since both maps are sampled at whole pixels.
    """
    height, width = left.shape
    x = np.arange(width, dtype=np.float32)[None, :] - left
    inside = (x >= 0) & (x <= width - 1)
    low = np.clip(np.floor(x).astype(np.int64), 0, width - 1)
    high = np.clip(low + 1, 0, width - 1)
    rows = np.arange(height)[:, None]
    nearest = np.maximum(right[rows, low], right[rows, high])
    return np.asarray(inside & (nearest <= left + np.float32(tolerance)))
