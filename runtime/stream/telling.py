"""One frame's answers on their way from whoever works on it to whoever subscribed: counted, handed on, and the last one marked."""

from typing import Callable, Dict, Optional

from edgekit.runtime.clock import Clock
from edgekit.runtime.result import Result
from edgekit.runtime.stream.counts import Tally
from edgekit.runtime.stream.frame import Answer, Frame
from edgekit.runtime.stream.trouble import Trouble


class Telling:
    """What was told of one frame so far; of several networks, of each.

    Args:
        frame: that is answered.
        deadline: of it, if there is one.
        clock, tally, trouble: the stream's.
        publish: hands an answer on.
    """

    def __init__(
        self,
        frame: Frame,
        deadline: Optional[float],
        clock: Clock,
        tally: Tally,
        trouble: Trouble,
        publish: Callable[[Answer], object],
    ) -> None:
        self._frame = frame
        self._deadline = deadline
        self._clock = clock
        self._tally = tally
        self._trouble = trouble
        self._publish = publish
        self._last: Dict[Optional[str], Answer] = {}

    def tell(self, result: Result, network: Optional[str] = None) -> None:
        """Hand one exit's result on; see `edgekit.runtime.stream.answering.Answerer.answer`."""
        if result.output is None:
            if result.error is not None:
                said = f"frame {self._frame.number} could not be answered by {network}: {result.error}"
                self._trouble.report(f"failed {network}", said)
            return
        answer = Answer(self._frame, result, self._clock.now(), result.reason != "partial", network)
        if not self._last:
            self._tally.first(answer, self._deadline is not None and answer.published > self._deadline)
        self._last[network] = answer
        self._publish(answer)

    def end(self, result: Result, network: Optional[str] = None) -> None:
        """``result`` is how the frame ended for ``network``: whoever waits for a better answer must know that none comes."""
        last = self._last.get(network)
        if last is None or result.stage != last.stage:
            self.tell(
                result._replace(reason="final" if result.reason == "partial" else result.reason), network
            )
        elif not last.final:
            self._publish(Answer(self._frame, result, self._clock.now(), True, network))

    def count(self) -> None:
        """Nothing more will be told."""
        for network, answer in self._last.items():
            self._tally.over(answer, network)
