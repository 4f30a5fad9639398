"""A session behind a stream: every exit is told, the deadline ends a frame, but never before its first exit."""

from typing import Callable, Dict, List, Optional

import numpy as np
import pytest

from edgekit.errors import InputError, OptionError
from edgekit.runtime.result import Result
from edgekit.runtime.session import Session
from edgekit.runtime.stream import Answer, Seen, SessionAnswerer, Stream
from tests.runtime.stream.doubles import Recording, finish

MakeSession = Callable[..., Session]
MS = {"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0}


def golden(session: Session) -> Dict[str, np.ndarray]:
    return session.golden()[0]


def test_every_exit_is_told_and_the_last_is_what_is_returned(virtual: MakeSession) -> None:
    session = virtual(MS)
    told: List[Result] = []
    answerer = SessionAnswerer(session)
    assert answerer.exits == ("stage1", "stage2", "stage4")
    result = answerer.answer(golden(session), None, told.append)
    assert [one.stage for one in told] == ["stage1", "stage2", "stage4"]
    assert (result.stage, result.reason) == ("stage4", "final")


def test_a_stage_that_runs_at_the_deadline_is_cancelled(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage2": 100.0})
    begun = session.clock.now()
    told: List[Result] = []
    result = SessionAnswerer(session).answer(golden(session), begun + 50.0, told.append)
    assert (result.stage, result.reason) == ("stage1", "budget")
    assert [one.stage for one in told] == ["stage1"]
    assert session.clock.now() == begun + 50.0


def test_stages_that_take_long_to_end_are_cancelled_earlier_so_that_the_next_frame_is_not_late(
    virtual: MakeSession,
) -> None:
    session = virtual(MS, later={"stage2": 100.0}, cancel_ms=6.0)
    answerer = SessionAnswerer(session)
    ended = []
    for _ in range(8):
        begun = session.clock.now()
        result = answerer.answer(golden(session), begun + 50.0, lambda told: None)
        assert (result.stage, result.missed) == ("stage1", False)
        ended.append(session.clock.now() - begun)
    assert ended[0] == 56.0
    assert max(ended[1:]) == 50.0


def test_a_first_exit_that_is_late_is_waited_for_and_nothing_after_it(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage1": 80.0})
    begun = session.clock.now()
    result = SessionAnswerer(session).answer(golden(session), begun + 50.0, lambda told: None)
    assert (result.stage, list(result.stage_ms)) == ("stage1", ["stage1"])
    assert session.clock.now() == begun + 80.0


def test_a_frame_whose_time_is_up_before_it_begins_still_gets_its_first_exit(virtual: MakeSession) -> None:
    session = virtual(MS)
    result = SessionAnswerer(session).answer(golden(session), session.clock.now() - 5.0, lambda told: None)
    assert result.stage == "stage1"


def test_after_stop_frames_end_without_an_answer(virtual: MakeSession) -> None:
    session = virtual(MS)
    answerer = SessionAnswerer(session)
    answerer.stop()
    result = answerer.answer(golden(session), None, lambda told: None)
    assert result.reason == "cancelled"


def test_a_frame_that_lacks_an_input_is_an_error_and_the_next_one_is_answered(virtual: MakeSession) -> None:
    session = virtual(MS)
    answerer = SessionAnswerer(session)
    with pytest.raises(InputError, match="right is missing"):
        answerer.answer({"left": golden(session)["left"]}, None, lambda told: None)
    assert answerer.answer(golden(session), None, lambda told: None).stage == "stage4"


class Golden(Recording):
    """The golden pair, again and again."""

    def __init__(self, session: Session, frames: int) -> None:
        super().__init__(frames)
        self.inputs = golden(session)

    def read(self) -> Optional[Seen]:
        self.left -= 1
        return Seen(self.inputs) if self.left >= 0 else None


def test_a_stream_of_a_real_session_answers_as_infer_does(session: Session) -> None:
    heard: List[Answer] = []
    stream = Stream(session, Golden(session, 5))
    stream.subscribe(heard.append, name="heard", keep=100)
    finish(stream)
    counts = stream.counts()
    assert (counts.answered, counts.failed, counts.exits) == (5, 0, {"stage4": 5})
    finals = [answer for answer in heard if answer.final]
    assert len(finals) == 5
    expected = session.infer(**golden(session)).output
    for answer in finals:
        np.testing.assert_array_equal(answer.output, expected)
    assert [answer.stage for answer in heard if answer.frame.number == 3] == ["stage1", "stage2", "stage4"]


class Zooming(Recording):
    """Pictures whose size changes."""

    def read(self) -> Optional[Seen]:
        self.left -= 1
        shape = (10 + self.left, 20, 3)
        pictures = {side: np.full(shape, 7, np.uint8) for side in ("left", "right")}
        if self.left == 1:
            pictures["right"] = pictures["right"][1:]
        return Seen(pictures) if self.left >= 0 else None


def test_every_picture_is_answered_in_its_own_size_and_a_pair_of_two_sizes_is_said(session: Session) -> None:
    said: List[str] = []
    heard: List[Answer] = []
    stream = Stream(session, Zooming(4), on_trouble=said.append)
    stream.subscribe(heard.append, name="heard", keep=100, final_only=True)
    finish(stream)
    outputs = [answer.output for answer in heard]
    assert [output.shape for output in outputs if output is not None] == [(13, 20), (12, 20), (10, 20)]
    assert stream.counts().failed == 1
    assert any("left is 20 x 11 px and right is 20 x 10 px" in text for text in said)


def test_a_consumer_of_an_exit_that_the_bundle_lacks_is_refused(session: Session) -> None:
    stream = Stream(session, Golden(session, 1))
    with pytest.raises(
        OptionError, match="wants the exit of 'stage3', and this network answers at stage1, stage2, stage4"
    ):
        stream.subscribe(lambda answer: None, name="planner", stages=["stage3"])
