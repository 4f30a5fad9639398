"""Who wants a stream's answers: a function on a thread of its own, or a loop that takes them; neither can hold up the stream."""

from typing import Callable, Iterator, Optional, Sequence

from edgekit.errors import OptionError
from edgekit.runtime.clock import Clock
from edgekit.runtime.stream.frame import Answer
from edgekit.runtime.stream.mailbox import Mailbox
from edgekit.runtime.stream.thread import StreamThread
from edgekit.runtime.stream.trouble import Trouble

OnAnswer = Callable[[Answer], object]

# A subscriber that has held on to one answer for so many ms is reported.
BLOCKED = 1000.0


class Subscription:
    """Receives answers; made by `edgekit.runtime.stream.Stream.subscribe` and `Stream.answers`.

    Attributes:
        name: what reports call it.
        skipped: answers that newer ones replaced before it was ready for them.
        raised: how often its function raised.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        trouble: Trouble,
        callback: Optional[OnAnswer] = None,
        keep: int = 1,
        stages: Optional[Sequence[str]] = None,
        final_only: bool = False,
    ) -> None:
        self.name = name
        self.skipped = 0
        self.raised = 0
        self._clock = clock
        self._trouble = trouble
        self._callback = callback
        self._stages = None if stages is None else frozenset(stages)
        self._final_only = final_only
        self._mailbox: Mailbox[Answer] = Mailbox(clock, keep)
        self._busy_since: Optional[float] = None
        self._thread = None if callback is None else StreamThread(f"edgekit-{name}", self._work, clock)

    def start(self) -> None:
        """Start its thread, if it has a function."""
        if self._thread is not None:
            self._thread.start()

    def put(self, answer: Answer) -> None:
        """Leave an answer for it, if it wants one like this. Never waits."""
        if (self._final_only and not answer.final) or (
            self._stages is not None and answer.stage not in self._stages
        ):
            return
        self.skipped += self._mailbox.put(answer)
        since = self._busy_since
        if since is not None and self._clock.now() - since > BLOCKED:
            self._trouble.report(
                f"blocked {self.name}",
                f"subscriber {self.name} has been busy with one answer for {(self._clock.now() - since) * 1e-3:.1f} s;"
                " it will get the newest when it is ready",
            )

    def take(self, timeout_ms: Optional[float] = None) -> Optional[Answer]:
        """The next answer, for a subscription without a function; None at the end, or if none came within ``timeout_ms``."""
        return self._mailbox.take(None if timeout_ms is None else self._clock.now() + timeout_ms)

    def __iter__(self) -> Iterator[Answer]:
        """Every answer until the end, or as many as its reader has time for."""
        while True:
            answer = self.take()
            if answer is None:
                return
            yield answer

    def close(self, timeout_s: Optional[float] = None) -> None:
        """Take no more answers; what is there is still handed on. With ``timeout_s``, wait so long for that to be done."""
        self._mailbox.close()
        if timeout_s is not None and self._thread is not None and not self._thread.join(timeout_s):
            self._trouble.report(
                f"left {self.name}",
                f"subscriber {self.name} is still busy with its last answer; not waited for",
            )

    def _work(self) -> None:
        assert self._callback is not None
        for answer in self:
            self._busy_since = self._clock.now()
            try:
                self._callback(answer)
            except Exception as error:  # the user's code; the stream and the answers after this one go on
                self.raised += 1
                self._trouble.report(
                    f"raised {self.name}", f"subscriber {self.name} raised {type(error).__name__}: {error}"
                )
            finally:
                self._busy_since = None


def check_stages(stages: Optional[Sequence[str]], exits: Sequence[str], name: str) -> None:
    """That every stage a subscriber wants can answer.

    Raises:
        OptionError: one cannot.
    """
    for stage in stages or ():
        if exits and stage not in exits:
            raise OptionError(
                f"subscriber {name} wants the exit of {stage!r}, and this network answers at {', '.join(exits)}"
            )
