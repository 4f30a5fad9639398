"""Weights as bits: what was packed comes back to the bit, fast, and damage is noticed. Runs under Python 3.6 too."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import packed
from edgekit.errors import BundleError
from edgekit.packed import Slot
from tests.yardstick import documented_seconds


@settings(deadline=None)
@given(st.sampled_from([2, 3, 4]), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_every_stream_comes_back(bits, count, seed):
    codes = np.random.RandomState(seed).randint(-(1 << (bits - 1)), 1 << (bits - 1), count)
    stream = packed.pack(codes, bits)
    assert len(stream) == -(-count * bits // 8)
    assert np.array_equal(packed.unpack(stream, count, bits), codes)


@settings(deadline=None)
@given(st.sampled_from([2, 3, 4]), st.integers(1, 200), st.integers(0, 199), st.integers(0, 2**32 - 1))
def test_a_prefix_needs_no_bytes_of_its_own(bits, count, shorter, seed):
    codes = np.random.RandomState(seed).randint(-(1 << (bits - 1)), 1 << (bits - 1), count)
    first = min(shorter, count)
    assert np.array_equal(packed.unpack(packed.pack(codes, bits), first, bits), codes[:first])


def _graph():
    """A packed graph of one transposed 4-bit matrix times 16, one raw piece, and what lies around them."""
    codes = np.arange(-8, 4, dtype=np.int8)
    blob = packed.pack(codes, 4) + b"raw!"
    slots = [Slot(3, 0, 12, 4, "int8", 16, 4), Slot(17, 6, 4)]
    whole = b"abc" + (codes.reshape(4, 3).T * 16).astype(np.int8).tobytes() + b"de" + b"raw!" + b"f"
    return packed.write(b"abcdef", len(whole), slots, "blob"), blob, whole


def test_a_graph_with_holes_becomes_whole():
    data, blob, whole = _graph()
    assert packed.is_packed(data) and not packed.is_packed(whole)
    assert packed.expand(data, lambda name: {"blob": blob}[name], "graph") == whole
    assert packed.stored_bytes(data) == {4: 6, 0: 4}


@pytest.mark.parametrize("broken", ["short blob", "no table", "other table"])
def test_what_cannot_be_made_whole_is_refused(broken):
    data, blob, _ = _graph()
    if broken == "short blob":
        blob = blob[:3]
    else:
        head = packed.MAGIC
        data = head + (b"nothing\n" if broken == "no table" else b'{"blob": "blob", "bytes": 9}\n')
    with pytest.raises(BundleError, match="copy the bundle again"):
        packed.expand(data, lambda name: blob, "graph")


def test_five_million_weights_unpack_within_the_time_that_loading_may_take():
    codes = np.random.RandomState(0).randint(-8, 8, 5400000)
    stream = packed.pack(codes, 4)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        packed.unpack(stream, len(codes), 4)
        times.append(documented_seconds(time.perf_counter() - start))
    assert min(times) < 0.150
