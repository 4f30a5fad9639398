"""Memory for answers is used again, and never while anybody can still see what is in it."""

import gc
import threading
from typing import List

import numpy as np

from edgekit.kernels.buffers import ALIGNED, MOST, WORTH, Buffers

SHAPE = (1, 1, 256, 256)


def place(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_what_nobody_has_any_more_is_lent_again() -> None:
    buffers = Buffers()
    first = buffers.empty(SHAPE)
    assert first.shape == SHAPE and first.dtype == np.float32 and first.flags.c_contiguous
    assert first.flags.writeable and place(first) % ALIGNED == 0
    at = place(first)
    del first
    gc.collect()
    assert place(buffers.empty(SHAPE)) == at


def test_what_is_held_in_any_form_is_not() -> None:
    buffers = Buffers()
    forms = [
        lambda array: array,
        lambda array: array[0, 0, 5:9, ::2],
        lambda array: array.reshape(-1)[3:].reshape(-1, 1)[7],
        lambda array: np.asarray(array).T.view(np.int32),
        lambda array: memoryview(array),
        lambda array: np.frombuffer(array, np.uint8)[4:],
        lambda array: (array.ctypes,),
    ]
    taken = set()
    held = []
    for form in forms:
        array = buffers.empty(SHAPE)
        assert place(array) not in taken
        taken.add(place(array))
        held.append(form(array))
        del array
    held.clear()
    gc.collect()
    assert place(buffers.empty(SHAPE)) in taken


def test_arrays_that_are_held_are_their_own() -> None:
    """More than are kept, too."""
    buffers = Buffers()
    held = [buffers.empty(SHAPE) for _ in range(MOST + 3)]
    for number, array in enumerate(held):
        array[:] = number
    assert (
        [float(array.min()) for array in held]
        == [float(array.max()) for array in held]
        == list(range(len(held)))
    )


def test_sizes_have_their_own_and_small_ones_none() -> None:
    buffers = Buffers()
    small = buffers.empty((WORTH // 4 - 1,))
    assert small.base is None
    large = buffers.empty(SHAPE)
    at = place(large)
    del large
    assert place(buffers.empty((2, *SHAPE))) != at
    again = buffers.empty((256, 256))
    assert place(again) == at and again.shape == (256, 256)


def test_threads_never_get_the_same() -> None:
    buffers = Buffers()
    wrong: List[int] = []

    def ask(number: int) -> None:
        for _ in range(300):
            array = buffers.empty(SHAPE).reshape(-1)[:64]
            array[:] = number
            if not np.all(array == number):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
