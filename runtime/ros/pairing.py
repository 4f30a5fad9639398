"""Left and right pictures that belong together, by their stamps, which two cameras do not give at exactly the same instant."""

from collections import deque
from typing import Deque, Generic, NamedTuple, Optional, Tuple, TypeVar

T = TypeVar("T")
# Pictures of one side that wait for the other's; a stereo camera whose sides are further apart than that loses pairs.
WAITING = 8


class Unpaired(NamedTuple):
    """Pictures that were given up: the other side's never came."""

    left: int
    right: int


class Pairing(Generic[T]):
    """Pairs pictures whose stamps are at most ``slop_ns`` apart, the nearest ones, each at most once and in order.

    A picture is given up as soon as one of its own side is paired, or `WAITING` newer ones wait behind it, or its side's
    stamps go back, as a recording's do that begins again.
    """

    def __init__(self, slop_ns: int) -> None:
        self._slop = slop_ns
        self._waiting: Tuple[Deque[Tuple[int, T]], Deque[Tuple[int, T]]] = (deque(), deque())
        self._given_up = [0, 0]

    @property
    def unpaired(self) -> Unpaired:
        """How many were given up so far."""
        return Unpaired(*self._given_up)

    @property
    def waiting(self) -> Tuple[int, int]:
        """How many wait on either side."""
        return len(self._waiting[0]), len(self._waiting[1])

    def left(self, stamp_ns: int, picture: T) -> Optional[Tuple[T, T]]:
        """A left picture has come; the pair, if it makes one."""
        return self._come(0, stamp_ns, picture)

    def right(self, stamp_ns: int, picture: T) -> Optional[Tuple[T, T]]:
        """A right picture has come; the pair, if it makes one."""
        return self._come(1, stamp_ns, picture)

    def _come(self, side: int, stamp: int, picture: T) -> Optional[Tuple[T, T]]:
        own, other = self._waiting[side], self._waiting[1 - side]
        if own and stamp < own[-1][0]:
            self._given_up[side] += len(own)
            own.clear()
        own.append((stamp, picture))
        nearest = min(other, key=lambda one: abs(one[0] - stamp), default=None)
        if nearest is None or abs(nearest[0] - stamp) > self._slop:
            if len(own) > WAITING:
                own.popleft()
                self._given_up[side] += 1
            return None
        self._given_up[side] += len(own) - 1
        own.clear()
        while other[0] is not nearest:
            other.popleft()
            self._given_up[1 - side] += 1
        other.popleft()
        return (picture, nearest[1]) if side == 0 else (nearest[1], picture)
