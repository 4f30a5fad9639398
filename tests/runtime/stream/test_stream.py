"""Streams: the latest frame is answered, every exit is handed on, and nothing that goes wrong beside it stops them."""

import threading
from typing import List, Optional

import numpy as np
import pytest

from edgekit.errors import EdgekitError, InputError, OptionError
from edgekit.runtime.stream import Answer, Stream
from tests.runtime.stream.doubles import PICTURE, Camera, Listener, Recording, Steps, finish
from tests.runtime.virtual import JumpingClock


def test_subscribers_get_the_first_exit_at_once_and_its_refinement_later() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [10, 20]), Camera(clock, frames=2))
    listener = Listener(clock)
    stream.subscribe(listener)
    finish(stream)
    assert listener.lines == [
        (110.0, 1, "stage1", False), (130.0, 1, "stage2", True),
        (210.0, 2, "stage1", False), (230.0, 2, "stage2", True),
    ]  # fmt: skip
    first = listener.heard[0][1]
    assert (first.frame.stamp, first.age_ms) == (100.0, 10.0)
    latest = stream.latest()
    assert latest is not None and latest.stage == "stage2"
    counts = stream.counts()
    assert (counts.captured, counts.answered, counts.dropped, counts.missed) == (2, 2, 0, 0)
    assert counts.exits == {"stage2": 2}
    assert counts.best_ages.max == 30.0
    assert counts.first_ages.p50 == pytest.approx(10.0, rel=0.01)


def test_the_latest_frame_wins_and_the_others_are_counted() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [240]), Camera(clock, frames=6))
    listener = Listener(clock)
    stream.subscribe(listener)
    finish(stream)
    assert [(now, number) for now, number, _, _ in listener.lines] == [
        (340.0, 1),
        (580.0, 3),
        (820.0, 5),
        (1060.0, 6),
    ]
    assert stream.counts().dropped == 2


def test_a_budget_counts_from_the_arrival_of_the_frame_also_while_it_waits() -> None:
    clock = JumpingClock()
    answerer = Steps(clock, [150])
    stream = Stream(answerer, Camera(clock, frames=2), budget_ms=100)
    finish(stream)
    assert answerer.begun == [100.0, 250.0]
    assert answerer.deadlines == [200.0, 300.0]
    assert stream.counts().missed == 2


def test_a_recording_without_a_rate_is_answered_frame_by_frame() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [40]), Recording(5))
    finish(stream)
    counts = stream.counts()
    assert (counts.captured, counts.answered, counts.dropped) == (5, 5, 0)
    assert counts.best_ages.max == 40.0
    assert counts.seconds == pytest.approx(0.2)


@pytest.mark.parametrize("own, wanted", [(10.0, None), (None, 10.0), (50.0, 10.0)])
def test_a_recording_is_played_at_the_rate(own: Optional[float], wanted: Optional[float]) -> None:
    clock = JumpingClock()
    answerer = Steps(clock, [240])
    stream = Stream(answerer, Recording(6, rate=own), rate=wanted)
    finish(stream)
    assert answerer.begun == [0.0, 240.0, 480.0, 720.0]
    assert stream.counts().dropped == 2


def test_a_lower_rate_than_the_cameras_takes_every_second_frame() -> None:
    clock = JumpingClock()
    answerer = Steps(clock, [1])
    stream = Stream(answerer, Camera(clock, frames=10, period=50), rate=10)
    finish(stream)
    assert answerer.begun == [50.0, 150.0, 250.0, 350.0, 450.0]
    counts = stream.counts()
    assert (counts.captured, counts.thinned, counts.absent) == (10, 5, 0)


def test_a_source_slower_than_the_rate_is_said_and_counted() -> None:
    clock = JumpingClock()
    said: List[str] = []
    stream = Stream(Steps(clock, [1]), Camera(clock, frames=60, period=200), rate=10, on_trouble=said.append)
    finish(stream)
    assert stream.counts().absent == 59
    assert said == ["camera gives 5.0 frames/s, less than the 10 wanted"]


def test_a_camera_that_vanishes_is_looked_for_until_it_is_back() -> None:
    clock = JumpingClock()
    said: List[str] = []
    camera = Camera(clock, frames=5, gone=[(300.0, 3000.0)])
    stream = Stream(Steps(clock, [1]), camera, on_trouble=said.append)
    finish(stream)
    assert camera.opened == [0.0, 550.0, 1050.0, 2050.0, 4050.0]  # ever less often
    assert said == ["camera is not there; looking for it again", "camera is back after 3.8 s"]
    counts = stream.counts()
    assert (counts.answered, counts.vanished) == (5, 1)
    assert counts.renewed_ages.max == pytest.approx(3951.0)


def test_a_camera_that_is_not_there_at_first_is_an_error() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [1]), Camera(clock, frames=1, gone=[(0.0, 1.0)]))
    with pytest.raises(InputError, match="camera is not there"):
        stream.start()
    stream.stop()


def test_stamps_that_go_backwards_are_passed_over() -> None:
    clock = JumpingClock()
    said: List[str] = []
    stamps = {3: 150.0}
    camera = Camera(clock, frames=4, stamps=lambda number, now: stamps.get(number, now))
    stream = Stream(Steps(clock, [1]), camera, on_trouble=said.append)
    listener = Listener(clock)
    stream.subscribe(listener)
    finish(stream)
    assert [answer.frame.stamp for _, answer in listener.heard] == [100.0, 200.0, 400.0]
    assert stream.counts().disordered == 1
    assert said == ["camera: a frame is 50.0 ms older than the one before it, and is passed over"]


def test_stamps_that_go_far_back_are_a_recording_that_began_again() -> None:
    clock = JumpingClock()
    said: List[str] = []
    camera = Camera(clock, 6, 1000.0, stamps=lambda number, now: now if number <= 3 else now - 3000.0)
    stream = Stream(Steps(clock, [1]), camera, on_trouble=said.append)
    finish(stream)
    assert stream.counts().answered == 6
    assert said == ["camera: stamps went back by 2.0 s; going on from there"]


def test_a_stamp_in_the_future_is_taken_as_now() -> None:
    clock = JumpingClock()
    said: List[str] = []
    camera = Camera(clock, frames=2, stamps=lambda number, now: now + 5.0)
    stream = Stream(Steps(clock, [1]), camera, on_trouble=said.append)
    finish(stream)
    assert stream.counts().first_ages.max == 1.0
    first = "camera: a frame is stamped 5.0 ms in the future; taken as seen now"
    assert said == [first, f"{first} (the last of 1 more)"]


def test_frames_of_changing_size_go_on_and_are_said() -> None:
    clock = JumpingClock()
    said: List[str] = []
    camera = Camera(clock, frames=3, picture=lambda number: np.zeros((4 * min(number, 2), 6, 3), np.uint8))
    stream = Stream(Steps(clock, [1]), camera, on_trouble=said.append)
    finish(stream)
    assert stream.counts().answered == 3
    assert said == ["camera: frames were 4x6x3 and are now 8x6x3"]


def test_a_subscriber_that_raises_stops_nothing() -> None:
    clock = JumpingClock()
    said: List[str] = []

    def breaking(answer: Answer) -> None:
        raise ValueError("no such motor")

    stream = Stream(Steps(clock, [1]), Camera(clock, frames=3), on_trouble=said.append)
    broken = stream.subscribe(breaking)
    listener = Listener(clock)
    stream.subscribe(listener)
    finish(stream)
    assert len(listener.heard) == broken.raised == 3
    first = "subscriber breaking raised ValueError: no such motor"
    assert said == [first, f"{first} (the last of 2 more)"]


def test_a_subscriber_that_blocks_stops_nothing_and_gets_only_the_latest() -> None:
    clock = JumpingClock()
    said: List[str] = []
    free = threading.Condition()
    got: List[int] = []

    def slow(answer: Answer) -> None:
        got.append(answer.frame.number)
        until = clock.now() + 2500
        with free:
            while clock.now() < until:
                clock.wait(free, until)

    stream = Stream(Steps(clock, [1]), Camera(clock, frames=30), on_trouble=said.append)
    blocked = stream.subscribe(slow)
    listener = Listener(clock)
    stream.subscribe(listener)
    finish(stream)
    assert len(listener.heard) == 30
    assert got[:2] == [1, 25]
    assert blocked.skipped == stream.counts().skipped["slow"] == 30 - len(got)
    assert said[0].startswith("subscriber slow has been busy with one answer for 1.1 s")


def test_a_subscriber_may_keep_every_answer() -> None:
    clock = JumpingClock()
    free = threading.Condition()
    got: List[int] = []

    def slow(answer: Answer) -> None:
        got.append(answer.frame.number)
        until = clock.now() + 150
        with free:
            while clock.now() < until:
                clock.wait(free, until)

    stream = Stream(Steps(clock, [1]), Camera(clock, frames=9))
    stream.subscribe(slow, name="recorder", keep=16)
    finish(stream)
    assert got == list(range(1, 10))


def test_a_subscriber_may_want_one_exit_or_the_last_one_alone() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [10, 20]), Camera(clock, frames=2))
    early, last = Listener(clock), Listener(clock)
    stream.subscribe(early, name="early", stages=["stage1"])
    stream.subscribe(last, name="last", final_only=True)
    finish(stream)
    assert [line[2] for line in early.lines] == ["stage1", "stage1"]
    assert [line[2] for line in last.lines] == ["stage2", "stage2"]


def test_an_exit_that_the_network_does_not_have_is_refused_when_it_is_asked_for() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [1]), Camera(clock, frames=1))
    with pytest.raises(
        OptionError, match="planner wants the exit of 'stage7', and this network answers at stage1, stage2"
    ):
        stream.subscribe(Listener(clock), name="planner", stages=["stage7"])


def test_frames_that_fail_are_counted_and_the_stream_goes_on() -> None:
    clock = JumpingClock()
    said: List[str] = []
    answerer = Steps(clock, [1])
    answerer.failing = {1: InputError("right is missing"), 3: RuntimeError("boom")}
    stream = Stream(answerer, Camera(clock, frames=4, period=6000), on_trouble=said.append)
    finish(stream)
    counts = stream.counts()
    assert (counts.answered, counts.failed) == (2, 2)
    assert said == [
        "frame 1 could not be answered: right is missing",
        "frame 3 could not be answered: RuntimeError: boom",
    ]
    assert counts.trouble == said[-1]


def test_a_loop_takes_answers_on_its_own_thread_until_the_stream_ends() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [10]), Camera(clock, frames=3))
    answers = stream.answers()
    with stream:
        assert [answer.frame.number for answer in answers] == [1, 2, 3]
        assert answers.take(timeout_ms=50) is None


def test_frames_can_be_pushed_with_their_stamp_and_tag() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [10]))
    answers = stream.answers()
    with pytest.raises(EdgekitError, match="takes no frames"):
        stream.offer({"image": PICTURE})
    with stream:
        assert stream.offer({"image": PICTURE}, stamp=clock.now() - 7.0, tag="header")
        answer = answers.take()
        assert answer is not None
        assert (answer.frame.tag, answer.age_ms, answer.final) == ("header", 17.0, True)
    with pytest.raises(EdgekitError, match="takes no frames"):
        stream.offer({"image": PICTURE})


def test_stopping_cancels_the_frame_that_runs_and_leaves_no_thread_behind() -> None:
    clock = JumpingClock()
    before = set(threading.enumerate())
    camera = Camera(clock, frames=1000)
    stream = Stream(Steps(clock, [30, 1e9]), camera)
    listener = Listener(clock)
    stream.subscribe(listener, name="listener")
    with stream:
        names = {thread.name for thread in set(threading.enumerate()) - before}
        stream.wait(until=500.0)
    assert names == {"edgekit-stream", "edgekit-capture", "edgekit-listener"}
    assert set(threading.enumerate()) <= before
    assert camera.closed == 1
    # None better will come
    assert listener.lines == [
        (130.0, 1, "stage1", False),
        (500.0, 1, "stage1", True),
    ]
    stream.stop()


def test_it_ends_after_as_many_frames_as_were_asked_for() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [1]), Camera(clock, frames=1000), frames=7)
    assert stream.run().answered == 7
    timed = Stream(Steps(clock, [1]), Camera(clock, frames=1000))
    assert timed.run(seconds=1.05).captured == 10


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"rate": float("nan")}, {"budget_ms": -3}])
def test_wrong_numbers_are_refused(wrong: "dict[str, float]") -> None:
    with pytest.raises(OptionError):
        Stream(Steps(JumpingClock(), [1]), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": "30"},
        {"rate": True},
        {"frames": 0},
        {"frames": 1.5},
        {"source": "recording"},
        {"answerer": "net.edgekit"},
    ],
    ids=str,
)
def test_what_no_stream_can_be_made_of_is_refused_in_a_sentence(wrong: "dict[str, object]") -> None:
    with pytest.raises(OptionError, match=r"give|is answered by"):
        Stream(**{"answerer": Steps(JumpingClock(), [1]), **wrong})  # type: ignore[arg-type]


def test_who_cannot_be_called_or_wants_nothing_is_refused() -> None:
    stream = Stream(Steps(JumpingClock(), [1]))
    with pytest.raises(OptionError, match="give a function"):
        stream.subscribe(3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="must be able to wait"):
        stream.answers(keep="all")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="leave stages out"):
        stream.subscribe(print, stages=[])
    with pytest.raises(OptionError, match="seconds='1'"):
        stream.run("1")  # type: ignore[arg-type]


def test_what_is_pushed_and_is_no_frame_is_refused_and_the_next_one_answered() -> None:
    clock = JumpingClock()
    stream = Stream(Steps(clock, [1]))
    listener = Listener(clock)
    stream.subscribe(listener)
    with stream:
        with pytest.raises(InputError, match=r"inputs by name, .* not NoneType"):
            stream.offer(None)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="stamp=nan: give an instant"):
            stream.offer({"image": PICTURE}, stamp=float("nan"))
        assert stream.offer({"image": PICTURE})
