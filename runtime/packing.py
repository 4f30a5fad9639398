"""Samples that wait for a stage, and how rows of what they share become one dense array for as many as its graph takes."""

from collections import deque
from typing import Deque, Generic, List, Mapping, NamedTuple, Optional, Sequence, TypeVar

import numpy as np

Sample = TypeVar("Sample")


class Rows(NamedTuple):
    """Some rows of an array, in an order; ``numbers`` None: all of them in theirs."""

    array: np.ndarray
    numbers: Optional[np.ndarray] = None

    def pick(self, positions: np.ndarray) -> "Rows":
        """Those at ``positions`` of these."""
        return Rows(self.array, positions if self.numbers is None else self.numbers[positions])

    def copy_to(self, target: np.ndarray) -> None:
        """Write them there."""
        if self.numbers is None:
            target[...] = self.array
        else:  # in range, as all numbers come from `pick`; "clip" writes without a buffer between
            np.take(self.array, self.numbers, axis=0, out=target, mode="clip")


class Chunk(Generic[Sample]):
    """Samples that have come the same way, and what later stages read of it: rows by tensor, one a sample."""

    def __init__(self, samples: Sequence[Sample], tensors: Mapping[str, Rows]) -> None:
        self.samples = list(samples)
        self.tensors = dict(tensors)

    def pick(self, positions: Sequence[int]) -> "Chunk[Sample]":
        """Those at rising ``positions``; the chunk itself if that is all."""
        if len(positions) == len(self.samples):
            return self
        where = np.array(positions, np.intp)
        tensors = {name: rows.pick(where) for name, rows in self.tensors.items()}
        return Chunk([self.samples[position] for position in positions], tensors)


class Waiting(Generic[Sample]):
    """The samples that wait for one stage, first come, first served.

    Attributes:
        count: how many.
    """

    def __init__(self) -> None:
        self.count = 0
        self._chunks: Deque[Chunk[Sample]] = deque()

    def add(self, chunk: "Chunk[Sample]") -> None:
        """Queue samples."""
        if chunk.samples:
            self._chunks.append(chunk)
            self.count += len(chunk.samples)

    def take(self, most: int) -> "List[Chunk[Sample]]":
        """The first of them, at most so many."""
        taken: List[Chunk[Sample]] = []
        left = min(most, self.count)
        self.count -= left
        while left:
            chunk = self._chunks.popleft()
            here = len(chunk.samples)
            if here > left:
                self._chunks.appendleft(chunk.pick(range(left, here)))
                chunk = chunk.pick(range(left))
            taken.append(chunk)
            left -= len(chunk.samples)
        return taken


def dense(chunks: "Sequence[Chunk[Sample]]", name: str, size: int) -> np.ndarray:
    """A tensor of all samples of ``chunks`` as one array of ``size`` rows; without a copy where it is one already.

    Where the samples are fewer, the last one stands for those that are missing: it costs nothing, and is dropped after.
    """
    first = chunks[0].tensors[name]
    if len(chunks) == 1 and first.numbers is None and len(first.array) == size:
        return first.array
    packed = np.empty((size,) + first.array.shape[1:], first.array.dtype)
    end = 0
    for chunk in chunks:
        begin, end = end, end + len(chunk.samples)
        chunk.tensors[name].copy_to(packed[begin:end])
    packed[end:] = packed[end - 1 : end]
    return packed


def after(
    chunks: "Sequence[Chunk[Sample]]", made: Mapping[str, np.ndarray], staying: Sequence[bool]
) -> "Chunk[Sample]":
    """What is left of ``chunks``, which have run as one pack: the samples that stay, with what the pack has ``made`` as well.

    They are one chunk from then on, so that a pack of which nobody leaves is not copied for the next stage.
    """
    samples = [sample for chunk in chunks for sample in chunk.samples]
    positions = [number for number, stays in enumerate(staying) if stays]
    if not positions:
        return Chunk([], {})
    tensors = {name: Rows(array) for name, array in made.items()}
    for name, rows in chunks[0].tensors.items():
        if name not in made:
            tensors[name] = rows if len(chunks) == 1 else Rows(dense(chunks, name, len(samples)))
    return Chunk(samples, tensors).pick(positions)
