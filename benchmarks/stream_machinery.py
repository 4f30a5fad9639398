"""What a stream itself costs a frame, with nothing to capture and nothing to compute: python -m benchmarks.stream_machinery; Python 3.6 or newer."""
# ruff: noqa: UP006, UP035, UP045

import json
import platform
import sys
import time
from typing import Dict, List, Mapping, Optional

import numpy as np

from edgekit.runtime.clock import Clock
from edgekit.runtime.result import Result
from edgekit.runtime.stream import Answer, Answerer, Seen, Source, Stream
from edgekit.runtime.stream.answering import Tell

RATE = 60.0
SECONDS = 8.0
STAGES = ("stage1", "stage2", "stage3", "stage4")


class Still(Source):
    """The same two pictures for ever, at the rate."""

    name = "still"

    def __init__(self) -> None:
        self._seen = Seen({side: np.zeros((368, 1232, 3), np.uint8) for side in ("left", "right")})

    def open(self) -> None:
        """Nothing to open."""

    def read(self) -> Optional[Seen]:
        """The pictures."""
        return self._seen


class Nothing(Answerer):
    """Reaches all of its exits in no time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.begun: List[float] = []
        output = np.zeros((368, 1232), np.float32)
        self._results = [
            Result(
                output,
                {},
                stage,
                0.0,
                33.0,
                False,
                "final" if stage == STAGES[-1] else "partial",
                {},
                {},
                0.0,
                33.0,
                0.0,
                {},
            )
            for stage in STAGES
        ]

    def answer(self, inputs: Mapping[str, np.ndarray], deadline: Optional[float], tell: Tell) -> Result:
        """Tell every exit."""
        self.begun.append(self.clock.now())
        for result in self._results:
            tell(result)
        return self._results[-1]

    def stop(self) -> None:
        """Nothing runs."""


def measure(seconds: float) -> Dict[str, object]:
    """CPU ms a frame of all the stream's threads, and the ms from a frame's arrival to its being begun and to its last answer's
    being in a subscriber's hands; with two subscribers, four exits."""
    answerer = Nothing()
    clock = answerer.clock
    begun: List[float] = []
    handed: List[float] = []

    def take(answer: Answer) -> None:
        if answer.final:
            handed.append(clock.now() - answer.frame.arrived)
            begun.append(answerer.begun[-1] - answer.frame.arrived)

    stream = Stream(answerer, Still(), rate=RATE, budget_ms=33.0)
    stream.subscribe(take, name="timed")
    stream.subscribe(lambda answer: None, name="other")
    stream.start()
    stream.wait(clock.now() + 500.0)
    del begun[:], handed[:]
    frames, used, since = stream.counts().captured, time.process_time(), clock.now()
    stream.wait(clock.now() + seconds * 1e3)
    used, frames = time.process_time() - used, stream.counts().captured - frames
    took = (clock.now() - since) * 1e-3
    stream.stop()
    return {
        "python": platform.python_version(),
        "clock": "CPU: time.process_time over all threads; latency: time.perf_counter",
        "frames": frames,
        "rate": frames / took,
        "cpu_ms_per_frame": used * 1e3 / frames,
        "arrival_to_begin_ms": quantiles(begun),
        "arrival_to_subscriber_ms": quantiles(handed),
    }


def quantiles(values: List[float]) -> Dict[str, float]:
    """Median, 99th percentile and largest."""
    return {
        "p50": float(np.percentile(values, 50)),
        "p99": float(np.percentile(values, 99)),
        "max": max(values),
    }


if __name__ == "__main__":
    json.dump(measure(SECONDS), sys.stdout, indent=1)
    sys.stdout.write("\n")
