"""Who wants a stream's answers: a function on a thread of its own, or a loop that takes them; neither can hold up the stream."""

from typing import Callable, Iterator, Mapping, Optional, Sequence

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
        network: Optional[str] = None,
    ) -> None:
        self.name = name
        self.skipped = 0
        self.raised = 0
        self._clock = clock
        self._trouble = trouble
        self._callback = callback
        self._stages = None if stages is None else frozenset(stages)
        self._final_only = final_only
        self._network = network
        self._mailbox: Mailbox[Answer] = Mailbox(clock, keep)
        self._busy_since: Optional[float] = None
        self._thread = None if callback is None else StreamThread(f"edgekit-{name}", self._work, clock)

    def start(self) -> None:
        """Start its thread, if it has a function."""
        if self._thread is not None:
            self._thread.start()

    def put(self, answer: Answer) -> None:
        """Leave an answer for it, if it wants one like this. Never waits."""
        if self._final_only and not answer.final:
            return
        if self._stages is not None and answer.stage not in self._stages:
            return
        if self._network is not None and answer.network != self._network:
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


def check_wanted(
    name: str,
    network: Optional[str],
    stages: Optional[Sequence[str]],
    exits: Mapping[Optional[str], Sequence[str]],
) -> None:
    """That the network a subscriber wants is there, and every stage it wants can answer.

    Args:
        name: the subscriber's.
        network, stages: what it wants; None for all.
        exits: the stages that can answer, by network; of one network by None, empty if nobody knows.

    Raises:
        OptionError: one cannot.
    """
    if network is not None and network not in exits:
        known = ", ".join(one for one in exits if one is not None)
        there = f"this stream's are {known}" if known else "this stream has one network, without a name"
        raise OptionError(f"subscriber {name} wants answers of {network!r}; {there}")
    listed = [exits[network]] if network is not None else list(exits.values())
    possible = list(dict.fromkeys(stage for one in listed for stage in one))
    for stage in stages or ():
        if possible and stage not in possible:
            raise OptionError(
                f"subscriber {name} wants the exit of {stage!r}, and {network or 'this network'} answers at {', '.join(possible)}"
            )
