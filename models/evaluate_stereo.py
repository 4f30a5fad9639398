"""How good disparities are on real pictures: the pairs used for measuring (never for training), EPE and D1."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.disparity import disparity_errors

Picture = NDArray[np.uint8]
Map = NDArray[np.float32]
Known = NDArray[np.bool_]

OPENCV_DOC = Path("/usr/share/doc/opencv-doc/examples")
_AUTHORS_CROP = (368, 1232)  # AnyNet's authors measure KITTI on this bottom-right crop


@dataclass(frozen=True)
class StereoPair:
    """A rectified pair with ground truth.

    Attributes:
        left, right: uint8 (H, W, 3) RGB.
        disparity: float32 (H, W), px of the left view; 0 where unknown.
        valid: bool (H, W), where the disparity is known.
    """

    name: str
    left: Picture
    right: Picture
    disparity: Map
    valid: Known


def epe_d1(prediction: Map, disparity: Map, valid: Known) -> tuple[float, float]:
    """EPE in px and D1 in percent where ``valid``, as papers give them; see `edgekit.disparity.disparity_errors`.

    Raises:
        InputError: the sizes differ, or no pixel is valid.
    """
    errors = disparity_errors(prediction, np.where(valid, disparity, np.nan))
    return errors.epe, 100 * errors.d1


def load_pairs(root: Path | str) -> list[StereoPair]:
    """The real pairs below `root` (folders as in KITTI 2015, SceneFlow and Middlebury) and OpenCV's aloe at half size.

    Pairs that are absent are left out.
    """
    root = Path(root)
    pairs = [_kitti(folder) for folder in sorted(root.glob("kitti2015_*"))]
    pairs += [
        _with_pfm(folder) for folder in sorted([*root.glob("flyingthings*"), *root.glob("middlebury*")])
    ]
    aloe = _aloe()
    return pairs + ([aloe] if aloe else [])


def measure(
    predict: Callable[[Picture, Picture], Sequence[Map]], pairs: Sequence[StereoPair]
) -> dict[str, list[tuple[float, float]]]:
    """(EPE px, D1 %) of every exit on every pair; `predict` maps two RGB pictures to the disparity of each exit."""
    return {
        pair.name: [epe_d1(exit_, pair.disparity, pair.valid) for exit_ in predict(pair.left, pair.right)]
        for pair in pairs
    }


def table(results: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """The results of `measure` as text: one line a pair, EPE and D1 of every exit."""
    lines = []
    for name, exits in results.items():
        errors = " ".join(f"{epe:6.2f}" for epe, _ in exits)
        wrong = " ".join(f"{d1:5.1f}" for _, d1 in exits)
        lines.append(f"{name:30s} EPE px {errors}   D1 % {wrong}")
    return "\n".join(lines)


def read_pfm(path: Path) -> Map:
    """A PFM file's first channel, float32 (H, W), top row first (the file stores the bottom row first)."""
    data = path.read_bytes()
    header = re.match(rb"(P[Ff])\s+(\d+)\s+(\d+)\s+(-?[\d.]+)\s", data)
    if header is None:
        raise ValueError(f"{path}: not a PFM file")
    kind, width, height, scale = header.groups()
    order = "<f4" if float(scale) < 0 else ">f4"
    values = np.frombuffer(data, order, offset=header.end())
    values = values.reshape(int(height), int(width), 3 if kind == b"PF" else 1)
    return np.ascontiguousarray(values[::-1, :, 0], np.float32)


def _rgb(path: Path) -> Picture:
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def _decode(path: Path, flags: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    data = path.read_bytes()
    picture = cv2.imdecode(
        np.frombuffer(gzip.decompress(data) if path.suffix == ".gz" else data, np.uint8), flags
    )
    if picture is None:
        raise ValueError(f"{path}: not a picture")
    return np.asarray(picture)


def _pair(name: str, left: Picture, right: Picture, disparity: Map) -> StereoPair:
    valid = np.isfinite(disparity) & (disparity > 0)
    return StereoPair(name, left, right, np.where(valid, disparity, 0).astype(np.float32), valid)


def _kitti(folder: Path) -> StereoPair:
    rows, columns = _AUTHORS_CROP
    corner = np.s_[-rows:, -columns:]
    disparity = _decode(folder / "disp_occ.png", cv2.IMREAD_UNCHANGED).astype(np.float32) / 256
    left, right = (np.ascontiguousarray(_rgb(folder / f"{view}.png")[corner]) for view in ("left", "right"))
    return _pair(folder.name, left, right, np.ascontiguousarray(disparity[corner]))


def _with_pfm(folder: Path) -> StereoPair:
    disparity = np.abs(read_pfm(folder / "disp.pfm"))
    return _pair(folder.name, _rgb(folder / "left.png"), _rgb(folder / "right.png"), disparity)


def _aloe() -> StereoPair | None:
    """Middlebury's aloe, 1282x1110, at half size: every second pixel of the truth, halved; pictures averaged 2x2."""
    found = {}
    for name in ("aloeL.jpg", "aloeR.jpg", "aloeGT.png"):
        candidates = sorted(OPENCV_DOC.rglob(name + "*"))
        if not candidates:
            return None
        found[name] = candidates[0]
    left, right = (
        cv2.resize(_rgb(found[name]), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for name in ("aloeL.jpg", "aloeR.jpg")
    )
    truth = _decode(found["aloeGT.png"], cv2.IMREAD_GRAYSCALE).astype(np.float32)
    return _pair(
        "aloe_half", left.astype(np.uint8), right.astype(np.uint8), np.ascontiguousarray(truth[::2, ::2] / 2)
    )
