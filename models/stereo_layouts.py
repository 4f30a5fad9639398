"""Where things stand in a rendered scene: roads, clutter, rooms and plants as lists of surfaces.

Geometry is that of a rectified pair: a plane in space is a plane in (x, y, disparity). With the horizon at row y_h and a
ground that gains k px of disparity a row, a thing standing on the ground at disparity d meets it at row y_h + d / k,
and one camera height measures d / k rows there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from edgekit.models import stereo_shapes as shapes
from edgekit.models.stereo_surfaces import DisparityField, Map, Mask, Random, Surface
from edgekit.models.stereo_textures import any_texture, cloudy, colour, foliage, grainy, lattice, plain

_MARGIN = 4  # px that a canvas reaches past the picture, so that no edge of paint is ever seen
_GREATEST = 185.0  # px; AnyNet's coarse volume ends at 192


def _paint(texture: Map, coverage: Mask | None = None) -> Mask:
    height, width = texture.shape[:2]
    paint = np.empty((height, width, 4), np.uint8)
    paint[..., :3] = np.clip(texture, 0, 255)
    paint[..., 3] = 255 if coverage is None else coverage
    return paint


def _reach(field: DisparityField, height: int, width: int) -> int:
    """Columns right of the left picture that the right camera still sees of this surface."""
    corners = field.at(np.array([width], np.float32), np.array([0, height], np.float32))
    return int(np.clip(corners.max(), 0, 200) * 1.5) + _MARGIN


def _backdrop(
    random: Random, height: int, width: int, field: DisparityField, plainness: float = 1.0
) -> Surface:
    """A surface that fills both pictures."""
    columns = width + _reach(field, height, width) + 2 * _MARGIN
    texture = any_texture(random, height + 2 * _MARGIN, columns, plainness)
    return Surface(field, _paint(texture), -_MARGIN - random.uniform(0, 1), -_MARGIN + random.uniform(0, 1))


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


def _object(
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
    return Surface(field, _paint(draw, coverage), x, y)


def _reflection(random: Random, thing: Surface) -> Surface:
    """What a polished thing mirrors: a faint picture on its middle part that moves less than the thing between the views."""
    rows, columns = thing.paint.shape[:2]
    shape = (shapes.ellipse, shapes.rectangle, shapes.blob)[int(random.integers(3))]
    high, wide = max(5, int(rows * random.uniform(0.3, 0.8))), max(5, int(columns * random.uniform(0.3, 0.8)))
    opacity = random.uniform(0.1, 0.48)
    coverage = (shape(random, high, wide) * opacity).astype(np.uint8)
    slide = float(random.choice([-1, 1]) * random.uniform(1.0, 20.0))
    nearer = replace(
        thing.field, level=thing.field.level + 0.02
    )  # just before the thing, so that it is painted on it
    x, y = thing.x + (columns - wide) / 2, thing.y + (rows - high) / 2
    return Surface(nearer, _paint(any_texture(random, high, wide), coverage), x, y, slide)


def _polish(random: Random, surfaces: list[Surface], share: float) -> list[Surface]:
    """Some of the things (not the first, the backdrop) with a reflection each."""
    polished = list(surfaces)
    for thing in surfaces[1:]:
        rows, columns = thing.paint.shape[:2]
        if 24 < columns < 400 and 24 < rows < 300 and random.random() < share:
            polished.append(_reflection(random, thing))
    return polished


_SOLID = (shapes.polygon, shapes.rectangle, shapes.ellipse, shapes.blob)
_THIN = (shapes.leaf, shapes.twigs, shapes.wire, shapes.lattice_gate, shapes.ring)


def _any_shape(random: Random, thin: float) -> Callable[[Random, int, int], Mask]:
    group = _THIN if random.random() < thin else _SOLID
    return group[int(random.integers(len(group)))]


def _upright(random: Random, height: int, width: int) -> Mask:
    return np.full((height, width), 255, np.uint8)


def _ground(
    random: Random, height: int, width: int, horizon: float, k: float, plainness: float = 1.0
) -> Surface:
    """The road or floor: disparity grows by k px a row below the horizon; texture foreshortened as on a real one."""
    roll = float(np.clip(random.normal(0, 0.006), -0.02, 0.02))
    bottom = k * (height - horizon)
    columns = width + int(bottom * 1.3) + 3 * _MARGIN
    top = int(np.floor(horizon)) - 8
    rows = height + _MARGIN - top
    field = DisparityField(0.0, roll, k, width / 2, horizon)
    x = np.arange(-_MARGIN, columns - _MARGIN, dtype=np.float32)[None, :]
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
    return Surface(field, _paint(texture, coverage), -_MARGIN, top)


def _wall(
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
    near_limit = vanishing + _GREATEST / slope
    if side > 0:
        x0, x1 = max(edge, -50.0), min(near_limit, width + 200.0)
    else:
        x0, x1 = max(near_limit, -_MARGIN), min(edge, width + 50.0)
    if x1 - x0 < 12:
        return None
    columns = int(x1 - x0)
    x = np.arange(columns, dtype=np.float32)[None, :] + np.float32(x0)
    disparity = np.maximum((x - np.float32(vanishing)) * np.float32(slope), np.float32(0.5))
    storeys = random.choice([random.uniform(-0.7, 0.5), random.uniform(0.5, 8.0)])
    upper = np.clip(horizon - storeys * disparity / k, -_MARGIN, height)[0]
    lower = np.clip(horizon + disparity / k + 2, -_MARGIN, height + _MARGIN)[0]
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
    return Surface(field, _paint(texture, coverage), float(x0), float(top))


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
    end_paint = _paint(shade[:, :end_columns], shapes.fill(rows, end_columns, front))
    end = Surface(field, end_paint, x, foot - h)
    flank_shade = shade[:, end_columns:] * np.float32(random.uniform(0.6, 1.3))
    flank = Surface(flank_field, _paint(flank_shade, shapes.fill(rows, columns, outline)), flank_x, foot - h)
    parts = [end, flank]
    for plane, left, across in ((field, x, end_columns), (flank_field, flank_x, columns)):
        if random.random() < 0.8 and min(across, rows) > 20:
            parts += _window(
                random, plane, left + 0.1 * across, foot - h + 0.1 * rows, 0.8 * across, 0.4 * rows
            )
    wheel = max(5, int(rows * random.uniform(0.25, 0.4)))
    for place in (0.05, 0.7):
        if random.random() < 0.7:
            tyre = shapes.ellipse(random, wheel, wheel)
            paint = _paint(plain(random, wheel, wheel) * np.float32(0.3), tyre)
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
    result = [Surface(replace(plane, level=plane.level + 0.02), _paint(glass, pane), x, y)]
    if random.random() < 0.8:
        faint = (pane * random.uniform(0.1, 0.48)).astype(np.uint8)
        slide = float(random.uniform(0.2, 0.95) * min(plane.level, 45.0))
        before = replace(plane, level=plane.level + 0.04)
        result.append(Surface(before, _paint(any_texture(random, rows, columns), faint), x, y, slide))
    return result


def _standing(random: Random, width: int, horizon: float, k: float, disparity: float) -> list[Surface]:
    """Something that stands on the ground at this disparity: a car, pole, tree, person, sign, bush or fence."""
    unit = disparity / k  # one camera height in px here
    foot = horizon + unit
    x = random.uniform(-0.1, 1.15) * width
    kind = random.choice(["car", "pole", "tree", "person", "sign", "bush", "fence", "thing"],
                         p=[0.28, 0.16, 0.14, 0.1, 0.08, 0.1, 0.04, 0.1])  # fmt: skip
    if kind == "car":
        return _car(random, x, foot, unit, disparity)
    if kind == "pole":
        w, h = max(1.4, unit * random.uniform(0.03, 0.16)), unit * random.uniform(1.0, 5.0)
        return [_object(random, _upright, (x, foot - h, max(w, 5) if w > 4 else 5, h), disparity, 0.0, 2.0)
                if w > 4 else _object(random, shapes.leaf, (x, foot - h, 12, h), disparity, 0.0, 2.0)]  # fmt: skip
    if kind == "tree":
        trunk, crown = unit * random.uniform(0.1, 0.3), unit * random.uniform(1.0, 3.5)
        rise = unit * random.uniform(0.8, 2.0)
        shape = shapes.blob if random.random() < 0.7 else shapes.twigs
        paint = foliage if random.random() < 0.6 else cloudy
        return [
            _object(random, _upright, (x, foot - rise, max(trunk, 5), rise), disparity, 0.0),
            _object(
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
        return [_object(random, shapes.ellipse, (x, foot - h, w, h), disparity, 0.02)]
    if kind == "sign":
        w, h, rise = (
            unit * random.uniform(0.3, 0.9),
            unit * random.uniform(0.3, 0.9),
            unit * random.uniform(0.8, 2.5),
        )
        shape = (shapes.rectangle, shapes.ellipse, shapes.polygon)[int(random.integers(3))]
        return [
            _object(random, _upright, (x + w / 2 - 2, foot - rise, 5, rise), disparity, 0.0),
            _object(random, shape, (x, foot - rise - h, w, h), disparity, 0.02),
        ]
    if kind == "bush":
        w, h = unit * random.uniform(0.5, 3.0), unit * random.uniform(0.3, 1.2)
        return [_object(random, shapes.blob, (x, foot - h, w, h), disparity, 0.05, texture=foliage)]
    if kind == "fence":
        w, h = unit * random.uniform(1.5, 5.0), unit * random.uniform(0.4, 1.0)
        return [_object(random, shapes.lattice_gate, (x, foot - h, w, h), disparity, 0.1)]
    w, h = unit * random.uniform(0.3, 2.0, 2)
    return [_object(random, _any_shape(random, 0.2), (x, foot - h, w, h), disparity, 0.1)]


def road(random: Random, height: int, width: int) -> list[Surface]:
    """A street: sky, skyline, receding ground, walls along it, cars, poles, trees, wires."""
    horizon = height * random.uniform(0.25, 0.55)
    k = random.uniform(0.18, 0.75)
    k = min(k, 150.0 / (height - horizon))
    sky = DisparityField(random.choice([0.0, random.uniform(0, 1.5)]))
    overcast = plain if random.random() < 0.7 else cloudy
    sky_paint = overcast(random, height, width + 16) * 0.5 + random.uniform(60, 130)
    surfaces = [Surface(sky, _paint(sky_paint), -_MARGIN, 0.0)]
    for _ in range(int(random.integers(1, 4))):
        far = random.uniform(0.8, 9.0)
        tall = random.uniform(0.05, 0.5) * height
        span = width * random.uniform(0.3, 1.3)
        shape = (_upright, shapes.blob, shapes.polygon)[int(random.integers(3))]
        box = (random.uniform(-0.3, 0.8) * width, horizon + far / k - tall, span, tall)
        surfaces.append(
            _object(random, shape, box, far, 0.01, texture=foliage if random.random() < 0.3 else None)
        )
    surfaces.append(_ground(random, height, width, horizon, k, random.uniform(1, 5)))
    for side in (-1, 1):
        if random.random() < 0.75:
            wall = _wall(random, height, width, horizon, k, side, random.uniform(2, 20))
            surfaces += [wall] if wall else []
    nearest = min(130.0, 1.15 * k * (height - horizon))
    for _ in range(int(random.integers(4, 20))):
        disparity = float(np.exp(random.uniform(np.log(4.0), np.log(nearest))))
        surfaces += _standing(random, width, horizon, k, disparity)
    if random.random() < 0.3:
        box = (
            random.uniform(-0.2, 0.5) * width,
            0.0,
            width * random.uniform(0.4, 0.9),
            max(20.0, horizon * 0.9),
        )
        surfaces.append(_object(random, shapes.wire, box, random.uniform(3, 40), 0.05, 4.0))
    return _polish(random, surfaces, 0.25)


def clutter(random: Random, height: int, width: int) -> list[Surface]:
    """Many unrelated things at all depths before a slanted or wavy backdrop."""
    base = random.uniform(2, 50)
    slopes = np.clip(random.normal(0, 0.05, 2), -0.4 * base / height, 0.4 * base / height)
    ripple = random.uniform(0, min(4.0, base / 4)) if random.random() < 0.3 else 0.0
    waves = random.normal(0, 0.03, 2)
    back = DisparityField(base, slopes[0], slopes[1], width / 2, height / 2, ripple=ripple, ripple_x=waves[0],
                          ripple_y=waves[1])  # fmt: skip
    surfaces = [_backdrop(random, height, width, back)]
    nearest = random.uniform(base + 15, _GREATEST)
    thin = random.uniform(0, 0.5)
    for _ in range(int(random.integers(6, 32))):
        disparity = base + (nearest - base) * float(random.beta(1.0, 2.0))
        size = np.exp(random.uniform(np.log(20), np.log(0.7 * width), 2))
        if size[0] * size[1] > 0.25 * height * width:
            size *= 0.5
        box = (
            random.uniform(-0.1, 1.1) * width - size[0] / 2 + disparity / 2,
            random.uniform(0, height) - size[1] / 2,
        )
        surfaces.append(_object(random, _any_shape(random, thin), (*box, size[0], size[1]), disparity, 0.15))
    return _polish(random, surfaces, 0.1)


def room(random: Random, height: int, width: int) -> list[Surface]:
    """Walls, a floor or table top that rises from below, and furniture or tools standing and lying on it."""
    far = random.uniform(4, 45)
    slant = float(np.clip(random.normal(0, 0.02), -0.3 * far / width, 0.3 * far / width))
    surfaces = [_backdrop(random, height, width, DisparityField(far, slant, 0.0, width / 2, 0.0), 4.0)]
    foot = height * random.uniform(0.35, 0.8)
    k = random.uniform(0.08, 0.5)
    horizon = foot - far / k
    k = min(k, 150.0 / (height - horizon))
    horizon = foot - far / k
    surfaces.append(_ground(random, height, width, horizon, k, 3.0))
    for side in (-1, 1):
        if random.random() < 0.5:
            wall = _wall(random, height, width, horizon, k, side, far, 3.0)
            surfaces += [wall] if wall else []
    nearest = max(far * 1.2, min(160.0, k * (height - horizon) * 1.1))
    thin = random.uniform(0.05, 0.4)
    for _ in range(int(random.integers(6, 30))):
        disparity = float(random.uniform(far, nearest))
        w, h = np.exp(random.uniform(np.log(0.04), np.log(0.5), 2)) * height
        bottom = horizon + disparity / k + 1 if random.random() < 0.7 else random.uniform(0, height)
        x = random.uniform(-0.05, 1.1) * width - w / 2 + disparity / 2
        surfaces.append(
            _object(random, _any_shape(random, thin), (x, bottom - h, w, h), disparity, 0.15, 1.5)
        )
    return _polish(random, surfaces, 0.2)


def plants(random: Random, height: int, width: int) -> list[Surface]:
    """Leaves and twigs that reach towards the camera from a few roots, before a cloth or wall."""
    base = random.uniform(8, 60)
    slope_y = float(np.clip(random.normal(0.02, 0.05), -0.3 * base / height, 0.3 * base / height))
    back = DisparityField(base, float(np.clip(random.normal(0, 0.02), -0.03, 0.03)), slope_y, width / 2, height / 2,
                          ripple=random.uniform(0, 1.5), ripple_x=random.normal(0, 0.03),
                          ripple_y=random.normal(0, 0.03))  # fmt: skip
    surfaces = [_backdrop(random, height, width, back, 0.5)]
    for _ in range(int(random.integers(1, 4))):
        root_x, root_y = random.uniform(0.1, 1.0) * width, random.uniform(0.5, 1.1) * height
        root = base + random.uniform(3, 40)
        tint = colour(random) * np.array([0.8, 1.0, 0.6], np.float32)
        for _ in range(int(random.integers(5, 22))):
            reach = random.uniform(0.15, 0.65) * height
            toward = float(np.clip(root + random.uniform(-0.3, 0.6) * reach, base + 1, _GREATEST))
            w, h = reach * random.uniform(0.3, 1.2), reach * random.uniform(0.5, 1.1)
            shape = shapes.leaf if random.random() < 0.75 else shapes.twigs
            x = root_x - w / 2 + random.normal(0, 0.3) * reach
            box = (x, root_y - h + random.normal(0, 0.3) * reach, w, h)
            leaf = _object(random, shape, box, toward, 0.3, texture=plain if random.random() < 0.3 else None)
            if random.random() < 0.6:  # leaves of one plant share a hue
                paint = leaf.paint.astype(np.float32)
                grey = paint[..., :3].mean(axis=-1, keepdims=True) / 128
                leaf.paint[..., :3] = np.clip(0.35 * paint[..., :3] + 0.65 * grey * tint, 0, 255)
            surfaces.append(leaf)
    if random.random() < 0.5:
        texture = lattice if random.random() < 0.3 else None
        box = (random.uniform(0, 0.8) * width, height * 0.6, width * 0.3, height * 0.5)
        surfaces.append(
            _object(random, shapes.rectangle, box, base + random.uniform(3, 30), 0.05, texture=texture)
        )
    return _polish(random, surfaces, 0.1)
