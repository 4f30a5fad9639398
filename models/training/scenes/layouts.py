"""Where things stand in a rendered scene: roads, clutter, rooms and plants as lists of surfaces."""

from __future__ import annotations

import numpy as np

from edgekit.models.training.scenes import shapes
from edgekit.models.training.scenes.planes import GREATEST, MARGIN, backdrop, ground, wall
from edgekit.models.training.scenes.surfaces import DisparityField, Random, Surface
from edgekit.models.training.scenes.textures import cloudy, colour, foliage, lattice, plain
from edgekit.models.training.scenes.things import any_shape, painted, polished, standing, thing, upright


def road(random: Random, height: int, width: int) -> list[Surface]:
    """A street: sky, skyline, receding ground, walls along it, cars, poles, trees, wires."""
    horizon = height * random.uniform(0.25, 0.55)
    k = random.uniform(0.18, 0.75)
    k = min(k, 150.0 / (height - horizon))
    sky = DisparityField(random.choice([0.0, random.uniform(0, 1.5)]))
    overcast = plain if random.random() < 0.7 else cloudy
    sky_paint = overcast(random, height, width + 16) * 0.5 + random.uniform(60, 130)
    surfaces = [Surface(sky, painted(sky_paint), -MARGIN, 0.0)]
    for _ in range(int(random.integers(1, 4))):
        far = random.uniform(0.8, 9.0)
        tall = random.uniform(0.05, 0.5) * height
        span = width * random.uniform(0.3, 1.3)
        shape = (upright, shapes.blob, shapes.polygon)[int(random.integers(3))]
        box = (random.uniform(-0.3, 0.8) * width, horizon + far / k - tall, span, tall)
        surfaces.append(
            thing(random, shape, box, far, 0.01, texture=foliage if random.random() < 0.3 else None)
        )
    surfaces.append(ground(random, height, width, horizon, k, random.uniform(1, 5)))
    for side in (-1, 1):
        if random.random() < 0.75:
            beside = wall(random, height, width, horizon, k, side, random.uniform(2, 20))
            surfaces += [beside] if beside else []
    nearest = min(130.0, 1.15 * k * (height - horizon))
    for _ in range(int(random.integers(4, 20))):
        disparity = float(np.exp(random.uniform(np.log(4.0), np.log(nearest))))
        surfaces += standing(random, width, horizon, k, disparity)
    if random.random() < 0.3:
        box = (
            random.uniform(-0.2, 0.5) * width,
            0.0,
            width * random.uniform(0.4, 0.9),
            max(20.0, horizon * 0.9),
        )
        surfaces.append(thing(random, shapes.wire, box, random.uniform(3, 40), 0.05, 4.0))
    return polished(random, surfaces, 0.25)


def clutter(random: Random, height: int, width: int) -> list[Surface]:
    """Many unrelated things at all depths before a slanted or wavy backdrop."""
    base = random.uniform(2, 50)
    slopes = np.clip(random.normal(0, 0.05, 2), -0.4 * base / height, 0.4 * base / height)
    ripple = random.uniform(0, min(4.0, base / 4)) if random.random() < 0.3 else 0.0
    waves = random.normal(0, 0.03, 2)
    back = DisparityField(base, slopes[0], slopes[1], width / 2, height / 2, ripple=ripple, ripple_x=waves[0],
                          ripple_y=waves[1])  # fmt: skip
    surfaces = [backdrop(random, height, width, back)]
    nearest = random.uniform(base + 15, GREATEST)
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
        surfaces.append(thing(random, any_shape(random, thin), (*box, size[0], size[1]), disparity, 0.15))
    return polished(random, surfaces, 0.1)


def room(random: Random, height: int, width: int) -> list[Surface]:
    """Walls, a floor or table top that rises from below, and furniture or tools standing and lying on it."""
    far = random.uniform(4, 45)
    slant = float(np.clip(random.normal(0, 0.02), -0.3 * far / width, 0.3 * far / width))
    surfaces = [backdrop(random, height, width, DisparityField(far, slant, 0.0, width / 2, 0.0), 4.0)]
    foot = height * random.uniform(0.35, 0.8)
    k = random.uniform(0.08, 0.5)
    horizon = foot - far / k
    k = min(k, 150.0 / (height - horizon))
    horizon = foot - far / k
    surfaces.append(ground(random, height, width, horizon, k, 3.0))
    for side in (-1, 1):
        if random.random() < 0.5:
            beside = wall(random, height, width, horizon, k, side, far, 3.0)
            surfaces += [beside] if beside else []
    nearest = max(far * 1.2, min(160.0, k * (height - horizon) * 1.1))
    thin = random.uniform(0.05, 0.4)
    for _ in range(int(random.integers(6, 30))):
        disparity = float(random.uniform(far, nearest))
        w, h = np.exp(random.uniform(np.log(0.04), np.log(0.5), 2)) * height
        bottom = horizon + disparity / k + 1 if random.random() < 0.7 else random.uniform(0, height)
        x = random.uniform(-0.05, 1.1) * width - w / 2 + disparity / 2
        surfaces.append(thing(random, any_shape(random, thin), (x, bottom - h, w, h), disparity, 0.15, 1.5))
    return polished(random, surfaces, 0.2)


def plants(random: Random, height: int, width: int) -> list[Surface]:
    """Leaves and twigs that reach towards the camera from a few roots, before a cloth or wall."""
    base = random.uniform(8, 60)
    slope_y = float(np.clip(random.normal(0.02, 0.05), -0.3 * base / height, 0.3 * base / height))
    back = DisparityField(base, float(np.clip(random.normal(0, 0.02), -0.03, 0.03)), slope_y, width / 2, height / 2,
                          ripple=random.uniform(0, 1.5), ripple_x=random.normal(0, 0.03),
                          ripple_y=random.normal(0, 0.03))  # fmt: skip
    surfaces = [backdrop(random, height, width, back, 0.5)]
    for _ in range(int(random.integers(1, 4))):
        root_x, root_y = random.uniform(0.1, 1.0) * width, random.uniform(0.5, 1.1) * height
        root = base + random.uniform(3, 40)
        tint = colour(random) * np.array([0.8, 1.0, 0.6], np.float32)
        for _ in range(int(random.integers(5, 22))):
            reach = random.uniform(0.15, 0.65) * height
            toward = float(np.clip(root + random.uniform(-0.3, 0.6) * reach, base + 1, GREATEST))
            w, h = reach * random.uniform(0.3, 1.2), reach * random.uniform(0.5, 1.1)
            shape = shapes.leaf if random.random() < 0.75 else shapes.twigs
            x = root_x - w / 2 + random.normal(0, 0.3) * reach
            box = (x, root_y - h + random.normal(0, 0.3) * reach, w, h)
            leaf = thing(random, shape, box, toward, 0.3, texture=plain if random.random() < 0.3 else None)
            if random.random() < 0.6:  # leaves of one plant share a hue
                paint = leaf.paint.astype(np.float32)
                grey = paint[..., :3].mean(axis=-1, keepdims=True) / 128
                leaf.paint[..., :3] = np.clip(0.35 * paint[..., :3] + 0.65 * grey * tint, 0, 255)
            surfaces.append(leaf)
    if random.random() < 0.5:
        texture = lattice if random.random() < 0.3 else None
        box = (random.uniform(0, 0.8) * width, height * 0.6, width * 0.3, height * 0.5)
        surfaces.append(
            thing(random, shapes.rectangle, box, base + random.uniform(3, 30), 0.05, texture=texture)
        )
    return polished(random, surfaces, 0.1)
