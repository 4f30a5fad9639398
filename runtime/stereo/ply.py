"""Points in a PLY file, which every viewer of point clouds opens."""

from typing import Optional

import numpy as np

from edgekit import atomic
from edgekit.errors import InputError


def write_ply(
    path: str, points: np.ndarray, colors: Optional[np.ndarray] = None, farthest: float = np.inf
) -> int:
    """Write those points that are finite and at most ``farthest`` away along the camera's axis; how many they are.

    Args:
        path: appears whole or not at all.
        points: (..., 3) in whatever unit.
        colors: uint8 (..., 3) RGB of each, or (...) grey.
        farthest: the largest z.

    Raises:
        InputError: the file cannot be written, or the colours are not as many as the points.
    """
    rows = np.asarray(points, np.float32).reshape(-1, 3)
    known = np.isfinite(rows).all(axis=1) & (rows[:, 2] <= farthest)
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    if colors is not None:
        if colors.shape[: points.ndim - 1] != points.shape[:-1]:
            raise InputError(f"{path}: colours {colors.shape} do not fit points {points.shape}")
        if colors.ndim == points.ndim - 1:
            colors = np.repeat(colors[..., None], 3, axis=-1)
        fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    table = np.zeros(int(known.sum()), np.dtype(fields))
    for axis, name in enumerate("xyz"):
        table[name] = rows[known, axis]
    if colors is not None:
        flat = colors[..., :3].reshape(-1, 3)
        for channel, name in enumerate(("red", "green", "blue")):
            table[name] = flat[known, channel]
    kinds = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in fields] + ["end_header", ""]
    try:
        atomic.write_file(path, "\n".join(header).encode("ascii") + table.tobytes())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from error
    return len(table)
