"""The memory that programs compute in: lent to one frame at a time, and used again by the next."""

import ctypes
import threading
from typing import Dict, List, NamedTuple

import numpy as np

from edgekit.errors import BackendError
from edgekit.program import Resident


class Home(NamedTuple):
    """Where a tensor stays: the places of its planes, int32, in arenas of so many floats with a layout."""

    resident: Resident
    planes: np.ndarray
    layout: str
    floats: int


class Arena:
    """Floats that the programs of one layout compute in. Between two of them, what one has left is there for the next."""

    def __init__(self, library: ctypes.CDLL, layout: str, floats: int) -> None:
        """So many zeros.

        Raises:
            BackendError: there is no memory for them.
        """
        self.layout = layout
        self.address = library.edgekit_arena(floats)
        if not self.address:
            raise BackendError(f"native: there is no memory for {4e-6 * floats:.0f} MB of feature maps")
        self._library = library

    def put(self, home: Home, array: np.ndarray) -> None:
        """Copy a tensor, float32 in C order, to where it stays."""
        self._move(home, array, False)

    def get(self, home: Home) -> np.ndarray:
        """A copy of a tensor, (1, channels, height, width)."""
        found = np.empty((1, *home.resident[1:4]), np.float32)
        self._move(home, found, True)
        return found

    def _move(self, home: Home, array: np.ndarray, out: bool) -> None:
        one = home.resident
        self._library.edgekit_move(
            self.address, home.planes.ctypes.data, one.channels, one.height, one.width, one.pitch, array.ctypes.data, out
        )  # fmt: skip

    def __del__(self) -> None:
        if getattr(self, "address", None):
            self._library.edgekit_arena_free(self.address)


class Arenas:
    """Those that nobody has, by their layouts; several threads may ask."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._unused: Dict[str, List[Arena]] = {}
        self._turn = threading.Lock()

    def lend(self, layout: str, floats: int) -> Arena:
        """One of this layout, which always says the same number of ``floats``.

        Raises:
            BackendError: there is no memory for another one.
        """
        with self._turn:
            unused = self._unused.get(layout)
            if unused:
                return unused.pop()
        return Arena(self._library, layout, floats)

    def take_back(self, arena: Arena) -> None:
        """It may be lent again; the one that was used last is lent first, since more of it is in the caches."""
        with self._turn:
            self._unused.setdefault(arena.layout, []).append(arena)

    def clear(self) -> None:
        """Give all that nobody has back to the system."""
        with self._turn:
            self._unused = {}
