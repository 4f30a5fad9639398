"""A window that shows what a stream answers, where there is a display."""

import os
import re
import sys
from typing import Any, Optional, Sequence

import numpy as np

from edgekit.errors import OptionError
from edgekit.runtime.stream.drawing import drawn
from edgekit.runtime.stream.frame import Answer

NAME = "edgekit"
ESCAPE = 27


def check_display() -> None:
    """That a window can be opened here, before anything slow is done.

    Raises:
        OptionError: it cannot; the message says what to do instead.
    """
    advice = "; save a video instead (--save out.mp4)"
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise OptionError(
            "--display: there is no display here (DISPLAY is not set); over ssh, `ssh -X` brings one along"
            + advice
        )
    try:
        import cv2
    except ImportError as error:
        raise OptionError(
            f"--display needs OpenCV ({error}): `sudo apt-get install python3-opencv`{advice}"
        ) from error
    if re.search(r"GUI:\s+(NONE|NO)\b", cv2.getBuildInformation()):
        raise OptionError(
            "--display: this OpenCV is the headless one, which opens no window; `pip install opencv-python` in its place"
            + advice
        )


class Window:
    """Opened with the first picture. To be used from one thread, the main one."""

    def __init__(self, largest: Optional[float] = None, classes: Sequence[str] = ()) -> None:
        import cv2

        self._cv2: Any = cv2
        self._largest = largest
        self._classes = classes

    def show(self, answer: Answer) -> None:
        """Show an answer.

        Raises:
            OptionError: the window cannot be opened.
        """
        try:
            self._cv2.imshow(
                NAME, np.ascontiguousarray(drawn(answer, self._largest, self._classes)[..., ::-1])
            )
        except self._cv2.error as error:
            raise OptionError(
                f"--display: no window can be opened here ({str(error).splitlines()[0]})"
            ) from error

    def closed(self) -> bool:
        """Whether q, Escape or the window's cross was pressed; also lets the window draw itself."""
        key = self._cv2.waitKey(1) & 0xFF
        return key in (ESCAPE, ord("q"))

    def close(self) -> None:
        """Close it."""
        self._cv2.destroyAllWindows()
