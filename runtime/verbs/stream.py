"""`edgekit run --source`: answer a camera or a recording frame by frame within a budget; show it, keep it, and sum it up."""

import argparse
import signal
import threading
from contextlib import ExitStack, contextmanager
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from edgekit.bundle import Bundle, Manifest
from edgekit.errors import BackendError, EdgekitError
from edgekit.runtime.report import print_json, say, warn
from edgekit.runtime.stream import Answer, Stream
from edgekit.runtime.stream.display import Window, check_display
from edgekit.runtime.stream.video_file import VideoFile
from edgekit.runtime.verbs.depth_options import DepthWriter
from edgekit.runtime.verbs.options import check_folder
from edgekit.runtime.verbs.sessions import open_session
from edgekit.runtime.verbs.stream_options import open_source, videos_to_save
from edgekit.runtime.verbs.stream_report import LiveLine, document, lines

# How often the main thread looks at the window and at the time, ms.
LOOK = 20.0
# Answers that may wait for a disk.
KEPT = 64


class Sinks:
    """Where a stream's answers go, besides the summary."""

    def __init__(self, args: argparse.Namespace, manifest: Manifest, depth: DepthWriter) -> None:
        """Check everything that can be checked before the bundle is loaded.

        Raises:
            OptionError, InputError: a file cannot be written, or there is no display.
        """
        classes = manifest.options.get("classes")
        self.classes: List[str] = (
            [str(name) for name in classes] if isinstance(classes, (list, tuple)) else []
        )
        self._args = args
        self._manifest = manifest
        self._depth = depth
        self._videos = videos_to_save(args)
        depth.check_names()
        self._written: Dict[str, str] = {}
        self._files: List[VideoFile] = []
        self._closing: List[Callable[[], object]] = []
        for option, path in [("--save", path) for path in self._videos] + [("--record", args.record)]:
            check_folder(option, path)
        if args.display:
            check_display()
        if args.record:
            from edgekit.runtime.stream.recorder import Recorder

            self._recorder: Optional[Recorder] = Recorder(
                args.record, manifest.name, depth.geometry if depth.known else None
            )
            self._closing.append(self._recorder.close)
        else:
            self._recorder = None

    def subscribe(self, stream: Stream) -> None:
        """Let the files have what they keep."""
        for number, path in enumerate(self._videos):
            video = VideoFile(path, lambda: stream.rate, self._args.max_disparity, self.classes)
            self._files.append(video)
            self._closing.append(video.close)
            stream.subscribe(video, name=f"save{number + 1}", keep=KEPT, final_only=True)
        if self._recorder is not None:
            self._recorder.subscribe(stream, KEPT)
        if self._depth.every_frame:
            stream.subscribe(self._save_depth, name="depth", keep=KEPT, final_only=True)

    def close(self, latest: Optional[Answer]) -> Dict[str, str]:
        """Finish the files; what each holds, by its path."""
        if latest is not None and self._depth.wanted and not self._depth.every_frame:
            self._save_depth(latest)
        self.finish()
        self._written.update({one.path: f"{one.written} pictures" for one in self._files if one.written})
        if self._recorder is not None:
            self._written[self._recorder.path] = f"{self._recorder.messages} messages"
        return self._written

    def finish(self) -> None:
        """Make of every file what can be read, whatever has happened."""
        closing, self._closing = self._closing, []
        for close in closing:
            close()

    def _save_depth(self, answer: Answer) -> None:
        assert answer.output is not None
        left = answer.frame.inputs["left"]
        written = self._depth.write(answer.output, left, answer.frame.number)
        if not self._depth.every_frame:
            self._written.update(written)
        else:
            for path in (self._args.save_depth, self._args.save_points):
                if path:
                    self._written[path] = "one a frame"


def run(args: argparse.Namespace, bundle: Bundle) -> int:
    """Stream until the source ends, the time is up, or Ctrl-C or SIGTERM, which are the usual end of a camera's stream."""
    manifest = bundle.manifest if args.network is None else bundle.manifest.only(args.network)
    depth = DepthWriter(args, manifest)
    with ExitStack() as stack:
        sinks = Sinks(args, manifest, depth)
        stack.callback(sinks.finish)
        policies = () if args.no_early_exit else None
        session = stack.enter_context(open_session(args, bundle.path, None, policies, args.network))
        source = open_source(args, manifest, session.clock, depth)
        told: List[LiveLine] = []

        def trouble(text: str) -> None:
            told[0].warn(text) if told else warn(f"edgekit: {text}")

        stream = Stream(session, source, args.rate, args.budget_ms, trouble, args.frames)
        stack.callback(stream.stop)
        sinks.subscribe(stream)
        stream.start()
        told.append(LiveLine(stream))
        ended = watch(stream, told[0], args, sinks.classes)
        stream.stop()
        told[0].end()
        written = sinks.close(stream.latest())
    counts = stream.counts()
    if not counts.answered:
        why = f": {counts.trouble}" if counts.trouble else ""
        raise (EdgekitError if counts.failed else BackendError)(
            f"no frame of {source.name} was answered{why}"
        )
    if args.json:
        fixed = {
            "bundle": bundle.path,
            "source": source.name,
            "rate": args.rate,
            "budget_ms": args.budget_ms,
            "ended": ended,
        }
        print_json(dict(document(counts), written=written, **fixed))
    else:
        say(lines(counts, args.budget_ms, written, ended))
    return 0


def watch(stream: Stream, line: LiveLine, args: argparse.Namespace, classes: Sequence[str]) -> str:
    """Wait for the end, showing what comes; why it ended."""
    clock = stream.clock
    until = None if args.seconds is None else clock.now() + args.seconds * 1e3
    window = Window(args.max_disparity, classes) if args.display else None
    shown: Optional[Answer] = None
    try:
        with _ended_by_sigterm():
            while not stream.wait(clock.now() + LOOK if until is None else min(clock.now() + LOOK, until)):
                now = clock.now()
                line.at(now)
                if until is not None and now >= until:
                    return f"{args.seconds:g} s were asked for"
                if window is not None:
                    newest = stream.latest()
                    if newest is not None and newest is not shown:
                        window.show(newest)
                        shown = newest
                    if window.closed():
                        return "the window was closed"
    except KeyboardInterrupt as stopped:
        return f"stopped by {stopped}" if stopped.args else "stopped by Ctrl-C"
    finally:
        if window is not None:
            window.close()
    return "the source ended" if args.frames is None else f"{args.frames} frames were asked for"


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, with which systemd, docker and launch files end a robot's programs, end a block as Ctrl-C does."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt("SIGTERM")

    if (
        threading.current_thread() is not threading.main_thread()
    ):  # who calls this from another one sees to signals himself
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
