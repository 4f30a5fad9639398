"""Silhouettes for rendered surfaces: polygons, blobs, leaves, twigs, poles, wires, lattices.

Every function returns a uint8 (height, width) coverage, antialiased, with an empty rim of one pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.models.training.scenes.textures import octave_noise

Mask = NDArray[np.uint8]
Points = NDArray[np.float64]
Random = np.random.Generator

_SHIFT = 4  # OpenCV draws at 1/16 px with this many fractional bits


def fill(height: int, width: int, corners: Points) -> Mask:
    """A polygon with corners (n, 2) in px."""
    mask = np.zeros((height, width), np.uint8)
    fixed = np.clip(np.round(corners * (1 << _SHIFT)), -(1 << 20), 1 << 20).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
    return _clear_rim(mask)


def _clear_rim(mask: Mask) -> Mask:
    mask[0], mask[-1] = 0, 0
    mask[:, 0], mask[:, -1] = 0, 0
    return mask


def polygon(random: Random, height: int, width: int) -> Mask:
    """A star-shaped polygon that fills the rectangle: convex with few corners, jagged with many."""
    corners = int(random.integers(3, 12))
    angles = (
        np.sort(random.uniform(0, 2 * np.pi, corners))
        if random.random() < 0.5
        else np.linspace(0, 2 * np.pi, corners, endpoint=False) + random.uniform(0, 6.28)
    )
    radii = random.uniform(random.uniform(0.3, 1.0), 1.0, corners)
    points = np.stack(
        [width * (0.5 + 0.48 * radii * np.cos(angles)), height * (0.5 + 0.48 * radii * np.sin(angles))], -1
    )
    return fill(height, width, points)


def rectangle(random: Random, height: int, width: int) -> Mask:
    """An upright or tilted rectangle, corners sometimes cut."""
    cut = random.choice([0.0, random.uniform(0, 0.2)])
    unit = (
        np.array(
            [[cut, 0], [1 - cut, 0], [1, cut], [1, 1 - cut], [1 - cut, 1], [cut, 1], [0, 1 - cut], [0, cut]]
        )
        - 0.5
    )
    tilt = random.choice([0.0, random.uniform(-0.6, 0.6)])
    shrink = 0.97 / (abs(np.cos(tilt)) + abs(np.sin(tilt)))
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) * shrink
    return fill(height, width, (unit @ turn.T + 0.5) * (width, height))


def ellipse(random: Random, height: int, width: int) -> Mask:
    """The ellipse that touches the rectangle's sides."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return fill(
        height,
        width,
        np.stack([width * (0.5 + 0.49 * np.cos(angles)), height * (0.5 + 0.49 * np.sin(angles))], -1),
    )


def blob(random: Random, height: int, width: int) -> Mask:
    """A ragged lump with holes: the crown of a tree, a bush, a crumpled thing."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    noise = octave_noise(
        random, height, width, max(8.0, min(height, width) / 3), random.uniform(0.1, 0.9), finest=2.0
    )
    inside = (1.0 - np.sqrt(x * x + y * y)) * random.uniform(3, 6) + noise * random.uniform(0.3, 1.0) - 0.4
    return _clear_rim((np.clip(inside * random.uniform(2, 8) + 0.5, 0, 1) * 255).astype(np.uint8))


def _stroke(spine: Points, widths: NDArray[np.float64]) -> Points:
    """The outline of a curved stroke: spine (n, 2), full width in px at each spine point."""
    tangent = np.gradient(spine, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1) * (widths[:, None] / 2)
    return np.concatenate([spine + normal, (spine - normal)[::-1]])


def leaf(random: Random, height: int, width: int) -> Mask:
    """One long bent leaf that tapers to a tip, along a diagonal of the rectangle, as an aloe's."""
    start, end = np.array([0.12, 0.9]), np.array([0.9, 0.1])
    bend = np.array([0.5, 0.5]) + random.uniform(-0.35, 0.35) * np.array([1.0, 1.0])
    t = np.linspace(0, 1, 18)[:, None]
    spine = ((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end) * (width, height)
    if random.random() < 0.5:
        spine[:, 0] = width - spine[:, 0]
    thick = max(2.5, random.uniform(0.06, 0.3) * min(width, height) + random.uniform(0, 4))
    taper = np.sin(np.pi * np.clip(t[:, 0] * 0.8 + 0.2, 0, 1)) ** random.uniform(0.4, 1.2)
    return fill(height, width, _stroke(spine, thick * taper + 0.6))


def twigs(random: Random, height: int, width: int) -> Mask:
    """A branching twig with a few leaves, grown from the middle of the lower edge."""
    mask = np.zeros((height, width), np.uint8)
    leafy = random.random() < 0.6
    reach = height * random.uniform(0.25, 0.4)
    stack = [
        (width * 0.5, height * 0.97, -np.pi / 2 + random.normal(0, 0.2), reach, random.uniform(1.5, 5.0), 4)
    ]
    while stack:
        x, y, angle, length, thick, depth = stack.pop()
        end_x, end_y = x + length * np.cos(angle), y + length * np.sin(angle)
        spine = np.linspace([x, y], [end_x, end_y], 4)
        outline = _stroke(spine, np.full(4, max(1.0, thick)))
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
        if leafy and depth <= 2:
            size = (int(random.uniform(2, 7)), int(random.uniform(1, 4)))
            cv2.ellipse(
                mask, (int(end_x), int(end_y)), size, random.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA
            )
        if depth > 0:
            for _ in range(int(random.integers(1, 4))):
                turn = angle + random.normal(0, 0.55)
                stack.append((end_x, end_y, turn, length * random.uniform(0.5, 0.9), thick * 0.7, depth - 1))
    return _clear_rim(mask)


def wire(random: Random, height: int, width: int) -> Mask:
    """Thin sagging or straight strokes from side to side."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(random.integers(1, 4))):
        t = np.linspace(0, 1, 16)
        ends = random.uniform(0.1, 0.9, 2)
        sag = random.uniform(-0.2, 0.4)
        y = np.clip(ends[0] + (ends[1] - ends[0]) * t + sag * 4 * t * (1 - t), 0.02, 0.98)
        outline = _stroke(np.stack([t * width, y * height], -1), np.full(16, random.uniform(1.0, 4.0)))
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
    return _clear_rim(mask)


def lattice_gate(random: Random, height: int, width: int) -> Mask:
    """A grid of bars with holes: a fence, a rack, a bicycle wheel's spokes from afar."""
    mask = np.zeros((height, width), np.uint8)
    pitch = random.uniform(9, 40)
    bar = max(1.5, pitch * random.uniform(0.1, 0.3))
    for x in np.arange(2.0, width - bar - 1, pitch):
        cv2.rectangle(mask, (int(x), 1), (int(x + bar), height - 2), 255, -1)
    for y in np.arange(2.0, height - bar - 1, pitch * random.uniform(1, 4)):
        cv2.rectangle(mask, (1, int(y)), (width - 2, int(y + bar)), 255, -1)
    return _clear_rim(mask)


def ring(random: Random, height: int, width: int) -> Mask:
    """A hoop: wheels, handles, cables, seen through in the middle."""
    outer = ellipse(random, height, width)
    inner = np.zeros_like(outer)
    part = random.uniform(0.5, 0.9)
    small = ellipse(random, max(3, int(height * part)), max(3, int(width * part)))
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    inner[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.asarray(cv2.subtract(outer, inner), np.uint8)
