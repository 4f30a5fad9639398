"""Depth instead of disparity: the options that say what camera took the pictures, and the files that depth is written to."""

import argparse
import os
from typing import Dict, Optional, Tuple

import numpy as np

from edgekit.bundle import Manifest
from edgekit.errors import InputError, OptionError
from edgekit.runtime.pictures import write_npy, write_pfm, write_png
from edgekit.runtime.stereo.camera_file import StereoCalibration, read_camera_files, read_matrix
from edgekit.runtime.stereo.geometry import Geometry
from edgekit.runtime.stereo.ply import write_ply
from edgekit.runtime.stereo.rectification import Rectifier
from edgekit.runtime.verbs.options import check_folder, positive

MILLIMETRES = 1e3  # depth pictures of 16 bits hold mm, as those of depth cameras and of ROS do; 0 is unknown


def add_depth_options(parser: argparse.ArgumentParser) -> None:
    """Add what rectifies pictures and turns disparities into depth."""
    parser.add_argument(
        "--calibration",
        nargs="+",
        metavar="FILE",
        help="rectify the pictures: OpenCV's calibration (K1, D1, K2, D2, R, T; one file or two), or ROS's two camera_info files",
    )
    parser.add_argument(
        "--q",
        metavar="FILE",
        help="the matrix Q of the rectified pair: .npy, or an OpenCV file that holds it",
    )
    parser.add_argument(
        "--focal", type=positive, metavar="PX", help="focal length of the rectified pictures, with --baseline"
    )
    parser.add_argument(
        "--baseline", type=positive, metavar="M", help="distance between the cameras; depth has its unit"
    )
    parser.add_argument(
        "--save-depth",
        metavar="FILE",
        help="write depth: .npy or .pfm in the baseline's unit, .png as 16 bits of mm from m",
    )
    parser.add_argument(
        "--save-points", metavar="FILE", help="write the points that were seen as a .ply file"
    )


class DepthWriter:
    """Writes what ``--save-depth`` and ``--save-points`` ask for."""

    def __init__(self, args: argparse.Namespace, manifest: Manifest) -> None:
        """Check the options and read the camera's files.

        Raises:
            OptionError, InputError: they contradict each other or cannot be read.
        """
        self.calibration: Optional[StereoCalibration] = None
        self._cameras: Dict[Tuple[int, int], Geometry] = {}
        self._args = args
        given = [
            name
            for name in ("calibration", "q", "focal", "baseline", "save_depth", "save_points")
            if getattr(args, name)
        ]
        if given and manifest.task != "stereo":
            raise OptionError(
                f"--{given[0].replace('_', '-')} is for stereo networks, and {manifest.name} classifies"
            )
        if (args.focal is None) != (args.baseline is None):
            raise OptionError("--focal and --baseline go together")
        if args.q and args.focal:
            raise OptionError("give either --q, or --focal and --baseline")
        if args.calibration:
            self.calibration = read_camera_files(args.calibration)
        self._q = None if args.q is None else Geometry.from_q(_read_q(args.q))
        self.wanted = bool(args.save_depth or args.save_points)
        self.known = bool(args.calibration or args.q or args.focal)
        if self.wanted and not self.known:
            raise OptionError("depth needs the camera: add --focal and --baseline, --q, or --calibration")
        for option, path, kinds in (
            ("--save-depth", args.save_depth, (".npy", ".pfm", ".png")),
            ("--save-points", args.save_points, (".ply",)),
        ):
            if path and os.path.splitext(path)[1].lower() not in kinds:
                raise OptionError(f"{option} {path}: give a file that ends in {' or '.join(kinds)}")
            check_folder(option, path)

    def rectified(self, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """One pair, rectified if that was asked for."""
        if self.calibration is None:
            return inputs
        height, width = inputs["left"].shape[:2]
        return Rectifier(self.calibration, (width, height))(inputs)

    def geometry(self, height: int, width: int) -> Geometry:
        """The camera of pictures of this size."""
        size = height, width
        if size not in self._cameras:
            self._cameras[size] = self._camera(height, width)
        return self._cameras[size]

    def _camera(self, height: int, width: int) -> Geometry:
        if self._q is not None:
            return self._q
        if self._args.focal is not None:
            return Geometry.of(self._args.focal, self._args.baseline, width, height)
        assert self.calibration is not None  # checked at the beginning
        return Rectifier(self.calibration, (width, height)).geometry

    def write(
        self, disparity: np.ndarray, picture: np.ndarray, number: Optional[int] = None
    ) -> Dict[str, str]:
        """Write the files for one answer; what each holds, by its path. ``number`` replaces a ``%d`` in their names.

        Args:
            disparity: (H, W) px of the left picture.
            picture: the left picture, which gives the points their colours if it is uint8 and of that size.

        Raises:
            InputError: a file cannot be written.
        """
        args = self._args
        written: Dict[str, str] = {}
        if not self.wanted:
            return written
        geometry = self.geometry(*disparity.shape)
        if args.save_depth:
            path = _numbered(args.save_depth, number)
            _write_depth(path, geometry.depth(disparity))
            written[path] = "depth"
        if args.save_points:
            path = _numbered(args.save_points, number)
            fits = picture.dtype == np.uint8 and picture.shape[:2] == disparity.shape
            count = write_ply(path, geometry.points(disparity), picture if fits else None)
            written[path] = f"{count} points"
        return written

    def check_names(self) -> None:
        """That names which ask for a file for every frame take its number.

        Raises:
            OptionError: one does not.
        """
        for path in (self._args.save_depth, self._args.save_points):
            if path:
                _numbered(path, 0)

    @property
    def every_frame(self) -> bool:
        """Whether the names ask for a file for every frame."""
        return any("%" in path for path in (self._args.save_depth, self._args.save_points) if path)


def _write_depth(path: str, depth: np.ndarray) -> None:
    kind = os.path.splitext(path)[1].lower()
    if kind == ".png":
        with np.errstate(invalid="ignore"):
            scaled = np.where(np.isfinite(depth), depth * MILLIMETRES + 0.5, 0.0)
        write_png(path, np.where(scaled < 65536, scaled, 0).astype(np.uint16))
    else:
        (write_npy if kind == ".npy" else write_pfm)(path, depth)


def _numbered(path: str, number: Optional[int]) -> str:
    if "%" not in path or number is None:
        return path
    try:
        return path % number
    except (TypeError, ValueError) as error:
        raise OptionError(f"{path}: write the frame's number as %06d") from error


def _read_q(path: str) -> np.ndarray:
    if not path.endswith(".npy"):
        return read_matrix(path, "Q")
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise InputError(f"--q {path} cannot be read: {error}") from error
