"""Calibration files as cameras' owners have them: OpenCV's FileStorage in YAML, XML or JSON, and ROS's camera_info in YAML."""

import json
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from xml.etree import ElementTree

import numpy as np

from edgekit.errors import InputError

Matrices = Dict[str, np.ndarray]


class Lens(NamedTuple):
    """One camera: ``matrix`` (3, 3) px, ``distortion`` coefficients, and where known its ``rectification`` (3, 3) and
    ``projection`` (3, 4). ``fisheye``: the coefficients are those of OpenCV's fisheye model (ROS: equidistant)."""

    matrix: np.ndarray
    distortion: np.ndarray
    rectification: Optional[np.ndarray] = None
    projection: Optional[np.ndarray] = None
    fisheye: bool = False


class StereoCalibration(NamedTuple):
    """Two cameras, where known the right one's ``rotation`` (3, 3) and ``translation`` (3,) against the left one, and the size
    (width, height) px of the pictures that they were calibrated with."""

    left: Lens
    right: Lens
    rotation: Optional[np.ndarray] = None
    translation: Optional[np.ndarray] = None
    size: Optional[Tuple[int, int]] = None


# What tools call the same thing; {} is 1 for the left camera and 2 for the right one.
NAMES = {
    "matrix": ("K{}", "M{}", "cameraMatrix{}", "camera_matrix_{}", "CM{}"),
    "distortion": ("D{}", "distCoeffs{}", "dist_coeffs{}", "distortion_coefficients_{}"),
    "rectification": ("R{}",),
    "projection": ("P{}",),
}
# OpenCV tags and types its matrices, ROS does not; OpenCV 5 gives vectors `sizes` instead of rows and columns.
YAML_MATRIX = re.compile(
    r"^\s*(\w+)\s*:[^\n]*\n\s*(?:rows:\s*(\d+)\s*\n\s*cols:\s*(\d+)|sizes:\s*\[([^\]]*)\])\s*\n(?:\s*dt:[^\n]*\n)?\s*data:\s*\[([^\]]*)\]",
    re.MULTILINE,
)
YAML_WORD = re.compile(r"^\s*(\w+)\s*:[ \t]*(\S[^\n]*)$", re.MULTILINE)


def read_camera_files(paths: Sequence[str]) -> StereoCalibration:
    """The calibration of a stereo camera.

    Args:
        paths: one file or several that complete each other, as OpenCV's intrinsics.yml and extrinsics.yml do, with K1, D1, K2,
            D2 (or M1, cameraMatrix1, ...), R, T or R1, R2, P1, P2; or two ROS camera_info files, the left one first.

    Raises:
        InputError: a file cannot be read, or they say too little.
    """
    found: Matrices = {}
    words: Dict[str, str] = {}
    cameras: List[Tuple[Matrices, Dict[str, str]]] = []
    for path in paths:
        matrices, said = _read(path)
        if "camera_matrix" in matrices:
            cameras.append((matrices, said))
        found.update(matrices)
        words.update(said)
    if len(cameras) == 2:
        return _from_cameras(cameras, found)
    name = " and ".join(paths)
    left, right = _lens(found, words, 1, name), _lens(found, words, 2, name)
    calibration = StereoCalibration(left, right, found.get("R"), _vector(found.get("T")), _size(words))
    _check(calibration, name)
    return calibration


def read_matrix(path: str, name: str) -> np.ndarray:
    """One matrix of a file, such as Q.

    Raises:
        InputError: the file cannot be read, or has none of that name.
    """
    matrices, _ = _read(path)
    if name not in matrices:
        held = ", ".join(sorted(matrices)) or "no matrix"
        raise InputError(f"{path} holds {held}, and no {name}")
    return matrices[name]


def _from_cameras(
    cameras: Sequence[Tuple[Matrices, Mapping[str, str]]], found: Matrices
) -> StereoCalibration:
    lenses = []
    for matrices, words in cameras:
        model = words.get("distortion_model", "plumb_bob").strip("\"'")
        lenses.append(
            Lens(
                matrices["camera_matrix"],
                matrices.get("distortion_coefficients", np.zeros(5)).ravel(),
                matrices.get("rectification_matrix"),
                matrices.get("projection_matrix"),
                model in ("equidistant", "fisheye"),
            )
        )
    size = _size(cameras[0][1])
    calibration = StereoCalibration(lenses[0], lenses[1], found.get("R"), _vector(found.get("T")), size)
    _check(calibration, "the two camera files")
    return calibration


def _lens(found: Matrices, words: Mapping[str, str], number: int, name: str) -> Lens:
    def one(kind: str) -> Optional[np.ndarray]:
        keys = [pattern.format(number) for pattern in NAMES[kind]]
        return next((found[key] for key in keys if key in found), None)

    matrix = one("matrix")
    if matrix is None:
        held = ", ".join(sorted(found)) or "no matrix"
        raise InputError(
            f"{name}: there is no K{number}, the matrix of the {'left' if number == 1 else 'right'} camera; it holds {held}"
        )
    distortion = one("distortion")
    return Lens(
        matrix,
        np.zeros(5) if distortion is None else distortion.ravel(),
        one("rectification"),
        one("projection"),
        words.get("distortion_model", "").strip("\"'") in ("equidistant", "fisheye"),
    )


def _check(calibration: StereoCalibration, name: str) -> None:
    for lens, side in ((calibration.left, "left"), (calibration.right, "right")):
        for what, value, shape in (
            ("matrix", lens.matrix, (3, 3)),
            ("rectification", lens.rectification, (3, 3)),
            ("projection", lens.projection, (3, 4)),
        ):
            if value is not None and value.shape != shape:
                raise InputError(f"{name}: the {side} camera's {what} is {value.shape}, and must be {shape}")
    rectified = all(
        lens.rectification is not None and lens.projection is not None
        for lens in (calibration.left, calibration.right)
    )
    if not rectified and (calibration.rotation is None or calibration.translation is None):
        raise InputError(
            f"{name}: neither R and T, from the left to the right camera, nor R1, R2, P1 and P2 are there;"
            " name the file that holds them too (OpenCV's examples call it extrinsics.yml)"
        )


def _vector(value: Optional[np.ndarray]) -> Optional[np.ndarray]:
    return None if value is None else value.ravel()


def _size(words: Mapping[str, str]) -> Optional[Tuple[int, int]]:
    for wide, high in (("image_width", "image_height"), ("width", "height"), ("imageWidth", "imageHeight")):
        if wide in words and high in words:
            return int(float(words[wide])), int(float(words[high]))
    for name in ("imageSize", "image_size", "size", "ImageSize"):
        numbers = re.findall(r"\d+", words.get(name, ""))
        if len(numbers) == 2:
            return int(numbers[0]), int(numbers[1])
    return None


def _read(path: str) -> Tuple[Matrices, Dict[str, str]]:
    """Every matrix in a file, and every single word or number, by name."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError as error:
        raise InputError(f"the calibration {path} cannot be opened: {error.strerror}") from error
    try:
        if text.lstrip().startswith("<"):
            return _from_xml(text)
        if text.lstrip().startswith("{"):
            return _from_json(text)
        return _from_yaml(text)
    except (ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        raise InputError(f"the calibration {path} is damaged: {error}") from error


def _from_yaml(text: str) -> Tuple[Matrices, Dict[str, str]]:
    matrices = {
        name: _matrix(sizes or f"{rows} {columns}", data)
        for name, rows, columns, sizes, data in YAML_MATRIX.findall(text)
    }
    # OpenCV writes a size as the sequence `imageSize: [ 640, 480 ]`, and its tools also as `- 640` lines.
    words = dict(YAML_WORD.findall(re.sub(r":\s*\n\s*-\s*(\d+)\s*\n\s*-\s*(\d+)", r": \1 \2", text)))
    return matrices, words


def _from_xml(text: str) -> Tuple[Matrices, Dict[str, str]]:
    matrices: Matrices = {}
    words: Dict[str, str] = {}
    for node in ElementTree.fromstring(text).iter():
        data = node.find("data")
        if data is not None:
            sizes = node.findtext("sizes") or "{} {}".format(node.findtext("rows"), node.findtext("cols"))
            matrices[node.tag] = _matrix(sizes, data.text or "")
        elif node.text and node.text.strip():
            words[node.tag] = node.text.strip()
    return matrices, words


def _from_json(text: str) -> Tuple[Matrices, Dict[str, str]]:
    matrices: Matrices = {}
    words: Dict[str, str] = {}
    for name, value in json.loads(text).items():
        if isinstance(value, dict) and "data" in value:
            sizes = value["sizes"] if "sizes" in value else [value["rows"], value["cols"]]
            matrices[name] = _matrix(" ".join(map(str, sizes)), " ".join(map(str, value["data"])))
        else:
            words[name] = str(value)
    return matrices, words


def _matrix(sizes: str, data: str) -> np.ndarray:
    values = np.array(data.replace(",", " ").split(), np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a matrix holds NaN or Inf")
    return values.reshape([int(size) for size in sizes.replace(",", " ").split()])
