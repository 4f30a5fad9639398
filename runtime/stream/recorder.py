"""Keeps what a stream answered as an MCAP recording of ROS 2 messages, which Foxglove, PlotJuggler and `ros2 bag` open."""

import os
import threading
import time
from typing import Callable, Optional

import numpy as np

from edgekit.errors import InputError, OptionError
from edgekit.runtime.ros.mcap import Recording
from edgekit.runtime.ros.messages import (
    OK,
    WARN,
    DiagnosticArray,
    DiagnosticStatus,
    DisparityImage,
    Header,
    Image,
    KeyValue,
    Message,
    RegionOfInterest,
    Time,
)
from edgekit.runtime.stereo.geometry import Geometry
from edgekit.runtime.stream.frame import Answer

FRAME_ID = "camera"
PICTURES, DISPARITY, DIAGNOSTICS = "/edgekit/{}/image", "/edgekit/disparity", "/diagnostics"


class Recorder:
    """A subscriber that records every answer: the pictures of a frame once, each of its answers, and how it came to be.

    Attributes:
        path: of the file.
        messages: how many it holds.
    """

    def __init__(
        self,
        path: str,
        name: str,
        geometry: Optional[Callable[[int, int], Geometry]] = None,
        pictures: bool = True,
    ) -> None:
        """Open the file.

        Args:
            path: ends in .mcap.
            name: the network's, for diagnostics.
            geometry: the camera of pictures of a height and a width, which disparity messages carry; None if it is not known.
            pictures: keep them too; without, a recording is about half as large.

        Raises:
            OptionError: the extension is another one.
            InputError: the file cannot be written.
        """
        if os.path.splitext(path)[1].lower() != ".mcap":
            raise OptionError(f"--record {path}: a recording ends in .mcap")
        try:
            self._recording = Recording(path)
        except OSError as error:
            raise InputError(
                f"--record {path} cannot be written: {(error.strerror or str(error)).lower()}"
            ) from error
        self.path = path
        self.messages = 0
        self._name = name
        self._geometry = geometry
        self._pictures = pictures
        self._seen = 0  # number of the frame whose pictures were kept last
        self._epoch_ms: Optional[float] = None  # of the stream's clock
        self._guard = threading.Lock()

    def __call__(self, answer: Answer) -> None:
        """Record one answer.

        Raises:
            EdgekitError: the recording was closed.
            OSError: the disk is full.
        """
        with self._guard:
            if self._epoch_ms is None:
                self._epoch_ms = time.time() * 1e3 - answer.published
            header = Header(self._time(answer.frame.stamp), FRAME_ID)
            if self._pictures and answer.frame.number != self._seen:
                self._seen = answer.frame.number
                for side, picture in answer.frame.inputs.items():
                    if picture.dtype == np.uint8:
                        self._add(PICTURES.format(side), _image(header, picture), answer.published)
            if answer.output is not None and answer.output.ndim == 2:
                self._add(DISPARITY, self._disparity(header, answer.output), answer.published)
            self._add(DIAGNOSTICS, self._diagnostics(answer), answer.published)

    def close(self) -> None:
        """Finish the file; may be called twice."""
        with self._guard:
            self._recording.close()

    def _add(self, topic: str, message: Message, instant: float) -> None:
        self._recording.add(topic, message, self._time(instant).nanoseconds)
        self.messages += 1

    def _time(self, instant: float) -> Time:
        assert self._epoch_ms is not None  # set with the first answer
        nanoseconds = int((self._epoch_ms + instant) * 1e6)
        return Time(nanoseconds // 1000000000, nanoseconds % 1000000000)

    def _disparity(self, header: Header, disparity: np.ndarray) -> DisparityImage:
        height, width = disparity.shape
        camera = None if self._geometry is None else self._geometry(height, width)
        values = np.ascontiguousarray(disparity, "<f4")
        image = Image(header, height, width, "32FC1", 0, 4 * width, values.tobytes())
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        focal, baseline = (0.0, 0.0) if camera is None else (camera.focal, camera.baseline)
        return DisparityImage(
            header, image, focal, baseline, RegionOfInterest(0, 0, height, width), low, high, 0.0
        )

    def _diagnostics(self, answer: Answer) -> DiagnosticArray:
        result = answer.result
        values = {
            "frame": answer.frame.number,
            "stage": answer.stage,
            "final": answer.final,
            "reason": result.reason,
            "age_ms": round(answer.age_ms, 3),
            "elapsed_ms": round(result.elapsed_ms, 3),
            "slack_ms": None if result.slack_ms is None else round(result.slack_ms, 3),
            "missed": result.missed,
        }
        if answer.output is not None and answer.output.ndim == 1:
            values["class"] = int(np.argmax(answer.output))
        status = DiagnosticStatus(
            WARN if result.missed else OK,
            f"edgekit: {self._name}",
            "late" if result.missed else "in time",
            "",
            tuple(KeyValue(key, str(value)) for key, value in values.items()),
        )
        return DiagnosticArray(Header(self._time(answer.published), ""), (status,))


def _image(header: Header, picture: np.ndarray) -> Image:
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    encoding = {1: "mono8", 3: "rgb8", 4: "rgba8"}[channels]
    height, width = picture.shape[:2]
    return Image(
        header, height, width, encoding, 0, channels * width, np.ascontiguousarray(picture).tobytes()
    )
