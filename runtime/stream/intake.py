"""What happens to a frame when it comes: it is numbered, put in order, thinned to the rate and left for whoever answers."""

import threading
from typing import Mapping, Optional, Tuple

import numpy as np

from edgekit.runtime.clock import Clock
from edgekit.runtime.stream.counts import Tally
from edgekit.runtime.stream.frame import Frame
from edgekit.runtime.stream.mailbox import Mailbox
from edgekit.runtime.stream.pace import Pace
from edgekit.runtime.stream.trouble import Trouble

# A stamp that goes back by more ms than this is no frame that comes out of turn: its clock or its recording began again.
RESTART = 1000.0
# A source is said to be too slow if it left out so many of so many instants of the rate.
FEW, OF = 25, 100


class Intake:
    """Takes frames from one source, or from whoever pushes them; from any thread."""

    def __init__(
        self, mailbox: "Mailbox[Frame]", pace: Pace, clock: Clock, tally: Tally, trouble: Trouble, name: str
    ) -> None:
        self._mailbox = mailbox
        self._pace = pace
        self._clock = clock
        self._tally = tally
        self._trouble = trouble
        self._name = name
        self._guard = threading.Lock()
        self._number = 0
        self._newest: Optional[float] = None
        self._wanted = self._absent = 0
        self._sizes: Optional[Tuple[Tuple[int, ...], ...]] = None

    def accept(
        self, inputs: Mapping[str, np.ndarray], stamp: Optional[float] = None, tag: object = None
    ) -> bool:
        """Take one frame, seen at ``stamp`` (now by default); False if it is passed over."""
        with self._guard:
            now = self._clock.now()
            self._tally.add("captured")
            if stamp is None:
                stamp = now
            elif stamp > now:
                self._trouble.report(
                    "future",
                    f"{self._name}: a frame is stamped {stamp - now:.1f} ms in the future; taken as seen now",
                )
                stamp = now
            if not self._in_order(stamp) or not self._on_time(stamp):
                return False
            self._look_at_sizes(inputs)
            self._number += 1
            frame = Frame(inputs, stamp, self._number, now, tag)
            self._tally.came(frame)
            self._tally.add("dropped", self._mailbox.put(frame))
            return True

    @property
    def taken(self) -> int:
        """How many frames were left for whoever answers."""
        return self._number

    def _in_order(self, stamp: float) -> bool:
        back = 0.0 if self._newest is None else self._newest - stamp
        if back > RESTART:
            self._trouble.report(
                "restart", f"{self._name}: stamps went back by {back * 1e-3:.1f} s; going on from there"
            )
            self._pace.restart()
        elif back > 0:
            self._tally.add("disordered")
            self._trouble.report(
                "order",
                f"{self._name}: a frame is {back:.1f} ms older than the one before it, and is passed over",
            )
            return False
        self._newest = stamp
        return True

    def _on_time(self, stamp: float) -> bool:
        absent = self._pace.admit(stamp)
        if absent is None:
            self._tally.add("thinned")
            return False
        self._tally.add("absent", absent)
        self._wanted += 1 + absent
        self._absent += absent
        if self._wanted >= OF:
            if self._absent >= FEW and self._pace.period is not None:
                given = (1 - self._absent / self._wanted) * 1e3 / self._pace.period
                self._trouble.report(
                    "slow",
                    f"{self._name} gives {given:.1f} frames/s, less than the {1e3 / self._pace.period:g} wanted",
                )
            self._wanted = self._absent = 0
        return True

    def _look_at_sizes(self, inputs: Mapping[str, np.ndarray]) -> None:
        sizes = tuple(np.shape(value) for value in inputs.values())
        if self._sizes is not None and sizes != self._sizes:
            self._trouble.report(
                "size",
                f"{self._name}: frames were {_told(self._sizes)} and are now {_told(sizes)}",
            )
        self._sizes = sizes


def _told(sizes: Tuple[Tuple[int, ...], ...]) -> str:
    return " and ".join("x".join(map(str, size)) for size in sizes)
