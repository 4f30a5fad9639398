"""Single things for rendered scenes: anything of a random shape, and what stands along a street.

Geometry is that of a rectified pair: a plane in space is a plane in (x, y, disparity). With the horizon at row y_h and a
ground that gains k px of disparity a row, a thing standing on the ground at disparity d meets it at row y_h + d / k,
and one camera height measures d / k rows there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgekit.models.training.scenes import shapes
from edgekit.models.training.scenes.surfaces import DisparityField, Map, Mask, Random, Surface
from edgekit.models.training.scenes.textures import any_texture, cloudy, foliage, plain


def painted(texture: Map, coverage: Mask | None = None) -> Mask:
    """A texture (h, w, 3) and its coverage (h, w), full if None, as the uint8 (h, w, 4) that a surface takes."""
    height, width = texture.shape[:2]
    paint = np.empty((height, width, 4), np.uint8)
    paint[..., :3] = np.clip(texture, 0, 255)
    paint[..., 3] = 255 if coverage is None else coverage
    return paint


def thing(
    random: Random,
    shape: Callable[[Random, int, int], Mask],
    box: tuple[float, float, float, float],
    disparity: float,
    tilt: float = 0.1,
    plainness: float = 1.0,
    texture: Callable[[Random, int, int], Map] | None = None,
) -> Surface:
    """One thing: box = (x, y, width, height) px in the left picture; disparity at its middle; tilt = px of slope per px."""
    x, y, box_width, box_height = box
    columns, rows = int(np.clip(box_width, 5, 900)), int(np.clip(box_height, 5, 700))
    limit = 0.6 * disparity / max(columns, rows)  # keeps the far rim in front of the camera
    slope_x, slope_y = (
        np.clip(random.normal(0, 1, 2) * tilt, -limit, limit) if random.random() < 0.7 else (0.0, 0.0)
    )
    slope_x = float(np.clip(slope_x, -0.6, 0.45))
    bump, ripple, wave_x, wave_y = 0.0, 0.0, 0.0, 0.0
    kind = random.random()
    if kind < 0.3:
        bump = float(random.uniform(-0.1, 0.15) * min(disparity, columns * 0.6))
        bump = float(np.clip(bump, -0.1 * columns, 0.1 * columns))
    elif kind < 0.4:
        wavelength = random.uniform(20, 120)
        angle = random.uniform(0, np.pi)
        wave_x, wave_y = 2 * np.pi / wavelength * np.cos(angle), 2 * np.pi / wavelength * np.sin(angle)
        ripple = float(min(random.uniform(0.2, 4.0), 0.05 * wavelength, 0.15 * disparity))
    field = DisparityField(
        disparity, slope_x, float(slope_y), x + columns / 2, y + rows / 2, bump, columns / 2,
        rows / 2 if random.random() < 0.5 else 1e4, ripple, float(wave_x), float(wave_y), float(random.uniform(0, 6.28)),
    )  # fmt: skip
    draw = texture(random, rows, columns) if texture else any_texture(random, rows, columns, plainness)
    coverage = shape(random, rows, columns)
    if random.random() < 0.4:  # darker towards the rim, as round things are
        falloff = np.linspace(-1, 1, columns, dtype=np.float32)[None, :, None] ** 2
        draw = draw * (1 - np.float32(random.uniform(0.1, 0.6)) * falloff)
    return Surface(field, painted(draw, coverage), x, y)


def _reflection(random: Random, mirror: Surface) -> Surface:
    """What a polished thing mirrors: a faint picture on its middle part that moves less than the thing between the views."""
    rows, columns = mirror.paint.shape[:2]
    shape = (shapes.ellipse, shapes.rectangle, shapes.blob)[int(random.integers(3))]
    high, wide = max(5, int(rows * random.uniform(0.3, 0.8))), max(5, int(columns * random.uniform(0.3, 0.8)))
    opacity = random.uniform(0.1, 0.48)
    coverage = (shape(random, high, wide) * opacity).astype(np.uint8)
    slide = float(random.choice([-1, 1]) * random.uniform(1.0, 20.0))
    # By a hair, so that it is painted on the thing
    before = replace(mirror.field, level=mirror.field.level + 0.02)
    x, y = mirror.x + (columns - wide) / 2, mirror.y + (rows - high) / 2
    return Surface(before, painted(any_texture(random, high, wide), coverage), x, y, slide)


def polished(random: Random, surfaces: list[Surface], share: float) -> list[Surface]:
    """Some of the things (not the first, the backdrop) with a reflection each."""
    result = list(surfaces)
    for surface in surfaces[1:]:
        rows, columns = surface.paint.shape[:2]
        if 24 < columns < 400 and 24 < rows < 300 and random.random() < share:
            result.append(_reflection(random, surface))
    return result


_SOLID = (shapes.polygon, shapes.rectangle, shapes.ellipse, shapes.blob)
_THIN = (shapes.leaf, shapes.twigs, shapes.wire, shapes.lattice_gate, shapes.ring)


def any_shape(random: Random, thin: float) -> Callable[[Random, int, int], Mask]:
    """A silhouette to draw: with probability `thin` one that is thin or has holes, else a solid one."""
    group = _THIN if random.random() < thin else _SOLID
    return group[int(random.integers(len(group)))]


def upright(random: Random, height: int, width: int) -> Mask:
    """The whole rectangle: posts, trunks, fronts."""
    return np.full((height, width), 255, np.uint8)


def _car(random: Random, x: float, foot: float, unit: float, disparity: float) -> list[Surface]:
    """A box that shows one end and one flank, with windows in its upper half that mirror what is elsewhere, and wheels."""
    w, h = unit * random.uniform(1.0, 1.3), unit * random.uniform(0.8, 1.5)
    side = int(random.choice([-1, 1]))  # the flank lies right (1) or left (-1) of the end
    slope = -side * float(random.uniform(0.05, 0.35))
    end_columns, rows = int(np.clip(w, 8, 600)), int(np.clip(h, 8, 500))
    columns = int(np.clip(min(w * random.uniform(0.5, 2.2), 0.6 * disparity / abs(slope)), 8, 600))
    flank_x = x + w if side > 0 else x - columns
    inset = abs(slope) * columns / disparity * rows * 0.5  # perspective: the far end of the flank is lower
    starts = (0.0, inset) if side > 0 else (inset, 0.0)
    outline = np.array(
        [[0, starts[0]], [columns, starts[1]], [columns, rows - starts[1]], [0, rows - starts[0]]]
    )
    body = plain if random.random() < 0.6 else any_texture
    shade = body(random, rows, end_columns + columns)
    field = DisparityField(disparity)
    flank_field = DisparityField(disparity, slope, 0.0, x + w if side > 0 else x, 0.0)
    corner = random.uniform(0, 0.2) * end_columns
    front = np.array([[corner, 1], [end_columns - corner, 1], [end_columns - 1, rows - 1], [1, rows - 1]])
    end_paint = painted(shade[:, :end_columns], shapes.fill(rows, end_columns, front))
    end = Surface(field, end_paint, x, foot - h)
    flank_shade = shade[:, end_columns:] * np.float32(random.uniform(0.6, 1.3))
    flank = Surface(flank_field, painted(flank_shade, shapes.fill(rows, columns, outline)), flank_x, foot - h)
    parts = [end, flank]
    for plane, left, across in ((field, x, end_columns), (flank_field, flank_x, columns)):
        if random.random() < 0.8 and min(across, rows) > 20:
            tall = random.uniform(0.3, 0.5) * rows
            parts += _window(random, plane, left + 0.06 * across, foot - h + 0.05 * rows, 0.88 * across, tall)
    wheel = max(5, int(rows * random.uniform(0.25, 0.4)))
    for place in (0.05, 0.7):
        if random.random() < 0.7:
            tyre = shapes.ellipse(random, wheel, wheel)
            paint = painted(plain(random, wheel, wheel) * np.float32(0.3), tyre)
            near = replace(flank_field, level=flank_field.level + 0.02)
            parts.append(Surface(near, paint, flank_x + place * columns, foot - wheel))
    return parts


def _window(
    random: Random, plane: DisparityField, x: float, y: float, width: float, height: float
) -> list[Surface]:
    """A pane in a plane, as good as textureless, and the world that it mirrors at a disparity of its own."""
    columns, rows = max(8, int(width)), max(8, int(height))
    lean = random.uniform(0, 0.25, 2) * columns
    corners = np.array([[lean[0], 1], [columns - lean[1], 1], [columns - 1, rows - 1], [1, rows - 1]])
    pane = shapes.fill(rows, columns, corners)
    glass = plain(random, rows, columns) * np.float32(random.uniform(0.15, 1.0))
    if random.random() < 0.4:  # a screen that mirrors nothing but the sky is as bright as it
        glass = glass * np.float32(0.4) + np.float32(random.uniform(80, 150))
    result = [Surface(replace(plane, level=plane.level + 0.02), painted(glass, pane), x, y)]
    if random.random() < 0.8:
        faint = (pane * random.uniform(0.1, 0.48)).astype(np.uint8)
        slide = float(random.uniform(0.2, 0.95) * min(plane.level, 45.0))
        before = replace(plane, level=plane.level + 0.04)
        result.append(Surface(before, painted(any_texture(random, rows, columns), faint), x, y, slide))
    return result


def standing(random: Random, width: int, horizon: float, k: float, disparity: float) -> list[Surface]:
    """Something that stands on the ground at this disparity: a car, pole, tree, person, sign, bush or fence."""
    unit = disparity / k  # one camera height in px here
    foot = horizon + unit
    x = random.uniform(-0.1, 1.15) * width
    kind = random.choice(["car", "pole", "tree", "person", "sign", "bush", "fence", "thing"],
                         p=[0.40, 0.13, 0.12, 0.08, 0.06, 0.08, 0.04, 0.09])  # fmt: skip
    if kind == "car":
        return _car(random, x, foot, unit, disparity)
    if kind == "pole":
        w, h = max(1.4, unit * random.uniform(0.03, 0.16)), unit * random.uniform(1.0, 5.0)
        return [thing(random, upright, (x, foot - h, max(w, 5) if w > 4 else 5, h), disparity, 0.0, 2.0)
                if w > 4 else thing(random, shapes.leaf, (x, foot - h, 12, h), disparity, 0.0, 2.0)]  # fmt: skip
    if kind == "tree":
        trunk, crown = unit * random.uniform(0.1, 0.3), unit * random.uniform(1.0, 3.5)
        rise = unit * random.uniform(0.8, 2.0)
        shape = shapes.blob if random.random() < 0.7 else shapes.twigs
        paint = foliage if random.random() < 0.6 else cloudy
        return [
            thing(random, upright, (x, foot - rise, max(trunk, 5), rise), disparity, 0.0),
            thing(
                random,
                shape,
                (x + trunk / 2 - crown / 2, foot - rise - crown * 0.8, crown, crown),
                disparity,
                0.05,
                texture=paint,
            ),  # fmt: skip
        ]
    if kind == "person":
        w, h = unit * random.uniform(0.25, 0.5), unit * random.uniform(0.95, 1.15)
        return [thing(random, shapes.ellipse, (x, foot - h, w, h), disparity, 0.02)]
    if kind == "sign":
        w, h, rise = (
            unit * random.uniform(0.3, 0.9),
            unit * random.uniform(0.3, 0.9),
            unit * random.uniform(0.8, 2.5),
        )
        shape = (shapes.rectangle, shapes.ellipse, shapes.polygon)[int(random.integers(3))]
        return [
            thing(random, upright, (x + w / 2 - 2, foot - rise, 5, rise), disparity, 0.0),
            thing(random, shape, (x, foot - rise - h, w, h), disparity, 0.02),
        ]
    if kind == "bush":
        w, h = unit * random.uniform(0.5, 3.0), unit * random.uniform(0.3, 1.2)
        return [thing(random, shapes.blob, (x, foot - h, w, h), disparity, 0.05, texture=foliage)]
    if kind == "fence":
        w, h = unit * random.uniform(1.5, 5.0), unit * random.uniform(0.4, 1.0)
        return [thing(random, shapes.lattice_gate, (x, foot - h, w, h), disparity, 0.1)]
    w, h = unit * random.uniform(0.3, 2.0, 2)
    return [thing(random, any_shape(random, 0.2), (x, foot - h, w, h), disparity, 0.1)]
