"""The arbiter and halves on this machine, frame by frame in turns, so that both see the same machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.arbiter_cells import Cell
from benchmarks.neighbour import Missing, Neighbour
from edgekit.runtime import Arbiter, Share
from edgekit.runtime.arbiter.worth import utilities_of
from edgekit.runtime.device.priority import Priority
from edgekit.runtime.session import Session

# Frames before those that count, of each way and budget: what is learnt of returning, too
WARMUP = 15
OVER_S = 0.01  # a stage that was cancelled is over by then
NEIGHBOURS: Mapping[str, int] = {"quiet": 0, "a neighbour on one core": 1}
Utilities = Mapping[str, Sequence[float] | None]
# One frame within a budget in ms: its utility.
Answer = Callable[[float], float]


@contextmanager
def opened(bundles: Mapping[str, Path], threads: int, priority: str) -> Iterator[dict[str, Session]]:
    """A session of each bundle."""
    sessions: dict[str, Session] = {}
    try:
        for name, path in bundles.items():
            sessions[name] = Session.open(path, threads=threads, priority=priority)
        yield sessions
    finally:
        for session in sessions.values():
            session.close()


def end_to_end(sessions: Mapping[str, Session], runs: int) -> dict[str, tuple[float, float]]:
    """By network the ms to its first exit and to its last one, all that comes beside the stages included; medians.

    Frames without a budget, the networks in turns and with the pauses of those that will count.
    """
    inputs = {name: session.golden()[0] for name, session in sessions.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sessions}
    for _ in range(runs):
        for name, session in sessions.items():
            time.sleep(OVER_S)
            result = session.infer(budget_ms=None, overrun="return", reuse=False, **inputs[name])
            _, *later = result.stage_ms.values()
            taken[name].append((result.elapsed_ms - sum(later), result.elapsed_ms))
    return {
        name: (float(np.median([a for a, _ in its])), float(np.median([b for _, b in its])))
        for name, its in taken.items()
    }


def live(
    ours: Mapping[str, Session],
    theirs: Mapping[str, Session],
    utilities: Utilities,
    budgets: Sequence[float],
    frames: int,
    priority: str,
) -> list[Cell]:
    """All budgets, alone and beside a neighbour.

    Each way has sessions of its own: what is learnt of stages in halves, where they are cancelled in half of the time, is not what
    the arbiter would have seen. Whoever asks for a realtime answer is in real time himself, as a control loop is: else the
    processor may be another's in the very moment in which the answer is there.
    """
    inputs = {name: session.golden()[0] for name, session in ours.items()}
    worth = {name: utilities_of(session.manifest, utilities[name]) for name, session in theirs.items()}
    shares = {name: Share(session, utilities=utilities[name]) for name, session in ours.items()}

    def in_halves(budget: float) -> float:
        total = 0.0
        for name, session in theirs.items():
            result = session.infer(
                budget_ms=budget / len(theirs), overrun="return", reuse=False, **inputs[name]
            )
            total += worth[name][result.stage] if result.stage is not None else 0.0
        return total

    cells = []
    with Arbiter(shares, priority=priority) as arbiter:

        def arbitrated(budget: float) -> float:
            return arbiter.infer(budget, None, **inputs).utility

        for _ in range(10):
            arbitrated(1e4)
            in_halves(1e4)
        for name, cores in NEIGHBOURS.items():
            try:
                neighbour = Neighbour(cores)
            except Missing as error:
                print(error, file=sys.stderr)
                continue
            with neighbour:
                for budget in budgets:
                    caller = Priority(priority)
                    cells.append(
                        in_turns(f"{name}, {priority}", budget, frames, arbitrated, in_halves, caller)
                    )
    return cells


def in_turns(
    condition: str, budget: float, frames: int, arbitrated: Answer, in_halves: Answer, caller: Priority
) -> Cell:
    """Both ways, frame by frame; late is what the caller sees after the call."""
    utility, over = np.zeros((2, frames)), np.zeros((2, frames))
    for number in range(-WARMUP, frames):
        for way, answer in enumerate((arbitrated, in_halves)):
            time.sleep(OVER_S)
            with caller.waiting():
                begun = time.perf_counter()
                reached = answer(budget)
                late_ms = (time.perf_counter() - begun) * 1e3 - budget
            if number >= 0:
                utility[way, number], over[way, number] = reached, late_ms
    counted = np.where(over > 0, 0.0, utility)
    difference = counted[0] - counted[1]
    (ours, halves), (ours_anyway, halves_anyway) = counted.mean(1).tolist(), utility.mean(1).tolist()
    return Cell(
        condition, budget, frames, ours, halves, ours_anyway, halves_anyway, float(difference.std() / np.sqrt(frames)),
        None, None, int((over[0] > 0).sum()), int((over[1] > 0).sum()), float(over[0].max()), float(over[1].max()),
    )  # fmt: skip
