"""The thread that reads a source: at its pace or at the rate, and again from the start when it vanishes and comes back."""

import threading
from typing import Optional

from edgekit.errors import InputError
from edgekit.runtime.clock import Clock
from edgekit.runtime.stream.counts import Tally
from edgekit.runtime.stream.frame import Frame
from edgekit.runtime.stream.intake import Intake
from edgekit.runtime.stream.mailbox import Mailbox
from edgekit.runtime.stream.pace import Pace
from edgekit.runtime.stream.source import Source, SourceLost
from edgekit.runtime.stream.trouble import Trouble

# A camera that vanished is looked for after so many ms, then after twice as many each time, up to the last number.
FIRST_RETRY, LAST_RETRY = 250.0, 5000.0
# A source none of whose frames can be used is at its end after so many of them.
UNUSABLE = 100


class Gate:
    """Where a thread waits that must wake up when the stream is stopped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the stream was stopped."""
        return self._closed

    def wait(self, until: Optional[float]) -> bool:
        """Wait until that instant; False if the gate was closed before."""
        with self._changed:
            while not self._closed and (until is None or self._clock.now() < until):
                self._clock.wait(self._changed, until)
            return not self._closed

    def close(self) -> None:
        """Wake everybody, for good."""
        with self._changed:
            self._closed = True
            self._clock.notify_all(self._changed)


class Capture:
    """Reads an opened source until its end, ``most`` frames, or the closing of ``gate``; `run` is a thread's body."""

    def __init__(
        self,
        source: Source,
        intake: Intake,
        pace: Pace,
        mailbox: "Mailbox[Frame]",
        gate: Gate,
        clock: Clock,
        tally: Tally,
        trouble: Trouble,
        most: Optional[int] = None,
    ) -> None:
        """``mailbox`` is where the intake leaves frames; it is closed at the end."""
        self._source = source
        self._intake = intake
        self._pace = pace
        self._mailbox = mailbox
        self._gate = gate
        self._clock = clock
        self._tally = tally
        self._trouble = trouble
        self._most = most
        self._unusable = 0

    def run(self) -> None:
        """Read."""
        try:
            self._read()
        finally:
            self._mailbox.close()

    def _read(self) -> None:
        while not self._gate.closed and (self._most is None or self._intake.taken < self._most):
            try:
                seen = self._source.read()
            except SourceLost as error:
                if not self._find_again(str(error)):
                    return
                continue
            except InputError as error:
                self._tally.add("captured")
                self._tally.add("failed")
                self._trouble.report("unusable", str(error))
                self._unusable += 1
                if self._unusable >= UNUSABLE:
                    self._trouble.report(
                        "end", f"{self._source.name}: {UNUSABLE} frames in a row cannot be used"
                    )
                    return
                continue
            self._unusable = 0
            if seen is None or not self._wait_for_turn():
                return
            self._intake.accept(seen.inputs, seen.stamp, seen.tag)

    def _wait_for_turn(self) -> bool:
        """A recording waits for its instant, or without a rate for somebody who is free; what is live waits for nobody."""
        if self._source.live:
            return not self._gate.closed
        if self._pace.period is None:
            return self._mailbox.wait_until_wanted()
        return self._gate.wait(self._pace.due if self._pace.due is not None else self._clock.now())

    def _find_again(self, why: str) -> bool:
        """Open the source again and again, ever less often; False if the stream was stopped meanwhile."""
        lost = self._clock.now()
        self._tally.add("vanished")
        self._trouble.report("lost", f"{why}; looking for it again")
        pause = FIRST_RETRY
        while self._gate.wait(self._clock.now() + pause):
            self._source.close()
            try:
                self._source.open()
            except InputError:
                pause = min(2 * pause, LAST_RETRY)
                continue
            self._trouble.report(
                "back", f"{self._source.name} is back after {(self._clock.now() - lost) * 1e-3:.1f} s"
            )
            return True
        return False
