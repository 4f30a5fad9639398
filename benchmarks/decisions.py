"""How long one decision takes, and whether deciding makes memory grow: python -m benchmarks.decisions; Python 3.6 or newer."""
# ruff: noqa: UP006, UP031, UP035

import json
import platform
import random
import resource
import sys
import time
from typing import Callable, Dict, List

from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.scheduler import Scheduler

BASES = {"stage1": 7.0, "stage2": 4.2, "stage3": 9.5, "stage4": 5.9}
BUDGET_MS = 22.0
FRAMES = 20000
GROWTH_FRAMES = 100000


def main() -> int:
    """Print one JSON document."""
    print(json.dumps(measure(FRAMES, GROWTH_FRAMES), indent=1))
    return 0


def measure(frames: int, growth_frames: int) -> Dict[str, object]:
    """Times in us of a decision and of what is learned after a stage, and the memory that frames leave behind."""
    decided: List[float] = []
    learned: List[float] = []
    frame = frames_of(decided, learned)
    for _ in range(frames):
        frame()
    decided_us, learned_us = sorted(decided), sorted(learned)
    idle: List[float] = []
    for _ in range(1000):  # the windows are full, the lists below are not counted
        frame()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del decided[:], learned[:]
    for _ in range(growth_frames):
        frame()
        del decided[:], learned[:]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1000):
        begin = time.perf_counter()
        idle.append((time.perf_counter() - begin) * 1e6)
    return {
        "python": platform.python_version(),
        "clock": "time.perf_counter; reading it takes %.2f us, which is in every figure" % sorted(idle)[500],
        "decision_median_us": decided_us[len(decided_us) // 2],
        "decision_p99_us": decided_us[int(0.99 * len(decided_us))],
        "learning_median_us": learned_us[len(learned_us) // 2],
        "learning_p99_us": learned_us[int(0.99 * len(learned_us))],
        "decisions": len(decided_us),
        "growth_frames": growth_frames,
        "memory_growth_share": after / before - 1.0,
    }


def frames_of(decided: List[float], learned: List[float]) -> Callable[[], None]:
    """One frame: decide, pretend to run, learn, until the scheduler stops; every call's us go into the lists."""
    source = random.Random(0)
    model = LatencyModel(BASES)
    for name, base in BASES.items():
        model.start(name, [base * source.lognormvariate(0.0, 0.05) for _ in range(200)])
    scheduler = Scheduler([(name, True) for name in BASES], model)

    def frame() -> None:
        now, finished = 0.0, 0
        while True:
            begin = time.perf_counter()
            decision = scheduler.next(now, BUDGET_MS, finished)
            decided.append((time.perf_counter() - begin) * 1e6)
            if not decision.run or decision.stage is None:
                return
            took = BASES[decision.stage] * source.lognormvariate(0.0, 0.05)
            begin = time.perf_counter()
            model.learn(decision.stage, took)
            learned.append((time.perf_counter() - begin) * 1e6)
            now, finished = now + took, finished + 1

    return frame


if __name__ == "__main__":
    sys.exit(main())
