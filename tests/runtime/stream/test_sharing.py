"""Several networks on one stream: which answers come when, whose they are, and what a failing one leaves to the others."""

from typing import Dict, Iterator, List, Mapping, Optional

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.errors import OptionError
from edgekit.runtime import Arbiter
from edgekit.runtime.session import Session
from edgekit.runtime.stream import Answer, ArbiterAnswerer, Seen, Source, Stream
from tests.runtime.arbiter.doubles import DEPTH, Robot
from tests.runtime.stream.doubles import finish

FEEDS = {"signs": {"image": "sign"}}


class Views(Source):
    """The golden inputs of both networks, every 100 ms."""

    live = False
    name = "views"

    def __init__(self, inputs: Mapping[str, np.ndarray], frames: int = 1) -> None:
        self.inputs = inputs
        self.left = frames

    def open(self) -> None:
        pass

    def read(self) -> Optional[Seen]:
        self.left -= 1
        return Seen(self.inputs) if self.left >= 0 else None


def views(robot: Robot) -> Dict[str, np.ndarray]:
    golden = robot.inputs()
    seen = dict(golden["depth"])
    seen["sign"] = golden["signs"]["image"]
    return seen  # type: ignore[return-value]


@pytest.fixture
def robot(stereo_bundle: Bundle, classifier_bundle: Bundle) -> Iterator[Robot]:
    made = Robot(stereo_bundle, classifier_bundle)
    yield made
    made.close()


def lines(heard: List[Answer]) -> List[object]:
    return [(one.network, one.stage, one.age_ms, one.final) for one in heard]


def test_every_networks_exits_come_as_soon_as_they_are_there_and_the_last_of_each_is_final(
    robot: Robot,
) -> None:
    stream = Stream(ArbiterAnswerer(robot.arbiter(), FEEDS), Views(views(robot)), budget_ms=40)
    heard: List[Answer] = []
    stream.subscribe(heard.append, name="heard", keep=99)
    finish(stream)
    # Of 40 ms, 4 are the classifier's first exit, and 20 two exits of depth; nothing else fits into the 16 that are left.
    assert lines(heard) == [
        ("signs", "stage1", 4.0, False),
        ("depth", "stage1", 14.0, False),
        ("depth", "stage2", 24.0, False),
        ("depth", "stage2", 24.0, True),
        ("signs", "stage1", 24.0, True),
    ]
    counts = stream.counts()
    assert (counts.answered, counts.missed, counts.failed) == (1, 0, 0)
    assert counts.exits == {"depth stage2": 1, "signs stage1": 1}
    assert counts.best_ages.max == pytest.approx(24.0)
    newest = {name: stream.latest(name) for name in ("depth", "signs")}
    assert {name: one and one.stage for name, one in newest.items()} == {"depth": "stage2", "signs": "stage1"}


def test_a_networks_best_exit_is_final_at_once(robot: Robot) -> None:
    stream = Stream(ArbiterAnswerer(robot.arbiter(), FEEDS), Views(views(robot)))
    heard: List[Answer] = []
    stream.subscribe(heard.append, name="heard", keep=99, final_only=True)
    finish(stream)
    assert sorted((one.network, one.stage) for one in heard) == [("depth", "stage4"), ("signs", "stage2")]


def test_a_frame_for_which_nothing_is_in_time_gets_one_answer_however_late(robot: Robot) -> None:
    stream = Stream(ArbiterAnswerer(robot.arbiter(), FEEDS), Views(views(robot), 2), budget_ms=2)
    heard: List[Answer] = []
    stream.subscribe(heard.append, name="heard", keep=99)
    finish(stream)
    assert [(one.network, one.stage, one.result.missed) for one in heard if one.final] == [
        ("signs", "stage1", True)
    ] * 2
    assert stream.counts().missed == 2


def test_a_stage_that_runs_at_the_deadline_is_over_when_the_next_frame_begins(robot: Robot) -> None:
    arbiter = robot.arbiter()
    robot.later = {"depth": dict(DEPTH, stage2=500.0)}
    stream = Stream(ArbiterAnswerer(arbiter, FEEDS), Views(views(robot), 3), budget_ms=40)
    heard: List[Answer] = []
    stream.subscribe(heard.append, name="heard", keep=99, network="depth", final_only=True)
    finish(stream)
    assert [one.stage for one in heard] == ["stage1"] * 3
    assert all(one.age_ms <= 44.0 for one in heard)  # a cancelled stage takes 3 ms to end
    assert stream.counts().answered == 3


def test_a_subscriber_gets_the_network_that_it_wants_and_one_that_is_not_there_is_refused(
    robot: Robot,
) -> None:
    stream = Stream(ArbiterAnswerer(robot.arbiter(), FEEDS), Views(views(robot)))
    heard: List[Answer] = []
    stream.subscribe(heard.append, name="heard", keep=99, network="signs", stages=["stage2"])
    for wrong, said in (
        ({"network": "sign"}, "wants answers of 'sign'; this stream's are depth, signs"),
        ({"network": "signs", "stages": ["stage4"]}, "signs answers at stage1, stage2"),
        ({"stages": ["stage9"]}, "stage1, stage2, stage4"),
    ):
        with pytest.raises(OptionError, match=said):
            stream.subscribe(heard.append, name="wrong", **wrong)  # type: ignore[arg-type]
    finish(stream)
    assert [(one.network, one.stage) for one in heard] == [("signs", "stage2")]


def test_a_network_that_fails_is_said_and_the_other_answers(robot: Robot) -> None:
    arbiter = robot.arbiter()
    robot.backends["signs"].failing = {"stage1"}
    said: List[str] = []
    stream = Stream(ArbiterAnswerer(arbiter, FEEDS), Views(views(robot)), on_trouble=said.append)
    heard: List[Answer] = []
    stream.subscribe(heard.append, name="heard", keep=99, final_only=True)
    finish(stream)
    assert [(one.network, one.stage) for one in heard] == [("depth", "stage4")]
    assert len(said) == 1 and "signs" in said[0] and "stage1" in said[0]


def test_inputs_that_are_not_there_are_said(robot: Robot) -> None:
    arbiter = robot.arbiter()
    for wrong, words in (
        ({"sign": {"image": "left"}}, "no network 'sign' .did you mean signs"),
        ({"signs": {"picture": "left"}}, "'picture' is no input of signs; it takes image"),
    ):
        with pytest.raises(OptionError, match=words):
            ArbiterAnswerer(arbiter, wrong)
    said: List[str] = []
    only = {"sign": views(robot)["sign"]}
    stream = Stream(ArbiterAnswerer(arbiter, FEEDS), Views(only), on_trouble=said.append)
    finish(stream)
    assert stream.counts().failed == 1
    assert "depth is fed with 'left', and the frame has sign" in said[0]


def test_a_real_camera_feeds_both_as_each_would_be_alone(
    stereo_bundle: Bundle, classifier_bundle: Bundle
) -> None:
    random = np.random.RandomState(0)
    seen = {side: random.randint(0, 256, (14, 30, 3)).astype(np.uint8) for side in ("left", "right")}
    seen["sign"] = random.randn(1, 500).astype(np.float32)
    heard: Dict[Optional[str], Answer] = {}
    with Session.open(stereo_bundle.path, threads=1) as depth, Session.open(
        classifier_bundle.path, threads=1
    ) as signs, Arbiter({"depth": depth, "signs": signs}) as arbiter:
        stream = Stream(ArbiterAnswerer(arbiter, FEEDS), Views(seen, 3))
        stream.subscribe(lambda answer: heard.update({answer.network: answer}), keep=99, final_only=True)
        finish(stream)
        expected = {
            "depth": depth.infer(left=seen["left"], right=seen["right"]).output,
            "signs": signs.infer(image=seen["sign"]).output,
        }
    assert stream.counts().exits == {"depth stage4": 3, "signs stage2": 3}
    for name, output in expected.items():
        found = heard[name].output
        assert found is not None and output is not None
        np.testing.assert_allclose(found, output, rtol=1e-5, atol=1e-6)
