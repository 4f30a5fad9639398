"""Whether a small stage runs on one thread: to wake another may take longer than it helps, which only a measurement knows."""

import statistics
import time
from typing import Any, Callable, List

import numpy as np

# A stage of more multiply-adds, or one that takes longer than this on one thread, is not worth the question: a thread is awake
# after some tens of us. MSDNet's five stages at 32 x 32 (8 to 20 million) took 0.96 of the uncut graph's time on one thread each
# and 1.5 times as long on two, beside other processes; in `benchmarks/results` is what an idle machine says.
SMALL, SHORT_S = 100_000_000, 1e-3
TURNS, RUNS = 5, 5
# One thread is taken where it is hardly slower: the other core is free for whoever else wants it.
TIE = 1.05

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}


def quicker_alone(alone: Any, together: Any) -> bool:
    """Whether a session of one thread is at least about as quick as one of several on the same graph, in turns on zeros.

    False where that cannot be asked: inputs of no fixed shape, which batches of any size have, or zeros that it does not take.
    """
    entries = [(entry.name, entry.shape, DTYPES.get(entry.type)) for entry in alone.get_inputs()]
    if not all(dtype and all(isinstance(side, int) for side in shape) for _, shape, dtype in entries):
        return False
    zeros = {name: np.zeros(shape, dtype) for name, shape, dtype in entries}
    try:
        alone.run(None, zeros)
        if _seconds(lambda: alone.run(None, zeros)) > SHORT_S:
            return False
        together.run(None, zeros)
        return faster(lambda: alone.run(None, zeros), lambda: together.run(None, zeros))
    except Exception:  # whatever it is, the first frame will say it in its own words
        return False


def faster(one: Callable[[], object], other: Callable[[], object]) -> bool:
    """Whether ``one`` takes no longer than ``other``, or little longer: the median of several turns."""
    ratios: List[float] = []
    for _ in range(TURNS):
        ours, theirs = (statistics.median(_seconds(call) for _ in range(RUNS)) for call in (one, other))
        ratios.append(ours / theirs)
    return statistics.median(ratios) <= TIE


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
