"""A source and an answerer whose times are told beforehand, on a clock that jumps when everybody waits."""

import threading
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from edgekit.runtime.result import Result
from edgekit.runtime.stream import Answer, Answerer, Seen, Source, SourceLost, Stream
from edgekit.runtime.stream.answering import Tell
from tests.runtime.virtual import JumpingClock

PICTURE = np.zeros((4, 6, 3), np.uint8)


def result(stage: str, reason: str = "partial", **more: object) -> Result:
    """An answer that holds the stage's number."""
    output = np.full((4, 6), float(stage[len("stage") :]), np.float32)
    known: Dict[str, object] = {
        "output": output, "exits": {}, "stage": stage, "elapsed_ms": 0.0, "slack_ms": None, "missed": False, "reason": reason,
        "stage_ms": {}, "predicted_ms": {}, "preprocess_ms": 0.0, "budget_ms": None, "started": 0.0, "begun_ms": {},
    }  # fmt: skip
    return Result(**dict(known, **more))  # type: ignore[arg-type]


class Camera(Source):
    """Live: gives a frame every ``period`` ms, or at the given instants; ``gone`` are times at which it is not there.

    Reading while it is gone says so at once, as a driver does.
    """

    live = True
    name = "camera"

    def __init__(
        self,
        clock: JumpingClock,
        frames: int,
        period: float = 100.0,
        gone: Sequence[Tuple[float, float]] = (),
        stamps: Optional[Callable[[int, float], Optional[float]]] = None,
        picture: Callable[[int], np.ndarray] = lambda number: PICTURE,
    ) -> None:
        self.clock = clock
        self.frames = frames
        self.period = period
        self.gone = gone
        self.stamps = stamps or (lambda number, now: None)
        self.picture = picture
        self.opened: List[float] = []
        self.closed = 0
        self.read_so_far = 0
        self.changed = threading.Condition()

    def open(self) -> None:
        self.opened.append(self.clock.now())
        self._check()

    def read(self) -> Optional[Seen]:
        if self.read_so_far == self.frames:
            return None
        until = self.clock.now() + self.period
        with self.changed:
            while self.clock.now() < until:
                self.clock.wait(self.changed, until)
        self._check()
        self.read_so_far += 1
        stamp = self.stamps(self.read_so_far, self.clock.now())
        return Seen({"image": self.picture(self.read_so_far)}, stamp)

    def close(self) -> None:
        self.closed += 1

    def _check(self) -> None:
        if any(begin <= self.clock.now() < end for begin, end in self.gone):
            raise SourceLost("camera is not there")


class Recording(Source):
    """As many frames as are asked for, there at once."""

    name = "recording"

    def __init__(self, frames: int, rate: Optional[float] = None) -> None:
        self.left = frames
        self.rate = rate

    def open(self) -> None:
        pass

    def read(self) -> Optional[Seen]:
        self.left -= 1
        return Seen({"image": PICTURE}) if self.left >= 0 else None


class Steps(Answerer):
    """Reaches its exits after the given ms each; ``announce``: each but the last says that a better one comes."""

    exits = ("stage1", "stage2")

    def __init__(self, clock: JumpingClock, durations: Sequence[float], announce: bool = True) -> None:
        self.clock = clock
        self.durations = durations
        self.announce = announce
        self.failing: Dict[int, Exception] = {}
        self.deadlines: List[Optional[float]] = []
        self.begun: List[float] = []
        self.stopped = False
        self.changed = threading.Condition()

    def answer(self, inputs: Mapping[str, np.ndarray], deadline: Optional[float], tell: Tell) -> Result:
        self.begun.append(self.clock.now())
        self.deadlines.append(deadline)
        if len(self.begun) in self.failing:
            raise self.failing[len(self.begun)]
        reached = result("stage1")
        for number, duration in enumerate(self.durations, 1):
            self._take(duration)
            if self.stopped:
                return reached._replace(reason="cancelled")
            last = number == len(self.durations)
            reached = result(f"stage{number}", "final" if last or not self.announce else "partial")
            tell(reached)
        return reached

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.clock.notify_all(self.changed)

    def _take(self, duration: float) -> None:
        until = self.clock.now() + duration
        with self.changed:
            while self.clock.now() < until and not self.stopped:
                self.clock.wait(self.changed, until)


class Listener:
    """Keeps what it is told, with the instant."""

    def __init__(self, clock: JumpingClock) -> None:
        self.clock = clock
        self.heard: List[Tuple[float, Answer]] = []

    def __call__(self, answer: Answer) -> None:
        self.heard.append((self.clock.now(), answer))

    @property
    def lines(self) -> List[Tuple[float, int, Optional[str], bool]]:
        """Instant, frame, stage and whether it is final."""
        return [(now, answer.frame.number, answer.stage, answer.final) for now, answer in self.heard]


def finish(stream: Stream) -> None:
    """Run a stream to the end of its source."""
    with stream:
        stream.wait()
