"""Measuring frames: as fast as they go, and at the pace of a camera; on a clock that tests replace."""

import math
import time
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from edgekit.runtime.clock import Clock
from edgekit.runtime.statistics import Summary, summarize


class Frame(NamedTuple):
    """What one frame took, in ms.

    Attributes:
        stage_ms: every stage that ran, in order: one graph's execution.
        exit_ms: every exit by its stage: from the call until the answer was there, preprocessing included.
    """

    stage_ms: Mapping[str, float]
    exit_ms: Mapping[str, float]

    @property
    def total_ms(self) -> float:
        """Until the last exit."""
        return max(self.exit_ms.values())


class Paced(NamedTuple):
    """Frames that came at a fixed rate; a frame that came while two others waited was dropped, as cameras do.

    Attributes:
        rate: frames a second that came.
        frames: those that were answered.
        latency_ms: of each, from its arrival to its answer, so time spent waiting for the frame before counts.
        late: how many were answered only after the next one had come.
        dropped: how many were never looked at.
    """

    rate: float
    frames: Tuple[Frame, ...]
    latency_ms: Tuple[float, ...]
    late: int
    dropped: int


def run_tight(
    frame: Callable[[], Frame], warmup: int, runs: int, progress: Callable[[int], None] = lambda done: None
) -> List[Frame]:
    """``runs`` frames one right after the other, after ``warmup`` that are not counted."""
    for _ in range(warmup):
        frame()
    frames = []
    for done in range(runs):
        frames.append(frame())
        progress(done + 1)
    return frames


def run_paced(
    frame: Callable[[], Frame],
    rate: float,
    count: int,
    clock: Optional[Clock] = None,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[int], None] = lambda done: None,
) -> Paced:
    """Answer ``count`` frames of a camera that delivers ``rate`` a second; always the newest one that is there.

    Args:
        frame: answers one frame.
        rate: frames a second.
        count: how many to answer.
        clock: where time comes from.
        sleep: waits for seconds, so that the processor idles between frames as it will on the robot.
        progress: told how many are done.
    """
    clock = clock or Clock()
    period = 1e3 / rate
    frames: List[Frame] = []
    latencies: List[float] = []
    dropped, number, begin = 0, 0, clock.now()
    while len(frames) < count:
        arrival = begin + number * period
        wait = arrival - clock.now()
        if wait > 0.0:
            sleep(wait * 1e-3)
        frames.append(frame())
        finished = clock.now()
        latencies.append(finished - arrival)
        newest = max(number + 1, math.floor((finished - begin) / period))
        dropped += newest - number - 1
        number = newest
        progress(len(frames))
    late = sum(latency > period for latency in latencies)
    return Paced(rate, tuple(frames), tuple(latencies), late, dropped)


def stage_summaries(frames: Sequence[Frame]) -> Dict[str, Summary]:
    """Per stage: its own execution."""
    return {name: summarize([frame.stage_ms[name] for frame in frames]) for name in frames[0].stage_ms}


def exit_summaries(frames: Sequence[Frame]) -> Dict[str, Summary]:
    """Per exit, end to end: from the call until its answer."""
    return {name: summarize([frame.exit_ms[name] for frame in frames]) for name in frames[0].exit_ms}


def model_summaries(frames: Sequence[Frame], networks: Mapping[str, str] = {}) -> Dict[str, Summary]:
    """Per exit, the model alone: every stage up to it, summed within each frame.

    ``networks`` says which one each stage is of, where there are several: only those of the exit's own count.
    """
    order = list(frames[0].stage_ms)
    found = {}
    for name in frames[0].exit_ms:
        up_to = order[: order.index(name) + 1]
        own = [stage for stage in up_to if networks.get(stage) == networks.get(name)]
        found[name] = summarize([sum(frame.stage_ms[stage] for stage in own) for frame in frames])
    return found
