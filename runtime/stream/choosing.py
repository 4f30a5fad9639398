"""From what a user typed after ``--source`` to a source of frames."""

import os
from typing import Optional, Sequence

from edgekit.errors import InputError
from edgekit.runtime.clock import Clock
from edgekit.runtime.stream.folders import KINDS, pictures_of
from edgekit.runtime.stream.gstreamer import CaptureMode
from edgekit.runtime.stream.source import Source
from edgekit.runtime.stream.video import LAYOUTS, Video, device_of


def source_of(
    places: Sequence[str],
    inputs: Sequence[str],
    clock: Optional[Clock] = None,
    layout: str = LAYOUTS[0],
    mode: CaptureMode = CaptureMode(),  # noqa: B008
    loop: bool = False,
) -> Source:
    """The source that these places are, for a network of these inputs.

    Args:
        places: one, or one for every input: a folder of pictures, a picture, a video, a camera (``0``, ``/dev/video0``), a
            Jetson's own camera (``csi:0``), an address (``rtsp://...``) or a GStreamer pipeline.
        inputs: ``left`` and ``right``, or ``image``.
        clock: the stream's, for stamps.
        layout: how one picture holds two: ``side-by-side`` or ``top-bottom``.
        mode: size and rate that a camera is asked for.
        loop: a recording begins again at its end.

    Raises:
        InputError: there is no such place.
        OptionError: the layout is unknown, or there are too many places.
    """
    if not places:
        raise InputError("no source was given")
    still = [os.path.isdir(place) or os.path.splitext(place)[1].lower() in KINDS for place in places]
    if all(still) and mode != CaptureMode():
        raise InputError(
            f"--capture has no meaning for pictures, such as {places[0]}; it asks a camera for its size and rate"
        )
    if all(still):
        return pictures_of(places, inputs, loop)
    if any(still):
        raise InputError(
            f"--source {' '.join(places)}: pictures on one side and video on the other cannot be paired"
        )
    devices = [device_of(place, mode) for place in places]
    own = [
        one.name for one, place in zip(devices, places) if one.kind in ("video", "address") or "!" in place
    ]
    if own and mode != CaptureMode():
        raise InputError(
            f"--capture has no meaning for {own[0]}, which says its size and rate itself; it asks a camera"
        )
    return Video(devices, inputs, clock or Clock(), layout, mode, loop)
