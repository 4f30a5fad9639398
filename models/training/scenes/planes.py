"""The large surfaces of rendered scenes: backdrops, the ground, and walls that recede, textured in perspective.

A plane in space is a plane in (x, y, disparity): the ground gains k px of disparity a row below the horizon, a wall along
the viewing direction gains it along x only.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgekit.models.training.scenes import shapes
from edgekit.models.training.scenes.surfaces import DisparityField, Map, Random, Surface
from edgekit.models.training.scenes.textures import any_texture, grainy
from edgekit.models.training.scenes.things import painted

MARGIN = 4  # px that a canvas reaches past the picture, so that no edge of paint is ever seen
GREATEST = 185.0  # px; AnyNet's coarse volume ends at 192


def _reach(field: DisparityField, height: int, width: int) -> int:
    """Columns right of the left picture that the right camera still sees of this surface."""
    corners = field.at(np.array([width], np.float32), np.array([0, height], np.float32))
    return int(np.clip(corners.max(), 0, 200) * 1.5) + MARGIN


def backdrop(
    random: Random, height: int, width: int, field: DisparityField, plainness: float = 1.0
) -> Surface:
    """A surface that fills both pictures."""
    columns = width + _reach(field, height, width) + 2 * MARGIN
    texture = any_texture(random, height + 2 * MARGIN, columns, plainness)
    return Surface(field, painted(texture), -MARGIN - random.uniform(0, 1), -MARGIN + random.uniform(0, 1))


def _perspective(random: Random, u: Map, v: Map, plainness: float) -> Map:
    """A texture laid on a receding plane: u, v (h, w) are texels; far rows read smaller copies, so nothing aliases."""
    level = any_texture(random, 512, 512, plainness)
    footprint = np.maximum(
        np.maximum(np.abs(np.gradient(u, axis=1)), np.abs(np.gradient(v, axis=0))),
        np.maximum(np.abs(np.gradient(u, axis=0)), np.abs(np.gradient(v, axis=1))),
    )
    choice = np.clip(np.ceil(np.log2(np.maximum(footprint, 1e-3))), 0, 6).astype(np.int32)
    result = np.empty((*u.shape, 3), np.float32)
    for octave in range(7):
        here = choice == octave
        if here.any():
            rows = np.flatnonzero(here.any(axis=1))
            columns = np.flatnonzero(here.any(axis=0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            size = level.shape[0]
            map_u = np.mod(u[box] / 2**octave, size).astype(np.float32)
            map_v = np.mod(v[box] / 2**octave, size).astype(np.float32)
            sampled = cv2.remap(level, map_u, map_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            np.copyto(result[box], sampled, where=here[box][..., None])
        level = cv2.pyrDown(level)
    return result


def ground(
    random: Random, height: int, width: int, horizon: float, k: float, plainness: float = 1.0
) -> Surface:
    """The road or floor: disparity grows by k px a row below the horizon; texture foreshortened as on a real one."""
    roll = float(np.clip(random.normal(0, 0.006), -0.02, 0.02))
    bottom = k * (height - horizon)
    columns = width + int(bottom * 1.3) + 3 * MARGIN
    top = int(np.floor(horizon)) - 8
    rows = height + MARGIN - top
    field = DisparityField(0.0, roll, k, width / 2, horizon)
    x = np.arange(-MARGIN, columns - MARGIN, dtype=np.float32)[None, :]
    y = np.arange(top, top + rows, dtype=np.float32)[:, None]
    disparity = field.at(x, y)
    near = np.maximum(disparity, 0.35)
    scale = float(np.exp(random.uniform(np.log(0.4), np.log(4.0)))) * bottom
    focal = width * random.uniform(0.6, 1.2)
    u = (x - width / 2) / near * scale + random.uniform(0, 500)
    v = np.broadcast_to(focal * scale / near, u.shape) + random.uniform(0, 500)
    texture = _perspective(random, u.astype(np.float32), v.astype(np.float32), plainness)
    texture += grainy(random, rows, columns) * np.float32(random.uniform(0, 0.15))
    for _ in range(int(random.integers(0, 5))):  # shadows
        shade = shapes.polygon(random, rows, columns)[:rows, :columns].astype(np.float32) * np.float32(
            0.6 / 255
        )
        shift = np.array([[1, 0, random.normal(0, width / 2)], [0, 0.4, random.uniform(0, rows)]], np.float32)
        texture *= 1 - cv2.warpAffine(shade, shift, (columns, rows))[..., None] * random.uniform(0.2, 1.0)
    coverage = np.clip((disparity - 0.3) * 255 * 4, 0, 255).astype(np.uint8)
    return Surface(field, painted(texture, coverage), -MARGIN, top)


def wall(
    random: Random,
    height: int,
    width: int,
    horizon: float,
    k: float,
    side: int,
    far: float,
    plainness: float = 1.0,
) -> Surface | None:
    """A wall along the viewing direction on one side (-1 left, 1 right): disparity linear in x, none in y."""
    slope = side * float(np.exp(random.uniform(np.log(0.04), np.log(0.4))))
    vanishing = width / 2 + random.normal(0, 0.12) * width
    edge = vanishing + far / slope  # where the wall begins, at its far end
    near_limit = vanishing + GREATEST / slope
    if side > 0:
        x0, x1 = max(edge, -50.0), min(near_limit, width + 200.0)
    else:
        x0, x1 = max(near_limit, -MARGIN), min(edge, width + 50.0)
    if x1 - x0 < 12:
        return None
    columns = int(x1 - x0)
    x = np.arange(columns, dtype=np.float32)[None, :] + np.float32(x0)
    disparity = np.maximum((x - np.float32(vanishing)) * np.float32(slope), np.float32(0.5))
    storeys = random.choice([random.uniform(-0.7, 0.5), random.uniform(0.5, 8.0)])
    upper = np.clip(horizon - storeys * disparity / k, -MARGIN, height)[0]
    lower = np.clip(horizon + disparity / k + 2, -MARGIN, height + MARGIN)[0]
    top, rows = int(upper.min()) - 2, 0
    rows = int(lower.max()) + 3 - top
    if rows < 8:
        return None
    y = np.arange(rows, dtype=np.float32)[:, None] + np.float32(top)
    scale = float(np.exp(random.uniform(np.log(8), np.log(80))))
    focal = width * random.uniform(0.6, 1.2)
    u = np.broadcast_to(focal * scale / disparity, (rows, columns)).astype(np.float32)
    texture = _perspective(random, u, ((y - horizon) / disparity * scale).astype(np.float32), plainness)
    coverage = np.clip(np.minimum(y - upper[None, :], lower[None, :] - y) * 255, 0, 255).astype(np.uint8)
    coverage[:, 0] = coverage[:, -1] = 0
    field = DisparityField(0.0, slope, 0.0, vanishing, 0.0)
    return Surface(field, painted(texture, coverage), float(x0), float(top))
