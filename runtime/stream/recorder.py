"""Keeps what a stream answered as an MCAP recording of ROS 2 messages, which Foxglove, PlotJuggler and `ros2 bag` open."""

import os
import threading
import time
from typing import Callable, Optional

import numpy as np

from edgekit.errors import InputError, OptionError
from edgekit.runtime.ros.conversion import diagnosis, disparity_image, picture_message, time_of
from edgekit.runtime.ros.mcap import Recording
from edgekit.runtime.ros.messages import Header, Message, Time
from edgekit.runtime.stereo.geometry import Geometry
from edgekit.runtime.stream.frame import Answer
from edgekit.runtime.stream.stream import Stream

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
        self._stream: Optional[Stream] = None

    def subscribe(self, stream: Stream, keep: int) -> None:
        """Record what ``stream`` answers; ``keep`` answers may wait for the disk."""
        self._stream = stream
        stream.subscribe(self, name="record", keep=keep)

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
                        shown = picture if picture.ndim == 2 else picture[..., :3]
                        self._add(PICTURES.format(side), picture_message(shown, header), answer)
            output = answer.output
            more = []
            if output is not None and output.ndim == 2:
                camera = None if self._geometry is None else self._geometry(*output.shape)
                focal, baseline = (0.0, 0.0) if camera is None else (camera.focal, camera.baseline)
                self._add(DISPARITY, disparity_image(output, header, focal, baseline), answer)
            elif output is not None and output.ndim == 1:
                more.append(("class", int(np.argmax(output))))
            assert self._stream is not None  # that answers came from
            here = Header(self._time(answer.published))
            name = f"edgekit: {self._name}"
            self._add(DIAGNOSTICS, diagnosis(name, answer, self._stream.counts(), here, more), answer)

    def close(self) -> None:
        """Finish the file; may be called twice."""
        with self._guard:
            self._recording.close()

    def _add(self, topic: str, message: Message, answer: Answer) -> None:
        self._recording.add(topic, message, self._time(answer.published).nanoseconds)
        self.messages += 1

    def _time(self, instant: float) -> Time:
        assert self._epoch_ms is not None  # set with the first answer
        return time_of((self._epoch_ms + instant) * 1e-3)
