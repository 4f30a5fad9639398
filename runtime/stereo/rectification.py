"""Makes the rows of a stereo pair the same rows: a network looks for the left picture's points in the right one's same row."""

from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from edgekit.errors import InputError
from edgekit.runtime.stereo.camera_file import Lens, StereoCalibration
from edgekit.runtime.stereo.geometry import Geometry
from edgekit.runtime.stream.source import Seen, Source

Maps = Tuple[np.ndarray, np.ndarray]
SIDES = ("left", "right")


class Rectifier:
    """Warps pictures of one size by maps that are made once.

    Attributes:
        geometry: of the rectified pictures, in the unit of the calibration's T (usually that of the chessboard's squares).
        size: of the pictures it takes and gives, (width, height) px.
    """

    def __init__(self, calibration: StereoCalibration, size: Optional[Tuple[int, int]] = None) -> None:
        """``size``: of the pictures, (width, height) px; where the calibration says it too, it must be the same.

        Raises:
            InputError: OpenCV is missing, the sizes differ, or the cameras do not stand beside each other.
        """
        cv2 = _opencv()
        known = calibration.size or size
        if known is None:
            raise InputError("the calibration does not say the pictures' size; give it")
        if size is not None and size != known:
            raise InputError(
                "the calibration is of pictures of {} x {} px, and these are {} x {} px".format(
                    *(known + size)
                )
            )
        self.size = known
        left, right = calibration.left, calibration.right
        first, second = left.rectification, right.rectification
        p1, p2 = left.projection, right.projection
        if first is None or second is None or p1 is None or p2 is None:
            first, second, p1, p2 = _rectify(cv2, calibration, known)
        if abs(p2[1, 3]) > abs(p2[0, 3]) or p2[0, 3] >= 0:
            raise InputError(
                "the calibration is of cameras above each other, or of the right one first; edgekit's networks take a left and a"
                " right picture, in that order"
            )
        focal = float(p2[0, 0])
        self.geometry = Geometry(
            focal, float(-p2[0, 3] / p2[0, 0]), float(p1[0, 2]), float(p1[1, 2]), float(p2[0, 2])
        )
        self._remap = cv2.remap
        self._linear = cv2.INTER_LINEAR
        self._maps: Dict[str, Maps] = {
            "left": _maps(cv2, left, first, p1, known),
            "right": _maps(cv2, right, second, p2, known),
        }

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """The pictures ``left`` and ``right``, uint8 (H, W, 3) or (H, W), with their rows aligned; black where nothing was seen.

        Raises:
            InputError: a picture is missing or of another size.
        """
        rectified = {}
        for side in SIDES:
            picture = inputs.get(side)
            if picture is None:
                raise InputError(f"there is no {side} picture to rectify")
            if picture.shape[1::-1] != self.size:
                raise InputError(
                    "the {} picture is {} x {} px, and the calibration is of {} x {} px".format(
                        side, *(picture.shape[1::-1] + self.size)
                    )
                )
            rectified[side] = np.asarray(self._remap(picture, *self._maps[side], self._linear))
        return rectified


class Rectified(Source):
    """A stereo source whose pictures are rectified as they come, on the thread that reads them."""

    def __init__(self, source: Source, calibration: StereoCalibration) -> None:
        self._source = source
        self._calibration = calibration
        self._rectifier: Optional[Rectifier] = None
        self.name = source.name

    @property
    def live(self) -> bool:  # type: ignore[override]
        """See `Source`."""
        return self._source.live

    @property
    def rate(self) -> Optional[float]:  # type: ignore[override]
        """See `Source`."""
        return self._source.rate

    def open(self) -> None:
        """See `Source.open`."""
        if self._rectifier is None and self._calibration.size is not None:
            self._rectifier = Rectifier(self._calibration)
        self._source.open()

    def read(self) -> Optional[Seen]:
        """See `Source.read`."""
        seen = self._source.read()
        if seen is None:
            return None
        if self._rectifier is None:
            height, width = seen.inputs["left"].shape[:2]
            self._rectifier = Rectifier(self._calibration, (width, height))
        return seen._replace(inputs=self._rectifier(seen.inputs))

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"rectification needs OpenCV ({error}): `sudo apt-get install python3-opencv`, or `pip install opencv-python-headless`"
        ) from error
    return cv2


def _rectify(
    cv2: Any, calibration: StereoCalibration, size: Tuple[int, int]
) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rotations and projections that turn both cameras alike, and show only what both have seen."""
    left, right = calibration.left, calibration.right
    cameras = (left.matrix, left.distortion, right.matrix, right.distortion, size)
    assert calibration.translation is not None  # checked where it was read
    moved = (calibration.rotation, np.reshape(calibration.translation, (3, 1)))
    if left.fisheye:
        found = cv2.fisheye.stereoRectify(*(cameras + moved), flags=cv2.CALIB_ZERO_DISPARITY)
    else:
        found = cv2.stereoRectify(*(cameras + moved), flags=cv2.CALIB_ZERO_DISPARITY, alpha=0)
    return tuple(np.asarray(one) for one in found[:4])  # type: ignore[return-value]


def _maps(cv2: Any, lens: Lens, rotation: np.ndarray, projection: np.ndarray, size: Tuple[int, int]) -> Maps:
    make = cv2.fisheye.initUndistortRectifyMap if lens.fisheye else cv2.initUndistortRectifyMap
    # Fixed-point maps: half the memory to read for every picture.
    first, second = make(lens.matrix, lens.distortion, rotation, projection, size, cv2.CV_16SC2)
    return first, second
