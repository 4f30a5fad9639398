"""Pictures to prove parity on: seeded, textured at every scale, and for stereo two views of one scene.

White noise would do for neither: features of noise are saturated, and a pair without matches exercises no disparity.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.models.staged import ImageInput

_FAR, _NEAR = 0.005, 0.06  # disparity of the top and the bottom row, as a share of the width: a ground plane
_BOX = 0.08  # and of a box that stands on it


def sample_inputs(inputs: Sequence[ImageInput], task: str, seed: int = 0) -> dict[str, Tensor]:
    """One normalised tensor per input, of its shape; two inputs of a stereo network see one scene.

    The pictures have 256 levels a channel, as pictures have, before they are normalised.
    """
    random = torch.Generator().manual_seed(seed)
    pictures: list[Tensor] = []
    for spec in inputs:
        batch, channels, height, width = spec.shape
        if task == "stereo" and len(pictures) == 1 and pictures[0].shape[1:] == spec.shape[1:]:
            pictures.append(_seen_from_the_right(pictures[0]))
        else:
            pictures.append(torch.cat([_textured(random, channels, height, width) for _ in range(batch)]))
    return {spec.name: _normalised(picture, spec) for spec, picture in zip(inputs, pictures, strict=True)}


def _textured(random: torch.Generator, channels: int, height: int, width: int) -> Tensor:
    """(1, channels, height, width) in 0 .. 1: noise of octaves from the whole picture down to single pixels."""
    picture = torch.zeros(1, channels, height, width)
    cell, weight = float(max(height, width)), 1.0
    while cell >= 1:
        grid = torch.rand(1, channels, int(height / cell) + 2, int(width / cell) + 2, generator=random) - 0.5
        picture += weight * F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
        cell, weight = cell / 2, weight * 0.75
    low, high = picture.amin((2, 3), keepdim=True), picture.amax((2, 3), keepdim=True)
    return (picture - low) / (high - low).clamp(min=1e-6)


def _seen_from_the_right(left: Tensor) -> Tensor:
    """The scene's other view: right pixel x shows what left pixel x + disparity shows, a ground plane and a box on it."""
    height, width = left.shape[2:]
    rows = torch.linspace(0, 1, height).view(height, 1)
    disparity = (_FAR + (_NEAR - _FAR) * rows).expand(height, width).clone()
    disparity[height // 3 : 2 * height // 3, width // 3 : width // 2] = _BOX
    x = (torch.arange(width) + disparity * width).clamp(max=width - 1)
    below = x.floor().long().clamp(max=max(width - 2, 0))
    above = (below + 1).clamp(max=width - 1)
    share = x - below
    taken = [torch.gather(left, 3, index.expand_as(left)) for index in (below, above)]
    return taken[0] * (1 - share) + taken[1] * share


def _normalised(picture: Tensor, spec: ImageInput) -> Tensor:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    return ((picture * 255).round() / 255 - mean) / std
