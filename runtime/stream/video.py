"""Frames through OpenCV: cameras, videos, network streams and GStreamer pipelines; one, or two for a stereo pair."""

import os
import re
import threading
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.errors import InputError, OptionError
from edgekit.runtime.clock import Clock
from edgekit.runtime.stream.gstreamer import CaptureMode, check_pipeline, jetson_camera
from edgekit.runtime.stream.source import Seen, Source, SourceLost

LAYOUTS = ("side-by-side", "top-bottom")
# A driver's stamp is believed if it is at most so many ms old: those of other kinds count from something else.
BELIEVED = 1000.0
# How long a pipeline may take to start, in s: a Jetson's camera needs 2 or 3, and OpenCV 4.6 never returns from one of which an
# element is not installed.
PATIENCE_S = 15.0

OpenCapture = Callable[["Device", CaptureMode], Any]  # cv2.VideoCapture, which has no types


class Device(NamedTuple):
    """What OpenCV opens.

    Attributes:
        what: a camera's index, a path or address, or a GStreamer pipeline.
        kind: ``camera``, ``video``, ``address`` or ``pipeline``.
        name: for messages.
    """

    what: Union[int, str]
    kind: str
    name: str

    @property
    def live(self) -> bool:
        """Whether it waits for nobody."""
        return self.kind in ("camera", "address") or (
            self.kind == "pipeline" and "filesrc" not in str(self.what)
        )


def device_of(text: str, mode: CaptureMode) -> Device:
    """What a user called ``0``, ``/dev/video0``, ``csi:0``, ``rtsp://...``, ``recorded.mp4``, or a pipeline with ``!``.

    Raises:
        InputError: there is no such file, or the pipeline cannot be used.
    """
    if "!" in text:
        return Device(check_pipeline(text), "pipeline", "the GStreamer pipeline")
    csi = re.match(r"^csi:(\d+)$", text)
    if csi:
        return Device(jetson_camera(int(csi.group(1)), mode), "pipeline", f"camera {text}")
    if re.match(r"^\d+$", text):
        return Device(int(text), "camera", f"camera {text}")
    if text.startswith("/dev/"):
        return Device(text, "camera", f"camera {text}")
    if "://" in text:
        return Device(text, "address", re.sub(r"//[^@/]*@", "//", text))  # no password in messages
    if not os.path.isfile(text):
        raise InputError(
            f"--source {text}: there is no such file or folder, and it is no camera (0, /dev/video0, csi:0), address or pipeline"
        )
    return Device(text, "video", text)


class Video(Source):
    """One device, or two that see the same scene from the left and the right; all that OpenCV gives is made RGB.

    With one device and two inputs, each of its pictures holds both, left first: beside each other, or one above the other.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        inputs: Sequence[str],
        clock: Clock,
        layout: str = LAYOUTS[0],
        mode: CaptureMode = CaptureMode(),  # noqa: B008
        loop: bool = False,
        capture: Optional[OpenCapture] = None,
    ) -> None:
        """``capture`` opens a device; by default OpenCV does.

        Raises:
            OptionError: there is no such layout, or neither one device nor one for every input.
        """
        if layout not in LAYOUTS:
            raise OptionError(f"layout={layout!r}: must be one of {', '.join(LAYOUTS)}")
        if len(devices) not in (1, len(inputs)):
            raise OptionError(
                f"this network takes {' and '.join(inputs)}; give one source for each, or one for all"
            )
        self.name = " and ".join(device.name for device in devices)
        self.live = any(device.live for device in devices)
        self._devices = list(devices)
        self._inputs = list(inputs)
        self._clock = clock
        self._layout = layout
        self._mode = mode
        self._loop = loop and not self.live
        self._open_capture = capture or open_with_opencv
        self._captures: List[Any] = []
        self._read = 0

    def open(self) -> None:
        """See `Source.open`."""
        self.close()
        for device in self._devices:
            capture = self._open_capture(device, self._mode)
            self._captures.append(capture)
            if not capture.isOpened():
                self.close()
                raise InputError(_why_not(device))
        fps = float(self._captures[0].get(CAP_PROP_FPS))
        self.rate = fps if not self.live and 1.0 <= fps <= 1000.0 else None
        self._read = 0

    def read(self) -> Optional[Seen]:
        """See `Source.read`."""
        if not self._captures:
            if self.live:
                raise SourceLost(f"{self.name} is not open")
            return None
        # Both are told to take a picture before either is decoded, so that they see the same instant.
        grabbed = [capture.grab() for capture in self._captures]
        now = self._clock.now()
        pictures: List[np.ndarray] = []
        for device, capture, fine in zip(self._devices, self._captures, grabbed):
            picture = capture.retrieve()[1] if fine else None
            if picture is None:
                return self._at_end(device, any(grabbed) and len(grabbed) > 1)
            pictures.append(picture)
        self._read += 1
        if len(pictures) < len(self._inputs):
            pictures = list(_halves(pictures[0], self._layout))
        stamp = min(_stamp(capture, now) for capture in self._captures) if self.live else None
        return Seen({name: _rgb(picture) for name, picture in zip(self._inputs, pictures)}, stamp)

    def close(self) -> None:
        """See `Source.close`."""
        captures, self._captures = self._captures, []
        for capture in captures:
            capture.release()

    def _at_end(self, device: Device, one_sided: bool) -> Optional[Seen]:
        if self.live:
            raise SourceLost(f"{device.name} gives nothing any more after {self._read} frames")
        if one_sided:
            other = next(one.name for one in self._devices if one is not device)
            self.close()
            raise InputError(
                f"{device.name} ends after {self._read} frames, and {other} goes on; both must be of one length"
            )
        if not self._loop or self._read == 0:
            return None
        self.open()
        return self.read()


CAP_PROP_POS_MSEC, CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS, CAP_PROP_BUFFERSIZE = (
    0,
    3,
    4,
    5,
    38,
)


def open_with_opencv(device: Device, mode: CaptureMode) -> Any:
    """A ``cv2.VideoCapture`` of the device, opened or not.

    Raises:
        InputError: OpenCV is not installed, or cannot read GStreamer pipelines.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"{device.name} needs OpenCV ({error}): `sudo apt-get install python3-opencv`, or"
            " `pip install opencv-python-headless`; folders of PNG pictures need nothing"
        ) from error
    if device.kind == "pipeline":
        if re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is None:
            raise InputError(
                f"{device.name} needs an OpenCV with GStreamer, and this one ({cv2.__version__}) was built without, as pip's are;"
                " JetPack's and Ubuntu's python3-opencv have it"
            )
        return _within_patience(device, lambda: cv2.VideoCapture(device.what, cv2.CAP_GSTREAMER))
    capture = cv2.VideoCapture(device.what)
    if device.kind == "camera":
        wanted: Tuple[Tuple[int, Optional[float]], ...] = (
            (CAP_PROP_FRAME_WIDTH, mode.width),
            (CAP_PROP_FRAME_HEIGHT, mode.height),
            (CAP_PROP_FPS, mode.rate),
            (CAP_PROP_BUFFERSIZE, 1),  # an old picture is of no use
        )
        for key, value in wanted:
            if value is not None:
                capture.set(key, value)
    return capture


def _within_patience(device: Device, opened: Callable[[], Any]) -> Any:
    found: List[Any] = []
    thread = threading.Thread(target=lambda: found.append(opened()), name="edgekit-open", daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if not found:
        raise InputError(
            f"{device.name} does not start within {PATIENCE_S:g} s: is each of its elements installed (`gst-inspect-1.0 NAME`)?"
            " Try it with `gst-launch-1.0`, its appsink replaced by fakesink"
        )
    return found[0]


def _why_not(device: Device) -> str:
    advice = {
        "camera": "is it plugged in, free (`fuser -v /dev/video*`), and may this user read it (group video)?",
        "video": "OpenCV cannot read this kind of file",
        "address": "is it reachable from here, and does OpenCV have FFmpeg?",
        "pipeline": "try it with `gst-launch-1.0`, its appsink replaced by fakesink",
    }
    return f"{device.name} cannot be opened: {advice[device.kind]}"


def _stamp(capture: Any, now: float) -> float:
    """When the picture was taken: V4L2's drivers say it on the clock that Python's is, in ms."""
    taken = float(capture.get(CAP_PROP_POS_MSEC))
    return taken if 0.0 <= now - taken <= BELIEVED else now


def _halves(picture: np.ndarray, layout: str) -> Tuple[np.ndarray, np.ndarray]:
    axis = 1 if layout == "side-by-side" else 0
    side = picture.shape[axis]
    if side % 2:
        raise InputError(
            f"a picture of {picture.shape[1]} x {picture.shape[0]} px cannot hold two {layout}; give two sources, left and right"
        )
    first, second = np.split(picture, 2, axis)
    return first, second


def _rgb(picture: np.ndarray) -> np.ndarray:
    """OpenCV gives blue, green, red; grey stays grey."""
    if picture.ndim == 2 or picture.shape[2] == 1:
        return picture
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_BGR2RGB))
