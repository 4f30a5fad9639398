"""The options of `edgekit run --source`, and which of the others mean nothing there."""

import argparse
import os
from typing import List, Sequence

from edgekit.bundle import Manifest
from edgekit.errors import OptionError
from edgekit.runtime.clock import Clock
from edgekit.runtime.stereo import Rectified
from edgekit.runtime.stream import Source, source_of
from edgekit.runtime.stream.gstreamer import CaptureMode, read_mode
from edgekit.runtime.stream.video import LAYOUTS
from edgekit.runtime.verbs.depth_options import DepthWriter
from edgekit.runtime.verbs.options import positive, positive_whole

VIDEOS = (".mp4", ".m4v", ".avi", ".mkv")
# What belongs to one picture, and what to a stream.
SINGLE = (
    "left", "right", "image", "stage", "every_exit", "save_npy", "save_pfm", "ground_truth", "trace", "allow_nonfinite",
)  # fmt: skip
STREAM = ("rate", "layout", "capture", "loop", "frames", "seconds", "display", "record")


def add_stream_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--source`` and what goes with it."""
    parser.add_argument(
        "--source",
        nargs="+",
        metavar="PLACE",
        help="answer frame after frame of: a folder of pictures, a video, a camera (0, /dev/video0; csi:0 on a Jetson), an"
        " address (rtsp://...), a GStreamer pipeline; one place, or the left and the right one",
    )
    parser.add_argument(
        "--rate", type=positive, metavar="HZ", help="frames a second; by default the source's own"
    )
    parser.add_argument("--layout", choices=LAYOUTS, help="how one picture holds the left and the right one")
    parser.add_argument(
        "--capture", metavar="WxH@HZ", help="ask the camera for this size and rate, such as 1280x720@30"
    )
    parser.add_argument("--loop", action="store_true", help="begin again at the end of a recording")
    parser.add_argument("--frames", type=positive_whole, metavar="N", help="end after N frames")
    parser.add_argument("--seconds", type=positive, metavar="S", help="end after S seconds")
    parser.add_argument("--display", action="store_true", help="show the answers in a window; q closes it")
    parser.add_argument(
        "--record", metavar="FILE", help="keep answers and diagnostics in an .mcap file, as ROS 2 messages"
    )


def check_stream_options(args: argparse.Namespace) -> None:
    """Refuse what belongs to one picture beside ``--source``, and the other way round.

    Raises:
        OptionError: the first option that means nothing here.
    """
    names: Sequence[str] = SINGLE if args.source else STREAM
    other = "a stream (--source)" if args.source else "one picture; name a stream with --source"
    for name in names:
        if getattr(args, name):
            raise OptionError(f"--{name.replace('_', '-')} has no meaning for {other}")


def videos_to_save(args: argparse.Namespace) -> List[str]:
    """The videos that ``--save`` names.

    Raises:
        OptionError: one is no video.
    """
    for path in args.save:
        if os.path.splitext(path)[1].lower() not in VIDEOS:
            raise OptionError(
                f"--save {path}: of a stream, give a video ({', '.join(VIDEOS)}); --save-depth depth_%06d.npy writes a file a frame"
            )
    return list(args.save)


def open_source(args: argparse.Namespace, manifest: Manifest, clock: Clock, depth: DepthWriter) -> Source:
    """The source that was named, rectified if a calibration was.

    Raises:
        InputError, OptionError: it cannot be.
    """
    source = source_of(
        args.source,
        [spec.name for spec in manifest.inputs],
        clock,
        args.layout or LAYOUTS[0],
        CaptureMode() if args.capture is None else read_mode(args.capture),
        args.loop,
    )
    return source if depth.calibration is None else Rectified(source, depth.calibration)
