"""Ways to answer a camera: edgekit's stream, and the loops that people write, at its full network or at a fixed early stage."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from edgekit.runtime.clock import Clock
from edgekit.runtime.session import Session
from edgekit.runtime.stream import Answer, Frame, Seen, Source, Stream

Inputs = Mapping[str, np.ndarray]
# What a driver keeps for a reader that comes late: V4L2 under OpenCV has four buffers, and gives the oldest first.
DRIVER_BUFFERS = 4


@dataclass
class Slice:
    """Some seconds of one way.

    Attributes:
        ages: of every frame that was answered, ms from its being seen to its best answer; ``first_ages``: to its first.
        renewed: how old the newest answer had become when that of a newer frame came.
        behind: at every frame that came, how many frames back the newest answered one was.
        exits: frames by the stage of their best answer.
        cpu: cores that this process used.
        resident: bytes at the end.
    """

    ages: list[float] = field(default_factory=list)
    first_ages: list[float] = field(default_factory=list)
    renewed: list[float] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)
    exits: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    missed: int = 0
    dropped: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    resident: int | None = None
    pid: int = 0

    def to_json(self) -> dict[str, object]:
        """Every field."""
        return asdict(self)


Subject = Callable[[float], Slice]


class Playback(Source):
    """Recorded frames, again and again, to be played at a stream's rate."""

    name = "recorded frames"

    def __init__(self, frames: Sequence[Inputs]) -> None:
        self._frames = frames
        self._next = 0

    def open(self) -> None:
        """They are in memory."""

    def read(self) -> Seen:
        """The next one."""
        self._next += 1
        return Seen(self._frames[self._next % len(self._frames)])


def streamed(session: Session, frames: Sequence[Inputs], rate: float, budget_ms: float) -> Subject:
    """edgekit's stream."""

    def run(seconds: float) -> Slice:
        found = Slice()
        first: dict[int, float] = {}
        newest: list[Frame] = []

        def take(answer: Answer) -> None:
            number = answer.frame.number
            if number not in first:
                first.clear()
                first[number] = answer.age_ms
                found.first_ages.append(answer.age_ms)
                if newest:
                    found.renewed.append(answer.published - newest[-1].stamp)
                newest[:] = [answer.frame]
            if answer.final:
                found.ages.append(answer.age_ms)

        stream = Stream(session, Playback(frames), rate, budget_ms)
        stream.subscribe(take, keep=64)
        counts = stream.run(seconds)
        found.behind = list(Counter(counts.behind).elements())
        found.exits = dict(counts.exits)
        found.frames, found.missed, found.dropped = counts.captured, counts.missed, counts.dropped
        return found

    return run


class Camera:
    """A camera and its driver: a frame at every instant of the rate, of which the last ``buffers`` wait for a reader."""

    def __init__(self, frames: Sequence[Inputs], rate: float, buffers: int, clock: Clock) -> None:
        self.came: list[tuple[int, float]] = []
        self.dropped = 0
        self._frames = frames
        self._period = 1e3 / rate
        self._clock = clock
        self._waiting: deque[tuple[int, float, Inputs]] = deque(maxlen=buffers)
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="camera")

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()

    def read(self) -> tuple[int, float, Inputs]:
        """Wait for the oldest frame that nobody has read: its number, stamp and pictures."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            return self._waiting.popleft()

    def _run(self) -> None:
        due = self._clock.now()
        number = 0
        while not self._over:
            now = self._clock.now()
            if now < due:
                time.sleep((due - now) * 1e-3)
            number += 1
            with self._changed:
                stamp = self._clock.now()
                self.dropped += len(self._waiting) == self._waiting.maxlen
                self._waiting.append((number, stamp, self._frames[number % len(self._frames)]))
                self.came.append((number, stamp))
                self._changed.notify()
            due += self._period


def looped(
    session: Session, frames: Sequence[Inputs], rate: float, budget_ms: float, buffers: int
) -> Subject:
    """``while True: frame = camera.read(); answer(frame)``, with all stages that the session's policies let run."""

    def run(seconds: float) -> Slice:
        found = Slice()
        clock = session.clock
        exits: Counter[str] = Counter()
        answered: list[tuple[int, float, float]] = []
        with Camera(frames, rate, buffers, clock) as camera:
            until = clock.now() + seconds * 1e3
            while clock.now() < until:
                number, stamp, inputs = camera.read()
                result = session.infer(budget_ms=None, overrun="finish", reuse=False, **inputs)
                now = clock.now()
                found.ages.append(now - stamp)
                exits[result.stage or "none"] += 1
                if answered:
                    found.renewed.append(now - answered[-1][1])
                answered.append((number, stamp, now))
                found.missed += now - stamp > budget_ms
        found.first_ages = list(found.ages)
        found.exits = dict(exits)
        found.frames, found.dropped = len(camera.came), camera.dropped
        newest = 0
        for number, stamp in camera.came:
            while newest < len(answered) and answered[newest][2] <= stamp:
                newest += 1
            if newest:
                found.behind.append(number - answered[newest - 1][0])
        return found

    return run
