"""What a verb feeds to a network: the pictures that were named, or the bundle's own golden input."""

import argparse
from typing import Dict, Optional

import numpy as np

from edgekit.bundle import Bundle, InputSpec, Manifest
from edgekit.errors import OptionError
from edgekit.runtime.loading import read_golden
from edgekit.runtime.pictures import read_picture

NAMES = ("left", "right", "image")


def read_inputs(args: argparse.Namespace, manifest: Manifest) -> Dict[str, np.ndarray]:
    """The pictures that were named on the command line, by the network's input; empty if none was.

    Raises:
        OptionError: the network takes other inputs, or one is missing.
        InputError: a picture cannot be read.
    """
    given = {name: getattr(args, name) for name in NAMES if getattr(args, name) is not None}
    if not given:
        return {}
    taken = [spec.name for spec in manifest.inputs]
    for name in list(given) + taken:
        if name not in taken or name not in given:
            options = " and ".join(f"--{one} FILE" for one in taken)
            what = "does not take" if name not in taken else "also needs"
            raise OptionError(f"{manifest.name} {what} --{name}; give {options}")
    return {name: read_picture(path) for name, path in given.items()}


def require_inputs(args: argparse.Namespace, manifest: Manifest) -> Dict[str, np.ndarray]:
    """`read_inputs`, but some must have been named."""
    inputs = read_inputs(args, manifest)
    if not inputs:
        raise OptionError(
            "no picture was given; {} needs {}".format(
                manifest.name, " and ".join(f"--{spec.name} FILE" for spec in manifest.inputs)
            )
        )
    return inputs


def golden_pictures(bundle: Bundle, network: Optional[str] = None) -> Dict[str, np.ndarray]:
    """The golden input as the uint8 pictures that it would have come from, for inputs that are pictures."""
    golden, _ = read_golden(bundle, network)
    manifest = bundle.manifest if network is None else bundle.manifest.only(network)
    return {spec.name: _picture(spec, golden[spec.name]) for spec in manifest.inputs}


def _picture(spec: InputSpec, tensor: np.ndarray) -> np.ndarray:
    recipe = spec.preprocessing
    if recipe is None:
        return tensor
    shape = (-1, 1, 1)
    raw = tensor[0] * np.reshape(recipe.std, shape) + np.reshape(recipe.mean, shape)
    height, width = raw.shape[1:]
    rows = (
        slice(height - recipe.height, height)
        if recipe.anchor.startswith("bottom")
        else slice(0, recipe.height)
    )
    columns = slice(0, recipe.width) if recipe.anchor.endswith("left") else slice(width - recipe.width, width)
    picture = (np.clip(raw[:, rows, columns], 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    if recipe.fit == "crop":  # what the recipe cuts off again
        margins = [round(side / recipe.crop) - side for side in (recipe.height, recipe.width)]
        picture = np.pad(picture, [(0, 0)] + [(m // 2, m - m // 2) for m in margins], mode="edge")
    height, width = picture.shape[1:]
    return np.ascontiguousarray(np.broadcast_to(picture.transpose(1, 2, 0), (height, width, 3)))
