"""A stream: frames come at their own pace, the latest is answered, and whoever subscribed gets every exit as soon as it is there."""

import threading
from types import TracebackType
from typing import Dict, List, Mapping, Optional, Sequence, Type, Union

import numpy as np

from edgekit.errors import EdgekitError
from edgekit.runtime.budget import check_budget
from edgekit.runtime.session import Session
from edgekit.runtime.stream.answering import Answerer, SessionAnswerer
from edgekit.runtime.stream.asked import (
    check_frame,
    check_frames,
    check_parts,
    check_rate,
    check_seconds,
    check_subscriber,
)
from edgekit.runtime.stream.capturing import Capture, Gate
from edgekit.runtime.stream.counts import Counts, Tally
from edgekit.runtime.stream.frame import Answer, Frame
from edgekit.runtime.stream.intake import Intake
from edgekit.runtime.stream.mailbox import Mailbox
from edgekit.runtime.stream.pace import Pace
from edgekit.runtime.stream.source import Source
from edgekit.runtime.stream.subscription import OnAnswer, Subscription, check_wanted
from edgekit.runtime.stream.telling import Telling
from edgekit.runtime.stream.thread import StreamThread
from edgekit.runtime.stream.trouble import OnTrouble, Trouble

# How long each of a stream's threads is waited for when it is stopped; one that a driver holds longer is left behind.
PATIENCE_S = 3.0


class Stream:
    """Answers the latest frame of a source, or of those that are pushed with `offer`, until it ends or is stopped.

    It has a thread that captures, one that waits for answers, and one for every function that subscribed. Use it as a context
    manager, or call `start` and `stop`.

    Attributes:
        clock: the session's; all instants are ms on it.
        rate: frames a second that are wanted, or at which a recording is played; None takes them as they come.
    """

    def __init__(
        self,
        answerer: Union[Session, Answerer],
        source: Optional[Source] = None,
        rate: Optional[float] = None,
        budget_ms: Optional[float] = None,
        on_trouble: Optional[OnTrouble] = None,
        frames: Optional[int] = None,
    ) -> None:
        """Nothing is opened before `start`.

        Args:
            answerer: a session, which stays the caller's, or several behind one `Answerer`.
            source: where frames come from; None if they are pushed.
            rate: frames a second that are wanted. By default the source's own; a recording without one is answered frame by
                frame, none dropped.
            budget_ms: counted from a frame's arrival; None runs every stage. The first exit is waited for in any case.
            on_trouble: told in a sentence what goes wrong while the stream goes on; by default a warning is logged.
            frames: end after so many.

        Raises:
            OptionError: the rate, the budget or the frames are no number above 0; what answers or gives frames is neither.
        """
        check_rate(rate)
        check_frames(frames)
        self._answerer = SessionAnswerer(answerer) if isinstance(answerer, Session) else answerer
        check_parts(self._answerer, source)
        self.clock = self._answerer.clock
        self._budget_ms = check_budget(budget_ms)
        self._source = source
        self._trouble = Trouble(self.clock, on_trouble)
        self._tally = Tally()
        self._frames: Mailbox[Frame] = Mailbox(self.clock)
        self._gate = Gate(self.clock)
        self.rate = rate
        self._most = frames
        self._intake: Optional[Intake] = None
        self._threads: List[StreamThread] = []
        self._subscriptions: List[Subscription] = []
        self._guard = threading.Lock()
        self._over = threading.Condition()
        self._ended = False
        self._begun: Optional[float] = None
        self._until: Optional[float] = None
        self._latest: Dict[Optional[str], Answer] = {}

    def subscribe(
        self,
        callback: OnAnswer,
        name: Optional[str] = None,
        keep: int = 1,
        stages: Optional[Sequence[str]] = None,
        final_only: bool = False,
        network: Optional[str] = None,
    ) -> Subscription:
        """Call ``callback`` with every answer, on a thread of its own; before or after `start`.

        If it raises, that is reported and the next answer comes. While it is busy, the newest ``keep`` answers wait.

        Args:
            callback: takes an `Answer`.
            name: for reports; by default the function's.
            keep: how many answers may wait; older ones are skipped.
            stages: the exits that are wanted; by default all.
            final_only: of every frame, only the last answer; of several networks, that of each.
            network: of several, the one whose answers are wanted; by default all.

        Raises:
            OptionError: no network or no stage of that name can answer, or ``callback`` is no function.
        """
        called = str(getattr(callback, "__name__", "subscriber")) if name is None else name
        check_subscriber(called, callback, keep, stages)
        return self._add(called, callback, keep, stages, final_only, network)

    def answers(
        self,
        keep: int = 1,
        stages: Optional[Sequence[str]] = None,
        final_only: bool = False,
        network: Optional[str] = None,
    ) -> Subscription:
        """Answers for a loop on the caller's own thread: ``for answer in stream.answers(): ...``, which ends with the stream.

        Raises:
            OptionError: as `subscribe`.
        """
        check_subscriber("answers", self.answers, keep, stages)
        return self._add("answers", None, keep, stages, final_only, network)

    def offer(
        self, inputs: Mapping[str, np.ndarray], stamp: Optional[float] = None, tag: object = None
    ) -> bool:
        """Push one frame from any thread; it replaces the one that waits. Never waits; False if it was passed over.

        Args:
            inputs: by name, not written to afterwards.
            stamp: when it was seen, in ms on ``clock``; now by default.
            tag: found again at its answers.

        Raises:
            InputError: the inputs are not by name, or the stamp is no instant.
            EdgekitError: the stream was not started, or is over.
        """
        check_frame(inputs, stamp)
        if self._intake is None or self._frames.closed:
            raise EdgekitError("this stream takes no frames: it was not started, or is over")
        return self._intake.accept(inputs, stamp, tag)

    def latest(self, network: Optional[str] = None) -> Optional[Answer]:
        """The newest answer, of ``network`` or of any, at any moment; None before the first. Never waits."""
        return self._latest.get(network)

    def counts(self) -> Counts:
        """What it has done so far."""
        end = self.clock.now() if self._until is None else self._until
        seconds = 0.0 if self._begun is None else (end - self._begun) * 1e-3
        skipped = {one.name: one.skipped for one in self._subscriptions}
        return self._tally.counts(seconds, skipped, self._trouble.last)

    def start(self) -> "Stream":
        """Open the source and begin.

        Raises:
            InputError: the source cannot be opened.
            EdgekitError: it was started before.
        """
        if self._begun is not None:
            raise EdgekitError("a stream starts once; make another one")
        source = self._source
        if source is not None:
            source.open()
            if self.rate is None and not source.live:
                self.rate = source.rate
        name = "what is pushed" if source is None else source.name
        pace = Pace(self.rate)
        intake = Intake(self._frames, pace, self.clock, self._tally, self._trouble, name)
        self._threads.append(StreamThread("edgekit-stream", self._work, self.clock))
        if source is not None:
            capture = Capture(
                source,
                intake,
                pace,
                self._frames,
                self._gate,
                self.clock,
                self._tally,
                self._trouble,
                self._most,
            )
            self._threads.append(StreamThread("edgekit-capture", capture.run, self.clock))
        self._begun = self.clock.now()
        self._intake = intake
        for subscription in self._subscriptions:
            subscription.start()
        for thread in self._threads:
            thread.start()
        return self

    def wait(self, until: Optional[float] = None) -> bool:
        """Wait for the end of the source and of the last answer, or for the instant ``until``; whether the end came first."""
        with self._over:
            while not self._ended and (until is None or self.clock.now() < until):
                self.clock.wait(self._over, until)
            return self._ended

    def run(self, seconds: Optional[float] = None) -> Counts:
        """Start, wait for the end or ``seconds``, stop, and say what was done.

        Raises:
            InputError: the source cannot be opened.
            OptionError: ``seconds`` is no number above 0.
        """
        check_seconds(seconds)
        with self:
            self.wait(None if seconds is None else self.clock.now() + seconds * 1e3)
        return self.counts()

    def stop(self) -> None:
        """End now: the frame that runs is cancelled, threads are joined, subscribers get what they have not taken yet.

        May be called twice, and from a subscriber, whose own thread then ends when its function returns.
        """
        self._gate.close()
        self._frames.close(forget=True)
        self._answerer.stop()
        self.clock.leave()
        try:
            self._join()
        finally:
            self.clock.enter()

    def _join(self) -> None:
        stuck = [thread for thread in self._threads if not thread.join(PATIENCE_S)]
        if self._until is None and self._begun is not None:
            self._until = self.clock.now()
        for subscription in self._subscriptions:
            subscription.close()
        for subscription in self._subscriptions:
            subscription.close(PATIENCE_S)
        if stuck:
            # A driver that does not return from reading may crash if what it reads is taken away meanwhile.
            self._trouble.report("stuck", "a thread of the stream does not end; its source is not closed")
        elif self._source is not None:
            self._source.close()
        self._trouble.finish()

    def __enter__(self) -> "Stream":
        return self.start()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def _add(
        self,
        name: str,
        callback: Optional[OnAnswer],
        keep: int,
        stages: Optional[Sequence[str]],
        final_only: bool,
        network: Optional[str],
    ) -> Subscription:
        exits = self._answerer.exits
        by_network: Dict[Optional[str], Sequence[str]] = {}
        if isinstance(exits, Mapping):
            by_network.update(exits.items())
        else:
            by_network[None] = exits
        check_wanted(name, network, stages, by_network)
        added = Subscription(name, self.clock, self._trouble, callback, keep, stages, final_only, network)
        with self._guard:
            self._subscriptions = self._subscriptions + [added]
        if self._begun is not None:
            added.start()
        if self._ended:
            added.close()
        return added

    def _work(self) -> None:
        try:
            while True:
                frame = self._frames.take()
                if frame is None:
                    return
                self._answer(frame)
        finally:
            for subscription in self._subscriptions:
                subscription.close()
            with self._over:
                self._ended = True
                self.clock.notify_all(self._over)

    def _answer(self, frame: Frame) -> None:
        deadline = None if self._budget_ms is None else frame.arrived + self._budget_ms
        telling = Telling(frame, deadline, self.clock, self._tally, self._trouble, self._publish)
        try:
            ended = self._answerer.answer(frame.inputs, deadline, telling.tell)
        except Exception as error:  # whatever answers may be the user's own; the next frame is another try
            if not self._gate.closed:
                self._tally.add("failed")
                kind = "" if isinstance(error, EdgekitError) else f"{type(error).__name__}: "
                self._trouble.report("failed", f"frame {frame.number} could not be answered: {kind}{error}")
            return
        for network, result in ended.items() if isinstance(ended, Mapping) else ((None, ended),):
            telling.end(result, network)
        telling.count()

    def _publish(self, answer: Answer) -> None:
        self._latest[None] = self._latest[answer.network] = answer
        for subscription in self._subscriptions:
            subscription.put(answer)
