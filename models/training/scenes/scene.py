"""Endless, seeded stereo scenes with exact disparity, to train stereo networks without anybody's pictures.

`scene(seed, index, height, width)` always gives the same pair, whoever asks and in whatever order. Four kinds of layout
take turns: roads, clutter, rooms and plants; then the cameras' imperfections are laid over both views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.models.training.scenes import shapes
from edgekit.models.training.scenes.layouts import clutter, plants, road, room
from edgekit.models.training.scenes.surfaces import Random, Surface, View, render_view, visible_in_right
from edgekit.models.training.scenes.textures import octave_noise

Picture = NDArray[np.uint8]
Map = NDArray[np.float32]

_LAYOUTS: tuple[Callable[[Random, int, int], list[Surface]], ...] = (road, clutter, room, plants)
VERSION = 4  # of what a seed and an index show; raise it with every change that alters a scene, for scenes are cached
_SHARES = (0.40, 0.20, 0.20, 0.20)


@dataclass(frozen=True)
class Scene:
    """A rectified pair and the truth about it.

    Attributes:
        left, right: uint8 (H, W, 3) RGB.
        disparity: float32 (H, W), px, of the left view: left pixel x matches right pixel x - disparity. Known everywhere.
        visible: bool (H, W), whether the right camera sees the left pixel's surface point.
    """

    left: Picture
    right: Picture
    disparity: Map
    visible: NDArray[np.bool_]


def scene(seed: int, index: int, height: int = 384, width: int = 768, imperfect: bool = True) -> Scene:
    """Scene number `index` of the endless sequence `seed`.

    Args:
        imperfect: with the cameras' faults (exposure, noise, blur, misalignment, highlights)
            and the things' reflections; False gives ideal views.
    """
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    surfaces = _LAYOUTS[int(random.choice(len(_LAYOUTS), p=_SHARES))](random, height, width)
    if not imperfect:
        surfaces = [surface for surface in surfaces if not surface.slide]
    left = render_view(surfaces, height, width, right=False)
    right = render_view(surfaces, height, width, right=True)
    visible = visible_in_right(left.disparity, right.disparity)
    images = _photograph(random, left, right) if imperfect else (left.image, right.image)
    return Scene(_bytes(images[0]), _bytes(images[1]), left.disparity, visible)


def _bytes(image: Map) -> Picture:
    return np.asarray(np.clip(image + np.float32(0.5), 0, 255), np.uint8)


def _photograph(random: Random, left: View, right: View) -> tuple[Map, Map]:
    """Both views as two real cameras would deliver them; most faults are mild and some pairs have strong ones."""
    height, width = left.disparity.shape
    images = [left.image, right.image]
    if random.random() < 0.3:  # haze: far things fade to the air's colour, equally in both views
        air = random.uniform(120, 240) * np.clip(random.normal(1, 0.06, 3), 0.7, 1.3)
        reach = random.uniform(2, 12)
        for side, view in enumerate((left, right)):
            fade = np.exp(-np.maximum(view.disparity, 0) / np.float32(reach))[..., None] * np.float32(0.8)
            images[side] = images[side] + (air.astype(np.float32) - images[side]) * fade
    if random.random() < 0.3:
        images[1] = _misaligned(random, images[1])
    if random.random() < 0.35:
        side = int(random.integers(2))
        images[side] = _highlights(random, images[side])
    contrast = np.exp(random.normal(0, 0.2))
    gamma = np.exp(random.normal(0, 0.25))
    difference = random.choice([0.02, 0.06, 0.15], p=[0.4, 0.45, 0.15])
    softness = random.uniform(0.4, 1.1) if random.random() < 0.6 else 0.0
    noise = random.choice([0.5, 2.0, 6.0], p=[0.4, 0.4, 0.2])
    quality = int(random.integers(50, 96)) if random.random() < 0.3 else 0
    for side in range(2):
        own_gamma = gamma * np.exp(random.normal(0, 0.5 * difference))
        gain = contrast * np.exp(random.normal(0, difference) + random.normal(0, 0.3 * difference, 3))
        offset = random.normal(0, 60 * difference)
        steps = np.arange(256)[:, None] / 255.0
        curve = np.clip(255 * gain * steps**own_gamma + offset, 0, 255).astype(np.float32)
        image = np.clip(images[side], 0, 255).astype(np.uint8)
        image_float = np.stack(
            [np.take(curve[:, channel], image[..., channel]) for channel in range(3)], axis=-1
        )
        if random.random() < 0.3:
            image_float *= _vignette(random, height, width)[..., None]
        blur = softness + (random.uniform(0, 0.7) if random.random() < 0.2 else 0.0)
        if blur > 0.3:
            image_float = cv2.GaussianBlur(image_float, (0, 0), blur)
        grain = random.standard_normal((height, width, 3), dtype=np.float32)
        if random.random() < 0.3:
            grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * np.float32(2.0)
        image_float += grain * np.float32(noise)
        if quality:
            encoded = cv2.imencode(".jpg", _bytes(image_float), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            image_float = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.float32)
        images[side] = image_float
    return images[0], images[1]


def _vignette(random: Random, height: int, width: int) -> Map:
    y, x = (
        np.linspace(-1, 1, height, dtype=np.float32)[:, None],
        np.linspace(-1, 1, width, dtype=np.float32)[None, :],
    )
    return np.asarray(1 - np.float32(random.uniform(0.05, 0.3)) * (x * x + y * y) / 2, np.float32)


def _misaligned(random: Random, image: Map) -> Map:
    """Rectification is never perfect: a fraction of a pixel of vertical shift, roll and scale."""
    height, width = image.shape[:2]
    roll, stretch = random.normal(0, 0.4, 2) / np.array([width / 2, height / 2])
    shift = random.normal(0, 0.35)
    matrix = np.array(
        [[1, 0, 0], [roll, 1 + stretch, shift - roll * width / 2 - stretch * height / 2]], np.float32
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    )


def _highlights(random: Random, image: Map) -> Map:
    """Glints, reflections and stains that only one camera sees, for they do not move with the surface."""
    height, width = image.shape[:2]
    image = image.copy()
    for _ in range(int(random.integers(1, 9))):
        rows, columns = (int(value) for value in random.integers(8, 90, 2))
        top, left = int(random.integers(0, height - 8)), int(random.integers(0, width - 8))
        mask = shapes.ellipse(random, rows, columns).astype(np.float32) * np.float32(
            random.uniform(0.1, 0.8) / 255
        )
        mask = cv2.GaussianBlur(mask, (0, 0), random.uniform(1, 8))
        if random.random() < 0.3:
            mask *= np.clip(octave_noise(random, rows, columns, 20, 0.5) + 0.5, 0, 1)
        target = image[top : top + rows, left : left + columns]
        mask = mask[: target.shape[0], : target.shape[1], None]
        target += (np.float32(random.choice([255.0, 220.0, 20.0])) - target) * mask
    return image
