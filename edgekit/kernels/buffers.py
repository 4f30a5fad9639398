"""Memory for answers, used again: a large array that is new costs as much as many a step, since every page of it is."""

import threading
import weakref
from functools import reduce
from operator import mul
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np

WORTH = 1 << 17  # bytes: below, the allocator itself keeps what is given back
MOST = 8  # of one size: the exits of a frame or two; who keeps more answers gets new memory for them
ALIGNED = 64  # bytes


class Buffers:
    """Arrays whose memory is lent again once nothing refers to it any more; several threads may ask it."""

    def __init__(self) -> None:
        self._kept: Dict[int, List[_Buffer]] = {}
        self._turn = threading.Lock()

    def empty(self, shape: Sequence[int]) -> np.ndarray:
        """A float32 array of this shape that nobody else has, its numbers whatever they were."""
        size = reduce(mul, shape, 4)  # bytes; numpy's own product takes longer than the rest
        if size < WORTH:
            return np.empty(shape, np.float32)
        with self._turn:
            kept = self._kept.setdefault(size, [])
            for one in kept:
                if one.free():
                    return one.lend(shape)
            if len(kept) == MOST:
                return np.empty(shape, np.float32)
            kept.append(_Buffer(size))
            return kept[-1].lend(shape)


class _Buffer:
    """Memory of one array, to which all that are made of it refer: numpy looks for the array behind an array, and no further."""

    def __init__(self, size: int) -> None:
        whole = np.empty(size + ALIGNED, np.uint8)
        start = -int(whole.__array_interface__["data"][0]) % ALIGNED
        self._memory = whole.data[start : start + size]
        self._lent: Callable[[], Optional[np.ndarray]] = lambda: None

    def free(self) -> bool:
        return self._lent() is None

    def lend(self, shape: Sequence[int]) -> np.ndarray:
        found = np.frombuffer(self._memory, np.float32)
        self._lent = weakref.ref(found)
        return found.reshape(tuple(shape))
