"""Procedural textures, so that training pictures need nobody's photographs.

Every function draws from the generator it is given and returns a float32 (height, width, 3) picture in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Random = np.random.Generator


def colour(random: Random, saturation: float = 0.5) -> Image:
    """A random RGB colour, shape (3,); most surfaces in the world are nearly grey, so saturation is moderate."""
    grey = random.uniform(15, 240)
    tint = random.normal(0.0, 1.0, 3)
    return np.clip(grey * (1.0 + saturation * 0.4 * tint), 3, 252).astype(np.float32)


def octave_noise(
    random: Random, height: int, width: int, coarsest: float, slope: float, finest: float = 1.0
) -> Image:
    """Noise of shape (height, width), zero mean and unit variance, whose amplitude grows as wavelength**slope."""
    total = np.zeros((height, width), np.float32)
    wavelength = max(coarsest, finest)
    while wavelength >= finest:
        rows, columns = int(height / wavelength) + 2, int(width / wavelength) + 2
        grid = random.standard_normal((rows, columns), dtype=np.float32)
        if wavelength > 1.0:
            # The grid is laid at a random phase: octaves that share grid lines would show a lattice.
            phase_x, phase_y = random.uniform(0, 1, 2)
            matrix = np.array([[1 / wavelength, 0, phase_x], [0, 1 / wavelength, phase_y]], np.float32)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            grid = cv2.warpAffine(grid, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        else:
            grid = grid[:height, :width]
        total += np.float32(wavelength**slope) * grid
        wavelength /= 2.0
    mean, deviation = cv2.meanStdDev(total)
    return (total - np.float32(mean[0, 0])) * np.float32(1.0 / (deviation[0, 0] + 1e-6))


def _palette(random: Random, values: Image, colours: int) -> Image:
    """Paint a (height, width) field through a colour ramp of a few random colours."""
    base = colour(random)
    stops = np.stack([base] + [0.5 * base + 0.5 * colour(random) for _ in range(colours - 1)])
    position = np.linspace(0, 255, colours)
    ramp = np.stack([np.interp(np.arange(256), position, stops[:, channel]) for channel in range(3)], axis=-1)
    index = np.clip(values * 48.0 + 128.0, 0, 255).astype(np.uint8)
    return np.asarray(np.take(ramp.astype(np.float32), index, axis=0))


def cloudy(random: Random, height: int, width: int) -> Image:
    """1/f noise through a colour ramp: stone, bark, plaster, foliage from afar."""
    field = octave_noise(random, height, width, random.uniform(8, 120), random.uniform(-0.1, 0.9))
    return _palette(random, field, int(random.integers(2, 5)))


def grainy(random: Random, height: int, width: int) -> Image:
    """Fine grain on one colour: asphalt, gravel, carpet."""
    field = octave_noise(random, height, width, random.uniform(1.5, 8), random.uniform(-0.2, 0.4))
    return np.asarray(colour(random) + (field * random.uniform(4, 40))[..., None], np.float32)


def plain(random: Random, height: int, width: int) -> Image:
    """Hardly any texture: painted walls, car bodies, sky; a gradient and a trace of unevenness."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    ramp = random.uniform(-25, 25) * x + random.uniform(-25, 25) * y
    uneven = octave_noise(random, height, width, random.uniform(20, 160), 0.5, finest=4.0)
    return np.asarray(colour(random) + (ramp + uneven * random.uniform(0.5, 6))[..., None], np.float32)


def stripes(random: Random, height: int, width: int) -> Image:
    """Sine or square stripes, bent by noise: fences, shutters, cloth, corrugated sheet."""
    angle = random.choice([0.0, np.pi / 2, random.uniform(0, np.pi)])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wavelength = np.exp(random.uniform(np.log(5), np.log(60)))
    phase = (x * np.cos(angle) + y * np.sin(angle)) * np.float32(2 * np.pi / wavelength)
    if random.random() < 0.5:
        phase += octave_noise(random, height, width, 60, 0.5, finest=8.0) * random.uniform(0.1, 2.0)
    wave = np.sin(phase + random.uniform(0, 6.28))
    sharpness = random.choice([0.8, 2.0, 8.0])
    wave = np.tanh(wave * sharpness + random.uniform(-0.6, 0.6) * sharpness)
    return _palette(random, wave.astype(np.float32) * np.float32(2.2), 2)


def lattice(random: Random, height: int, width: int) -> Image:
    """Checkers, tiles, bricks and windows: repetitive, the hard case for matching."""
    cell_y, cell_x = np.exp(random.uniform(np.log(6), np.log(70), 2)).astype(int)
    if random.random() < 0.4:
        cell_x = cell_y
    rows, columns = height // cell_y + 2, width // cell_x + 2
    first, second = colour(random), colour(random)
    kind = random.integers(3)
    if kind == 0:
        board = (np.add.outer(np.arange(rows), np.arange(columns)) % 2)[..., None]
        cells = np.where(board == 0, first, second)
    else:
        jitter = random.normal(0, random.uniform(0, 25), (rows, columns, 1))
        cells = np.broadcast_to(first, (rows, columns, 3)) + jitter
    size = (columns * int(cell_x), rows * int(cell_y))
    picture = cv2.resize(cells.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    if kind != 0:
        gap_y, gap_x = (
            max(1, int(cell_y * random.uniform(0.05, 0.5))),
            max(1, int(cell_x * random.uniform(0.05, 0.5))),
        )
        blocks = picture.reshape(rows, cell_y, columns, cell_x, 3)
        blocks[:, :gap_y] = second
        blocks[:, :, :, :gap_x] = second
        if kind == 2:  # bricks: every other course is shifted by half a brick
            blocks[1::2] = np.roll(
                picture.reshape(rows, cell_y, size[0], 3)[1::2], cell_x // 2, axis=2
            ).reshape(blocks[1::2].shape)
    top, left = random.integers(0, cell_y), random.integers(0, cell_x)
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def mosaic(random: Random, height: int, width: int) -> Image:
    """Overlapping sharp-edged patches of flat colour: posters, clutter, painted things."""
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = colour(random, 1.0)
    largest = np.exp(random.uniform(np.log(8), np.log(80)))
    count = int(np.clip(height * width / largest**2 * 2.0, 8, 260))
    for _ in range(count):
        shade = tuple(float(value) for value in colour(random, 0.9))
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        extent = largest * random.uniform(0.2, 1.0)
        if random.random() < 0.4:
            corners = np.array([x, y]) + random.normal(0, extent * 0.6, (int(random.integers(3, 6)), 2))
            cv2.fillPoly(picture, [corners.astype(np.int32)], shade)
        elif random.random() < 0.5:
            axes = (int(extent * random.uniform(0.2, 0.8)) + 1, int(extent * random.uniform(0.2, 0.8)) + 1)
            cv2.ellipse(picture, (x, y), axes, random.uniform(0, 180), 0, 360, shade, -1)
        else:
            end = (x + int(random.normal(0, extent)), y + int(random.normal(0, extent)))
            cv2.line(picture, (x, y), end, shade, int(random.integers(1, 5)))
    return picture


def foliage(random: Random, height: int, width: int) -> Image:
    """Many small shaded ellipses of one hue: leaves, hedges, grass, gravel seen close."""
    picture = np.empty((height, width, 3), np.float32)
    base = colour(random) * np.array([0.8, 1.0, 0.6], np.float32)
    picture[:] = base * 0.35
    length = random.uniform(3, 16)
    count = int(np.clip(height * width / length**2 * 1.5, 20, 900))
    places = random.uniform(0, 1, (count, 2)) * (width, height)
    sizes = np.maximum(1, random.uniform(0.3, 1.0, (count, 2)) * (length, length * 0.5)).astype(int)
    angles, lights = random.uniform(0, 180, count), random.uniform(0.3, 1.5, count)
    for place, size, angle, light in zip(places.astype(int), sizes, angles, lights, strict=True):
        shade = tuple(float(value) for value in base * light)
        cv2.ellipse(
            picture, (int(place[0]), int(place[1])), (int(size[0]), int(size[1])), angle, 0, 360, shade, -1
        )
    return picture


def lettering(random: Random, height: int, width: int) -> Image:
    """Characters on a flat ground: signs, book spines, newspaper."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = colour(random).astype(np.uint8)
    scale = random.uniform(0.3, 1.6)
    ink = tuple(float(value) for value in colour(random, 1.0))
    for y in range(int(12 * scale), height + 20, max(8, int(random.uniform(24, 44) * scale))):
        line = "".join(chr(int(code)) for code in random.integers(33, 122, 60))
        origin = (int(random.integers(-20, 20)), y)
        cv2.putText(picture, line, origin, int(random.integers(0, 6)), scale, ink, int(random.integers(1, 3)))
    return picture.astype(np.float32)


def _shadow(random: Random, height: int, width: int) -> Image:
    """A hard or soft edge between light and shade across a surface, shape (height, width), factors up to 1."""
    y, x = (
        np.linspace(-1, 1, height, dtype=np.float32)[:, None],
        np.linspace(-1, 1, width, dtype=np.float32)[None, :],
    )
    angle, place = random.uniform(0, 2 * np.pi), random.uniform(-0.6, 0.6)
    edge = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) - np.float32(place)
    if random.random() < 0.5:
        edge += octave_noise(random, height, width, 60, 0.7, finest=8.0) * np.float32(
            random.uniform(0.02, 0.2)
        )
    lit = np.clip(edge * np.float32(np.exp(random.uniform(np.log(4), np.log(80)))) + 0.5, 0, 1)
    return np.asarray(1 - np.float32(random.uniform(0.3, 0.8)) * lit, np.float32)


_KINDS: tuple[tuple[Callable[[Random, int, int], Image], float], ...] = (
    (cloudy, 0.27),
    (grainy, 0.14),
    (plain, 0.15),
    (stripes, 0.08),
    (lattice, 0.10),
    (mosaic, 0.13),
    (foliage, 0.09),
    (lettering, 0.04),
)


def any_texture(random: Random, height: int, width: int, plainness: float = 1.0) -> Image:
    """A texture of a random kind, sometimes two of them blended, under a soft uneven light.

    Args:
        plainness: factor on the share of nearly textureless pictures.
    """
    weights = np.array([weight * (plainness if kind is plain else 1.0) for kind, weight in _KINDS])
    chosen = random.choice(len(_KINDS), size=2, p=weights / weights.sum())
    picture = _KINDS[int(chosen[0])][0](random, height, width)
    if random.random() < 0.25:
        other = _KINDS[int(chosen[1])][0](random, height, width)
        patch = octave_noise(random, height, width, random.uniform(20, 100), 0.8, finest=4.0)
        picture += (other - picture) * np.clip(patch * 4.0 + random.uniform(-2, 1), 0, 1)[..., None]
    if random.random() < 0.6:
        light = octave_noise(random, height, width, random.uniform(40, 200), 0.8, finest=16.0)
        picture *= np.exp(light * np.float32(random.uniform(0.03, 0.25)))[..., None]
    if random.random() < 0.25:
        picture *= _shadow(random, height, width)[..., None]
    if random.random() < 0.5:
        grain = octave_noise(random, height, width, random.uniform(1.5, 6), 0.2)
        picture += (grain * np.float32(random.uniform(1, 8)))[..., None]
    if random.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.4, 1.2))
    return np.clip(picture, 0, 255)
