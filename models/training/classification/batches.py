"""Pictures as a training takes them: in an order, crops and mirrorings that only the seed and the step decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from edgekit.models.training.classification.sources import Labelled


@dataclass(frozen=True)
class Batch:
    """Normalised pictures (B, 3, H, W) and their labels (B,)."""

    pictures: Tensor
    labels: Tensor


class Batches:
    """Batch number ``step`` of a training; the pictures' borders are mirrored ``margin`` px before they are cropped.

    An epoch takes every picture once (but for the last few that fill no batch), in an order of its own.
    """

    def __init__(
        self, part: Labelled, batch: int, seed: int, margin: int, mirror: bool, normalise: Normalise
    ) -> None:
        planes = np.ascontiguousarray(part.images.transpose(0, 3, 1, 2))
        self._size = planes.shape[2:]
        self._padded = np.pad(planes, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="reflect")
        self._labels = part.labels
        self._batch = min(batch, len(part.labels))
        self._seed, self._margin, self._mirror, self._normalise = seed, margin, mirror, normalise
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self.steps_per_epoch = len(part.labels) // self._batch

    def __call__(self, step: int) -> Batch:
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self._labels)))
        chosen = self._order[1][place * self._batch : (place + 1) * self._batch]
        random = np.random.default_rng([self._seed, epoch, place])
        top, left = random.integers(0, 2 * self._margin + 1, (2, len(chosen)))
        windows = sliding_window_view(self._padded, self._size, axis=(2, 3))
        pictures = windows[chosen, :, top, left]
        if self._mirror:
            mirrored = random.random(len(chosen)) < 0.5
            pictures[mirrored] = pictures[mirrored, :, :, ::-1]
        return Batch(self._normalise(pictures), torch.from_numpy(self._labels[chosen]))


class Normalise:
    """Planes (B, 3, H, W) uint8 to what a network reads: (x / 255 - mean) / std."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._scale = 1 / (255 * torch.tensor(std).view(3, 1, 1))
        self._shift = -torch.tensor(mean).view(3, 1, 1) / torch.tensor(std).view(3, 1, 1)

    def __call__(self, planes: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(planes).float().mul_(self._scale).add_(self._shift)


def in_order(part: Labelled, normalise: Normalise, batch: int = 250) -> Iterator[Batch]:
    """All pictures of a part, uncropped, for measuring."""
    for start in range(0, len(part.labels), batch):
        planes = np.ascontiguousarray(part.images[start : start + batch].transpose(0, 3, 1, 2))
        yield Batch(normalise(planes), torch.from_numpy(part.labels[start : start + batch]))
