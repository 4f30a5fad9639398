"""Frames within budgets on a real session: what was late, and what an oracle would have had of the same frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.neighbour import Neighbour, cores
from benchmarks.scheduler_away import LONG_MS, Away, Noted, Watch, counts
from edgekit.runtime.device.system import others_busy, read_busy
from edgekit.runtime.intervals import wilson
from edgekit.runtime.result import Result
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.recording import Recorder, Recording
from edgekit.runtime.simulation.simulate import possible_exits
from edgekit.runtime.simulation.workload import recorded

# Every so many frames, one without a budget: what all stages take just now, and when each exit would have been there.
REFERENCE_EVERY = 10
RATE = 30.0  # frames a second, as a camera's; one that is overtaken by the next is dropped
FLOOR_MS = 15.0  # how long the thread sleeps that shows how late any thread is woken here
SWITCH_S = 2.0
CONDITIONS: Mapping[str, tuple[int, float | None]] = {
    "quiet": (0, None),
    "a neighbour on one core": (1, None),
    "a neighbour on every core": (cores(), None),
    "a neighbour switching on and off on every core": (cores(), SWITCH_S),
}


@dataclass(frozen=True)
class LiveCell:
    """One budget under one condition.

    Attributes:
        priority: of the session's threads, and of its caller's while he waits.
        overhead_ms: what a frame with one exit takes besides its inputs and stages: handing it over, deciding, making the answer,
            waking the caller; the median of the frames in time of which no stage was cut. No oracle could do without.
        frames: with the budget; ``answerable``: those whose inputs, first exit and overhead fit into it, at the pace they had.
        late: of these, answered late or not at all; ``interval`` holds the true share with 95 % confidence.
        mean_exit: number of the exit answered with; 0 for none.
        of_oracle: exits reached in time, in shares of those that the durations allow; a stage that was skipped counts with
            its last known duration at the frame's pace, so this is an estimate.
        accuracy_of_oracle: the same of the exits' accuracies; None where nobody knows them.
        overshoot_p99_ms, overshoot_max_ms: how long after the deadline answers came.
        goodput: answers in time per second spent on them.
        quality: the best exit's share that was there, averaged from call to deadline.
        rivals: share of late answers of each fixed exit, from the frames without a budget.
        others: CPUs that other processes used meanwhile, the neighbour included; None if unknown.
        between_ms: what passes between the end of a stage and the beginning of the next one, in the median.
        without: of those that are late, those that had no answer at all.
        noted: frames that came after their deadline, or during which the machine was away; the latter count as all others do.
    """

    condition: str
    overrun: str
    priority: str
    budget_ms: float
    overhead_ms: float
    frames: int
    answerable: int
    late: int
    interval: tuple[float, float]
    mean_exit: float
    of_oracle: float
    accuracy_of_oracle: float | None
    overshoot_p99_ms: float
    overshoot_max_ms: float
    goodput: float
    quality: float
    rivals: Mapping[str, float]
    others: float | None
    between_ms: float = 0.0
    without: int = 0
    noted: tuple[Noted, ...] = ()

    @property
    def late_away(self) -> int:
        """Late frames of which the machine was away for as long as they were late."""
        return sum(one.late and one.away.machine_ms > max(one.over_ms, LONG_MS) for one in self.noted)

    @property
    def overshoot_here_ms(self) -> float:
        """The worst overshoot of those during which the machine was not away."""
        return max((one.over_ms for one in self.noted if not one.away.machine_ms), default=0.0)

    @property
    def late_share(self) -> float:
        """Of the answerable frames."""
        return self.late / self.answerable if self.answerable else 0.0

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {**asdict(self), "late_share": self.late_share}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> LiveCell:
        """What `to_json` gave."""
        given = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        return cls(**{**given, "noted": tuple(Noted.from_json(one) for one in document.get("noted", ()))})


def measure(
    bundle: Path,
    threads: int,
    condition: str,
    overrun: str,
    priority: str,
    budget_ms: float,
    frames: int,
    accuracies: Sequence[float] | None = None,
) -> tuple[LiveCell, Recording]:
    """Answer ``frames`` frames that come at `RATE`, in a session of their own; ``accuracies`` are the exits'."""
    busy, period = CONDITIONS[condition]
    with Session.open(bundle, threads=threads, warmup=0, priority=priority) as session:
        inputs = session.golden()[0]
        for _ in range(20):  # within budgets, so that it is known how late callers are woken
            session.infer(budget_ms=1e4, overrun="return", reuse=False, **inputs)
        recorder = Recorder(session)
        exits = [stage.name for stage in session.stages if stage.exit is not None]
        elapsed, numbers, missed, quality, overheads = [], [], [], [], []
        spans, results, watch = [], [], Watch()
        reference: dict[str, list[float]] = {name: [] for name in exits}
        with watch, Neighbour(busy, period):
            camera, before = Camera(RATE), read_busy()
            for number in range(frames):
                if number % REFERENCE_EVERY == 0:
                    camera.next()
                    for result in session.anytime(budget_ms=None, **inputs):
                        reference[str(result.stage)].append(result.elapsed_ms)
                camera.next()
                at_first = counts()
                called = time.perf_counter()
                result = session.infer(budget_ms=budget_ms, overrun=overrun, reuse=False, **inputs)
                # As the caller sees it, until he runs again
                elapsed.append((time.perf_counter() - called) * 1e3)
                spans.append((called * 1e3, called * 1e3 + elapsed[-1], at_first, counts()))
                results.append(result._replace(output=None, exits={}))
                numbers.append(0 if result.stage is None else exits.index(result.stage) + 1)
                missed.append(result.missed or elapsed[-1] > budget_ms)
                begun = sum(decision.run for _, decision in result.decisions)
                if not result.missed and begun == len(result.stage_ms):  # nothing was cut
                    spent = result.elapsed_ms - result.preprocess_ms - sum(result.stage_ms.values())
                    overheads.append((len(result.stage_ms), spent))
                there = [result.begun_ms[name] + result.stage_ms[name] for name in result.exits]
                quality.append(sum(max(budget_ms - at, 0.0) for at in there) / budget_ms / len(exits))
            others = others_busy(before, read_busy())
            # So that a stage that was cancelled in the last frame is over, and in the recording
            session.infer(budget_ms=None, overrun="return", reuse=False, **inputs)
        recording = recorder.recording(
            {"condition": condition, "budget_ms": budget_ms, "overrun": overrun, "priority": priority}
        )
    order = [k for k, frame in enumerate(recording.frames) if frame.budget_ms is not None]
    # One that never began ends before the one that it waited for
    order.sort(key=lambda k: recording.frames[k].started)
    between = time_between(recording)
    overhead = (
        float(np.median([spent - (ran - 1) * between for ran, spent in overheads])) if overheads else 0.0
    )
    work = recorded(recording, None, 1.0, 0)
    work.durations[:, 1:] += between  # before every stage but the first
    allowed = possible_exits(work, budget_ms - overhead)[order]
    late, exit_number = np.array(missed), np.array(numbers)
    best = np.maximum(allowed, np.where(late, 0, exit_number))  # what was reached in time was possible
    answerable = best > 0
    reached = np.where(late, 0, exit_number)
    accuracy_of_oracle = None
    if accuracies is not None:
        of_exit = np.array([0.0, *accuracies])
        accuracy_of_oracle = float(of_exit[reached].sum() / max(of_exit[best].sum(), 1e-9))
    over = np.maximum(np.array(elapsed) - budget_ms, 0.0)
    counted = late & answerable
    hits = int(counted.sum())
    noted = [
        note(number, bool(counted[number]), elapsed[number] - budget_ms, numbers[number], result, away)
        for number, result in enumerate(results)
        if (away := watch.away(*spans[number])).machine_ms or over[number] or counted[number]
    ]
    cell = LiveCell(
        condition, overrun, priority, budget_ms, overhead, frames, int(answerable.sum()), hits, wilson(hits, int(answerable.sum())),
        float(exit_number.mean()), float(reached.sum() / max(best.sum(), 1)), accuracy_of_oracle,
        float(np.percentile(over, 99)), float(over.max()), float((~late).sum() / np.sum(elapsed) * 1e3),
        float(np.mean(quality)),
        {name: float(np.mean(np.array(times) > budget_ms)) for name, times in reference.items()},
        others, between, int((counted & (exit_number == 0)).sum()), tuple(noted),
    )  # fmt: skip
    return cell, recording


def note(number: int, late: bool, over_ms: float, exit_number: int, result: Result, away: Away) -> Noted:
    """What there is to tell of one frame."""
    stages = tuple(
        (result.begun_ms[name], took, result.predicted_ms.get(name)) for name, took in result.stage_ms.items()
    )
    begun = [decision.stage for _, decision in result.decisions if decision.run]
    cut = str(begun[-1]) if len(begun) > len(stages) else ""
    return Noted(
        number, late, over_ms, exit_number, stages, cut, result.preprocess_ms, result.reserve_ms, away
    )


def time_between(recording: Recording) -> float:
    """Ms from the end of a stage to the beginning of the next one, in the median of the frames within a budget; 0 if none had two.

    Of a frame without one, a caller may have looked at every exit before he let it go on.
    """
    spans = [frame.stages for frame in recording.frames if frame.budget_ms is not None]
    gaps = [
        after[1] - before[1] - before[2]
        for stages in spans
        for before, after in zip(stages, stages[1:], strict=False)
    ]
    return float(np.median(gaps)) if gaps else 0.0


class Camera:
    """Frames at a rate: `next` waits for the one that comes next, counted from now."""

    def __init__(self, rate: float) -> None:
        self._period = 1.0 / rate
        self._began = time.perf_counter()

    def next(self) -> None:
        """Sleep until the next frame comes."""
        since = time.perf_counter() - self._began
        time.sleep(self._period - since % self._period)


@dataclass(frozen=True)
class Floor:
    """How late a thread is woken that only sleeps, with the same neighbour and nothing of ours beside it: nobody returns sooner."""

    condition: str
    sleeps: int
    median_ms: float
    p99_ms: float
    max_ms: float


def floor(condition: str, sleeps: int) -> Floor:
    """Sleep again and again until an instant, and see how long after it the thread runs."""
    busy, period = CONDITIONS[condition]
    late = []
    with Neighbour(busy, period):
        camera = Camera(RATE)
        for _ in range(sleeps):
            camera.next()
            until = time.perf_counter() + FLOOR_MS * 1e-3
            time.sleep(until - time.perf_counter())
            late.append((time.perf_counter() - until) * 1e3)
    median, p99, worst = np.percentile(late, (50.0, 99.0, 100.0))
    return Floor(condition, sleeps, float(median), float(p99), float(worst))


@dataclass(frozen=True)
class Soak:
    """Very many frames in one session: resident memory after the first tenth and at the end, and what was left open."""

    frames: int
    memory_growth_share: float
    threads_left: int
    handles_left: int


def soak(bundle: Path, frames: int) -> Soak:
    """Run ``frames`` frames of a small network, half of them within budgets that cut them, and close."""
    Session.open(bundle, threads=1).close()  # what the library opens once in a process is no leak
    threads, handles = threading.active_count(), _handles()
    with Session.open(bundle, threads=1) as session:
        inputs = session.golden()[0]
        usual = session.infer(budget_ms=None, overrun="return", reuse=False, **inputs).elapsed_ms
        early = 0
        for number in range(frames):
            if number % 2:
                session.infer(budget_ms=None, overrun="return", reuse=False, **inputs)
            else:
                budget_ms = usual * (0.3 + number % 7 / 5)
                session.infer(budget_ms=budget_ms, overrun="return", reuse=False, **inputs)
            if number == frames // 10:
                early = _resident()
        late = _resident()
    return Soak(frames, late / early - 1, threading.active_count() - threads, _handles() - handles)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def _handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
