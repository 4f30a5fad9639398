"""Small pictures of three classes, which a network can tell apart after a few steps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("blue", "green", "red")


def write_pictures(folder: Path, each: int = 24) -> Path:
    """A folder with a folder of noisy pictures (32x32) for every class."""
    random = np.random.default_rng(5)
    for channel, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            picture = random.integers(0, 160, (32, 32, 3), dtype=np.uint8)
            picture[:, :, channel] += 60  # OpenCV's order: blue, green, red
            cv2.imwrite(str(folder / name / f"{number:03}.png"), picture)
    return folder
