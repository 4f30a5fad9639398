"""GStreamer pipelines that give OpenCV pictures: those of a Jetson's own cameras, and what a user's must end in."""

from typing import NamedTuple, Optional, Tuple

from edgekit.errors import InputError

# What hands pictures to OpenCV: the newest alone, as soon as it is there.
APPSINK = "appsink drop=true max-buffers=1 sync=false"


class CaptureMode(NamedTuple):
    """What a camera is asked for; None leaves it to the camera."""

    width: Optional[int] = None
    height: Optional[int] = None
    rate: Optional[float] = None


def read_mode(text: str) -> CaptureMode:
    """A mode from ``WIDTHxHEIGHT``, ``WIDTHxHEIGHT@RATE`` or ``@RATE``.

    Raises:
        InputError: it is none of these.
    """
    size, at, rate = text.partition("@")
    try:
        width, height = (int(side) for side in size.split("x")) if size else (None, None)
        mode = CaptureMode(width, height, float(rate) if at else None)
    except ValueError:
        mode = CaptureMode(0)
    if any(value is not None and not 0 < value < 100000 for value in mode) or not text:
        raise InputError(
            f"--capture {text}: give the camera's size and rate such as 1280x720@30, 1280x720 or @30"
        )
    return mode


def jetson_camera(sensor: int, mode: CaptureMode) -> str:
    """The pipeline of a camera on a Jetson's CSI connector, through its picture processor (nvarguscamerasrc).

    Without a mode, 1280x720 at 30 frames/s, which the usual sensors (IMX219, IMX477) have.
    """
    width, height = mode.width or 1280, mode.height or 720
    rate = _fraction(mode.rate or 30.0)
    caps = f"width=(int){width}, height=(int){height}"
    return (
        f"nvarguscamerasrc sensor-id={sensor}"
        f" ! video/x-raw(memory:NVMM), {caps}, format=(string)NV12, framerate=(fraction){rate[0]}/{rate[1]}"
        " ! nvvidconv"
        f" ! video/x-raw, {caps}, format=(string)BGRx"
        " ! videoconvert"
        " ! video/x-raw, format=(string)BGR"
        f" ! {APPSINK}"
    )


def check_pipeline(pipeline: str) -> str:
    """A user's own pipeline.

    Raises:
        InputError: OpenCV could take no picture from it.
    """
    if "appsink" not in pipeline:
        raise InputError(
            f"the GStreamer pipeline {pipeline!r} has no appsink, from which OpenCV takes pictures; let it end in"
            f" `! videoconvert ! video/x-raw, format=BGR ! {APPSINK}`"
        )
    return pipeline


def _fraction(rate: float) -> Tuple[int, int]:
    return (int(rate), 1) if rate == int(rate) else (round(rate * 1000), 1000)
