"""Training batches from rendered scenes: a cache on disk, random crops and augmentation, all decided by seed and step.

Batch number t of a seed is the same whether its scenes were rendered just now or found on disk, and whichever process
makes it, so a resumed training sees exactly what an uninterrupted one would have seen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.models.staged import IMAGENET_MEAN, IMAGENET_STD
from edgekit.models.training.scenes.scene import VERSION, scene

Packed = NDArray[np.uint8]
DISPARITY_STEP = 256  # disparities are kept in 1/256 px, KITTI's own convention


@dataclass(frozen=True)
class Batch:
    """left, right: float32 (B, 3, H, W), ImageNet-normalised RGB; disparity: float32 (B, 1, H, W) px, 0 where unknown."""

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    disparity: NDArray[np.float32]


@dataclass(frozen=True)
class ScenePool:
    """The first `scenes` scenes of a seed, each rendered once and kept under `directory`.

    A scene is one uint8 (height, width, 8) array: left RGB, right RGB, disparity as two bytes.
    """

    directory: Path
    seed: int
    scenes: int
    height: int = 384
    width: int = 768

    def path(self, index: int) -> Path:
        """Where scene `index` is kept."""
        return self.directory / f"v{VERSION}_seed{self.seed}_{self.height}x{self.width}" / f"{index:06d}.npy"

    def packed(self, index: int) -> Packed:
        """Scene `index` as packed bytes, rendered now if it is not on disk yet; a full disk only costs the caching."""
        path = self.path(index)
        try:
            stored: Packed = np.load(path, mmap_mode="r")
            if stored.shape == (self.height, self.width, 8) and stored.dtype == np.uint8:
                return stored
        except (OSError, ValueError):
            pass
        rendered = scene(self.seed, index, self.height, self.width)
        fixed = np.clip(np.round(rendered.disparity * DISPARITY_STEP), 1, 65535).astype(np.uint16)
        halves = fixed[..., None].view(np.uint8) if fixed.flags.c_contiguous else None
        assert halves is not None
        packed = np.concatenate([rendered.left, rendered.right, halves], axis=-1)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.save(file, packed)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
        return packed


@dataclass(frozen=True)
class BatchSource:
    """Endless batches of crops from a pool.

    Attributes:
        height, width: crop size in px.
        batch: pairs per batch.
        seed: decides order, crops and augmentation.
    """

    pool: ScenePool
    height: int
    width: int
    batch: int
    seed: int

    def __call__(self, step: int) -> Batch:
        """Batch number `step`."""
        lefts, rights, truths = [], [], []
        for slot in range(self.batch):
            left, right, truth = self._pair(step * self.batch + slot)
            lefts.append(left)
            rights.append(right)
            truths.append(truth)
        return Batch(np.stack(lefts), np.stack(rights), np.stack(truths)[:, None])

    def _pair(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        epoch, place = divmod(number, self.pool.scenes)
        order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, 1, epoch])))
        index = int(order.permutation(self.pool.scenes)[place])
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, 2, number])))
        packed = self.pool.packed(index)
        top = int(random.integers(0, self.pool.height - self.height + 1))
        start = int(random.integers(0, self.pool.width - self.width + 1))
        crop = np.ascontiguousarray(packed[top : top + self.height, start : start + self.width])
        truth = crop[..., 6:8].copy().view(np.uint16)[..., 0].astype(np.float32) / DISPARITY_STEP
        if random.random() < 0.15:  # upside down is as true as upright, and keeps position from telling depth
            crop, truth = crop[::-1], truth[::-1]
        channels = random.permutation(3) if random.random() < 0.5 else np.arange(3)
        contrast, brightness = np.exp(random.normal(0, 0.2)), random.normal(0, 15)
        gamma = np.exp(random.normal(0, 0.15))
        levels = 255 * (np.arange(256) / 255.0) ** gamma
        images = []
        for view in range(2):
            own = np.exp(random.normal(0, 0.04)) * contrast
            curve = np.clip((levels - 128) * own + 128 + brightness + random.normal(0, 4), 0, 255) / 255
            tables = (curve[:, None] - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
            picture = [
                np.take(tables[:, channel].astype(np.float32), crop[..., 3 * view + int(channels[channel])])
                for channel in range(3)
            ]
            images.append(np.stack(picture))
        return images[0], images[1], np.ascontiguousarray(truth)
