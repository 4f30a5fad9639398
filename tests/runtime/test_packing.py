"""Packing: rows of what samples share become dense arrays, in the order of the samples, whatever ways they came."""

from typing import Dict, List, Tuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.packing import Chunk, Rows, Waiting, after, dense

Plain = Tuple[int, Dict[str, int]]  # a sample, and the value of each of its tensors


@given(st.data())
def test_packs_hold_what_every_sample_carries_in_the_order_of_their_coming(data: st.DataObject) -> None:
    waiting: Waiting[int] = Waiting()
    plain: List[Plain] = []
    counts = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    for count in counts:
        numbers = list(range(len(plain), len(plain) + count))
        early = 10 * np.array(numbers, np.float32)[:, None]
        waiting.add(Chunk(numbers, {"early": Rows(early), "late": Rows(early + 1)}))
        plain += [(number, {"early": 10 * number, "late": 10 * number + 1}) for number in numbers]
    following: Waiting[int] = Waiting()
    expected: List[Plain] = []
    most = data.draw(st.integers(1, 7))
    while waiting.count:
        pack, taken = waiting.take(most), plain[:most]
        plain = plain[most:]
        size = most if data.draw(st.booleans()) else len(taken)
        array = dense(pack, "early", size)
        assert len(array) == size
        assert array[:, 0].tolist() == [10 * n for n, _ in taken] + [10 * taken[-1][0]] * (size - len(taken))
        staying = [data.draw(st.booleans()) for _ in taken]
        made = {"new": array[: len(taken)] + 2}
        following.add(after(pack, made, staying))
        expected += [
            (n, {**tensors, "new": 10 * n + 2}) for (n, tensors), stays in zip(taken, staying) if stays
        ]
    assert following.count == len(expected)
    while following.count:
        pack = following.take(most)
        taken, expected = expected[:most], expected[most:]
        assert [sample for chunk in pack for sample in chunk.samples] == [number for number, _ in taken]
        for name in ("early", "late", "new"):
            assert dense(pack, name, len(taken))[:, 0].tolist() == [tensors[name] for _, tensors in taken]


def test_a_pack_that_stays_together_is_not_copied() -> None:
    array = np.arange(4.0)[:, None]
    waiting: Waiting[str] = Waiting()
    waiting.add(Chunk("abcd", {"map": Rows(array)}))
    pack = waiting.take(4)
    assert dense(pack, "map", 4) is array
    left = after(pack, {"next": array}, [True] * 4)
    assert dense([left], "next", 4) is array


def test_those_that_came_different_ways_are_copied_together_once() -> None:
    halves = [Chunk("ab", {"map": Rows(np.zeros((2, 1)))}), Chunk("cd", {"map": Rows(np.ones((2, 1)))})]
    made = dense(halves, "map", 4)
    left = after(halves, {"map": made}, [True] * 4)
    assert dense([left], "map", 4) is made
