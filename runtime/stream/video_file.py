"""Keeps what a stream answered as a video, which lasts as long as the stream did, however many frames were dropped."""

import os
from typing import Any, Callable, Optional, Sequence, Tuple

from edgekit.errors import InputError, OptionError
from edgekit.runtime.stream.drawing import drawn, fitted
from edgekit.runtime.stream.frame import Answer

# The codec that OpenCV's own builds have for each kind of file.
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".avi": "MJPG", ".mkv": "MJPG"}
# A camera that was away for long is not filled up with more than so many repeated pictures.
LONGEST_STILL = 300
USUAL = 30.0


class VideoFile:
    """A subscriber that writes every answer it gets; `close` finishes the file."""

    def __init__(
        self,
        path: str,
        rate: Callable[[], Optional[float]],
        largest: Optional[float] = None,
        classes: Sequence[str] = (),
    ) -> None:
        """``rate`` is asked at the first answer for the pictures a second; None: each answer is written once, to be seen at `USUAL`.

        Raises:
            OptionError: the extension is unknown.
            InputError: OpenCV is missing.
        """
        kind = os.path.splitext(path)[1].lower()
        if kind not in CODECS:
            raise OptionError(f"--save {path}: a video ends in {' or '.join(CODECS)}")
        try:
            import cv2
        except ImportError as error:
            raise InputError(
                f"{path} needs OpenCV ({error}): `sudo apt-get install python3-opencv`, or `pip install opencv-python-headless`"
            ) from error
        self.path = path
        self.written = 0
        self._cv2: Any = cv2
        self._codec = self._cv2.VideoWriter_fourcc(*CODECS[kind])
        self._rate = rate
        self._largest = largest
        self._classes = classes
        self._writer: Optional[Any] = None
        self._size: Optional[Tuple[int, int]] = None
        self._pace: Optional[float] = None
        self._first = 0.0

    def __call__(self, answer: Answer) -> None:
        """Write one answer.

        Raises:
            InputError: OpenCV cannot write this file.
        """
        picture = drawn(answer, self._largest, self._classes)
        if self._size is None:
            self._size = picture.shape[0], picture.shape[1]
            self._first = answer.frame.stamp
            self._pace = self._rate()
            self._writer = self._cv2.VideoWriter(
                self.path, self._codec, self._pace or USUAL, self._size[::-1]
            )
        assert self._writer is not None
        if not self._writer.isOpened():
            raise InputError(f"{self.path} cannot be written by this OpenCV; try .avi")
        due = self.written
        if self._pace is not None:
            due = round((answer.frame.stamp - self._first) * 1e-3 * self._pace)
        due = min(due, self.written + LONGEST_STILL)
        bgr = self._cv2.cvtColor(fitted(picture, *self._size), self._cv2.COLOR_RGB2BGR)
        while self.written <= due:
            self._writer.write(bgr)
            self.written += 1

    def close(self) -> None:
        """Finish the file; what was written before can be played."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.release()
