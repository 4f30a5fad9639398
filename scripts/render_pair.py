"""Renders a rectified stereo pair with edgekit's own renderer: python scripts/render_pair.py FOLDER [--size HxW] [--scene N].

Writes left.png, right.png and the true disparity of the left view as disparity.npy (float32 px), for a first try without
pictures of one's own.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from edgekit.models.training.scenes.scene import scene

SEED = 2026  # not the seed that the shipped weights were trained with


def main() -> None:
    """Render one scene."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="375x1242", help="height x width in px")
    parser.add_argument("--scene", type=int, default=2, help="which of the endless scenes")
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    rendered = scene(SEED, options.scene, height, width)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, view in (("left", rendered.left), ("right", rendered.right)):
        cv2.imwrite(str(options.folder / f"{name}.png"), cv2.cvtColor(view, cv2.COLOR_RGB2BGR))
    np.save(options.folder / "disparity.npy", rendered.disparity)


if __name__ == "__main__":
    main()
