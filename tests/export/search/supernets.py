"""A tiny supernet with random weights, and pictures of four classes that only their colour tells apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from edgekit.models.lsq import weight_levels
from edgekit.models.oqa import Supernet
from edgekit.models.oqa_space import SupernetOptions

CLASSES = 4


def options(bits: int) -> SupernetOptions:
    """Two kernels, two expansions, one or two blocks a stage."""
    return SupernetOptions(bits, 0.25, CLASSES, (3, 5), (3, 4), (1, 2))


def supernet(bits: int, file: Path) -> Supernet:
    """Write a checkpoint whose steps tell its bits."""
    torch.manual_seed(bits)
    net = Supernet(options(bits))
    weights = net.state_dict()
    for name in weights:
        if name.endswith(".sw"):
            weight = weights[name.removesuffix("sw") + "weight"].normal_(0, 0.2)
            weights[name] = 2 * weight.abs().mean().view(1) / weight_levels(bits)[1] ** 0.5
        elif name.endswith(".sa"):
            weights[name] = torch.tensor([0.2])
    torch.save({"state_dict": weights}, file)
    net.load(weights, file.name)
    return net.eval()


def pictures(folder: Path, each: int) -> Path:
    """A folder a class, ``each`` noisy pictures of 32 x 32 px in every one."""
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(each):
            noise = generator.integers(0, 160, (32, 32, 3), np.uint8)
            noise[:, :, label % 3] += 90 if label < 3 else 0
            cv2.imwrite(str(folder / f"class{label}" / f"{number}.png"), noise)
    return folder
