"""Between ROS's messages and what a session takes and gives: pictures without cv_bridge, disparities, diagnoses."""

import sys
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.errors import InputError
from edgekit.runtime.ros.messages import (
    ERROR,
    OK,
    WARN,
    DiagnosticArray,
    DiagnosticStatus,
    DisparityImage,
    Header,
    Image,
    KeyValue,
    RegionOfInterest,
    Time,
)
from edgekit.runtime.stream import Answer, Counts


class Encoding(NamedTuple):
    """How the pixels of an encoding lie in memory: bytes a channel, and which of them are red, green and blue."""

    bytes: int
    channels: int
    rgb: Union[int, slice]


GREY, RGB, BGR = 0, slice(0, 3), slice(2, None, -1)
ENCODINGS: Dict[str, Encoding] = {
    "mono8": Encoding(1, 1, GREY),
    "8UC1": Encoding(1, 1, GREY),
    "mono16": Encoding(2, 1, GREY),
    "16UC1": Encoding(2, 1, GREY),
    "rgb8": Encoding(1, 3, RGB),
    "bgr8": Encoding(1, 3, BGR),
    "8UC3": Encoding(1, 3, BGR),
    "rgba8": Encoding(1, 4, RGB),
    "bgra8": Encoding(1, 4, BGR),
    "8UC4": Encoding(1, 4, BGR),
    "rgb16": Encoding(2, 3, RGB),
    "bgr16": Encoding(2, 3, BGR),
    "16UC3": Encoding(2, 3, BGR),
    "rgba16": Encoding(2, 4, RGB),
    "bgra16": Encoding(2, 4, BGR),
}


class Geometry(NamedTuple):
    """What turns disparities into depth: the focal length in px of the pictures, and the baseline in m; 0 where unknown."""

    f: float = 0.0
    t: float = 0.0


def picture(
    encoding: str,
    height: int,
    width: int,
    step: int,
    data: bytes,
    bigendian: bool = False,
    bits: int = 16,
) -> np.ndarray:
    """The picture in a ``sensor_msgs/Image``: uint8 (H, W, 3) RGB, or (H, W) where it is grey; 8-bit ones are not copied.

    Args:
        encoding: one of `ENCODINGS`.
        step: bytes a row, padding included.
        data: at least ``height`` rows.
        bigendian: order of the bytes of 16-bit channels.
        bits: how many of the 16 the camera uses; the upper 8 of these are taken.

    Raises:
        InputError: the encoding is none of those, or the fields contradict each other.
    """
    known = ENCODINGS.get(encoding)
    if known is None:
        raise InputError(
            f"a picture is encoded as {encoding!r}; this node takes {', '.join(ENCODINGS)}: rectify with image_proc, which"
            " also turns Bayer patterns into colour"
        )
    row = width * known.channels * known.bytes
    if height <= 0 or width <= 0 or step < row:
        raise InputError(f"a picture of {width}x{height} px as {encoding} cannot have rows of {step} bytes")
    if len(data) < step * (height - 1) + row:
        raise InputError(
            f"a picture of {width}x{height} px with rows of {step} bytes has only {len(data)} bytes"
        )
    order = ">u2" if bigendian else "<u2"
    dtype = np.dtype(np.uint8 if known.bytes == 1 else order)
    pixels: np.ndarray = np.ndarray(
        (height, width, known.channels), dtype, data, 0, (step, known.channels * known.bytes, known.bytes)
    )
    if known.bytes == 2:
        pixels = np.minimum(pixels >> (bits - 8), 255).astype(np.uint8)
    return pixels[:, :, known.rgb]


def geometry(left: Sequence[float], right: Sequence[float]) -> Geometry:
    """From the projection matrices ``P`` (3, 4) of the two ``sensor_msgs/CameraInfo``, in rows; zeros say nothing."""
    f, shift = float(left[0]), float(right[3])
    return Geometry(f, -shift / float(right[0])) if f > 0 and right[0] else Geometry()


def disparity_image(
    disparity: np.ndarray,
    header: Header,
    f: float = 0.0,
    t: float = 0.0,
    max_disparity: Optional[float] = None,
) -> DisparityImage:
    """A disparity (H, W) px as ``stereo_msgs/DisparityImage``: every pixel has an answer, and steps are of any size.

    Args:
        disparity: of the left picture.
        header: that of the left picture.
        f, t: focal length in px and baseline in m.
        max_disparity: the largest that the network can answer; by default the largest in this picture.
    """
    values = np.ascontiguousarray(disparity, np.float32)
    height, width = values.shape
    most = float(values.max()) if max_disparity is None else max_disparity
    image = Image(header, height, width, "32FC1", int(sys.byteorder == "big"), 4 * width, values.tobytes())
    return DisparityImage(header, image, f, t, RegionOfInterest(0, 0, height, width), 0.0, most, 0.0)


def picture_message(rgb: np.ndarray, header: Header) -> Image:
    """A uint8 picture (H, W, 3) RGB, or (H, W) grey, as ``sensor_msgs/Image``."""
    height, width = rgb.shape[:2]
    channels = 1 if rgb.ndim == 2 else rgb.shape[2]
    encoding = "mono8" if channels == 1 else "rgb8"
    return Image(header, height, width, encoding, 0, channels * width, np.ascontiguousarray(rgb).tobytes())


def time_of(seconds: float) -> Time:
    """An instant from its seconds."""
    nanoseconds = round(seconds * 1e9)
    return Time(nanoseconds // 1000000000, nanoseconds % 1000000000)


def diagnosis(
    name: str,
    answer: Optional[Answer],
    counts: Counts,
    header: Header,
    more: Sequence[Tuple[str, object]] = (),
    trouble: Optional[str] = None,
) -> DiagnosticArray:
    """How the node is: the last answer's stage, ms, slack and age, and what was counted so far.

    A warning where the last answer was late; an error where there is ``trouble``, or nothing was ever answered.
    """
    values: List[Tuple[str, object]] = []
    if answer is not None:
        result = answer.result
        values += [
            ("stage", answer.stage),
            ("elapsed_ms", result.elapsed_ms),
            ("slack_ms", result.slack_ms),
            ("age_ms", answer.age_ms),
            ("reason", result.reason),
        ]
    values += [
        ("pairs", counts.captured),
        ("answered", counts.answered),
        ("missed", counts.missed),
        ("dropped", counts.dropped),
        ("disordered", counts.disordered),
        ("failed", counts.failed),
        ("age_p99_ms", counts.best_ages.p99),
    ]
    values += list(more)
    level, message = OK, "answers in time"
    if answer is None:
        level, message = (
            WARN,
            "no answer yet: is a rectified stereo pair published on the topics it subscribes?",
        )
    elif answer.result.missed:
        level, message = WARN, "the last answer was late"
    if trouble is not None:
        level, message = ERROR, trouble
    listed = tuple(KeyValue(key, _told(value)) for key, value in values)
    return DiagnosticArray(header, (DiagnosticStatus(level, name, message, "", listed),))


def _told(value: object) -> str:
    if value is None:
        return "unknown"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
