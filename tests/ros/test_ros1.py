"""The ROS 1 node on a real master, with real messages: what a robot sees of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ros_world import ADVICE, PACKAGES, ROOT, World, missing
from edgekit.errors import EdgekitError
from edgekit.runtime.ros.node import Options, open_session
from tests.toy_graphs import write_stereo


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if missing():
        pytest.skip(f"needs ROS 1: {ADVICE}")
    with World(tmp_path_factory.mktemp("ros")) as made:
        yield made


@pytest.fixture
def ros(world: World) -> Iterator[World]:
    yield world
    world.rest()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "toy.edgekit"
    write_stereo(str(folder))
    return folder


def number(found: dict[str, Any], *names: str) -> int:
    """What the node has counted from the first of the robot's shots to the last."""
    before, after = found["before"]["values"], found["diagnosis"]["values"]
    return sum(int(after[name]) - int(before[name]) for name in names)


def test_at_20_hz_every_pair_is_answered_or_counted_and_what_the_node_adds_is_told(
    ros: World, bundle: Path
) -> None:
    ros.node(bundle, budget_ms=1000.0)
    found = ros.robot([{}] * 40, size=[120, 160])
    values = found["diagnosis"]["values"]
    answered = {answer["stamp"] for answer in found["answers"]}
    assert number(found, "received_left") == number(found, "received_right") == 40, ros.log()
    assert number(found, "answered", "dropped", "failed", "refused", "unpaired_left") == 40
    assert len(answered) == number(found, "answered") > 0
    assert len(found["answers"]) > len(answered)  # progressive: several exits of a pair
    # From the complete pair to its published answer, without what the session itself took: less than the robot waited for it.
    waited = sorted(answer["ms"] for answer in found["answers"])
    assert (
        0 < float(values["added_p50_ms"]) <= float(values["added_p99_ms"]) <= float(values["returned_p99_ms"])
    )
    assert float(values["added_p50_ms"]) < waited[len(waited) // 2]
    assert values["stage"] == "stage4" and float(values["slack_ms"]) <= 1000 and float(values["age_ms"]) > 0
    answer = found["answers"][-1]
    assert (answer["f"], answer["T"]) == pytest.approx((500.0, 0.12))
    assert (answer["size"], answer["encoding"], answer["step"], answer["frame"]) == (
        [120, 160],
        "32FC1",
        640,
        "stereo_left",
    )
    assert answer["window"] == [160, 120]


def test_every_encoding_and_padded_rows_are_the_same_picture(ros: World, bundle: Path) -> None:
    ros.node(bundle, progressive=False)
    encodings = ["rgb8", "bgr8", "bgra8", "mono8", "mono16", "bgr16"]
    shots: list[dict[str, Any]] = [{"encoding": encoding, "padding": 6} for encoding in encodings]
    found = ros.robot([*shots, {"encoding": "mono16", "bigendian": True}], each=True)
    assert len(found["answers"]) == 7, ros.log()
    means = [answer["mean"] for answer in found["answers"]]
    np.testing.assert_allclose(means, means[0], rtol=1e-5)


def test_what_cannot_be_used_is_counted_and_said_and_the_next_pair_is_answered(
    ros: World, bundle: Path
) -> None:
    ros.node(bundle, progressive=False)
    shots: list[dict[str, Any]] = [
        {}, {"without": [1]}, {"without": [0]}, {}, {"encoding": "bayer_rggb8"}, {"short": 5}, {"apart_ms": 8},
        {"apart_ms": 35}, {}, {"behind_ms": 500}, {},
    ]  # fmt: skip
    found = ros.robot(shots, each=True)
    # 0, 3, 6, 8, 10 are pairs; 9 is one that comes half a second too late, and is passed over.
    assert len(found["answers"]) == number(found, "answered") == 5, (found["diagnosis"], ros.log())
    assert number(found, "refused") == 2
    assert number(found, "unpaired_left") == number(found, "unpaired_right") == 2
    assert number(found, "disordered") == 1 and number(found, "pairs") == 6
    log = ros.log()
    assert "bayer_rggb8" in log and "mono8" in log and "bytes" in log
    assert "Traceback" not in log


def test_a_camera_of_which_the_master_does_not_tell_is_found_all_the_same(ros: World, bundle: Path) -> None:
    """As where two nodes start at once, and what the master tells of one crosses what the other one asks."""
    ros.node(bundle, progressive=False)
    ros.unsubscribe("/stereo/edgekit_stereo", "/stereo/left/image_rect", "/stereo/right/image_rect")
    assert ros.robot([{}])["answers"], ros.log()


def test_a_master_that_dies_stops_nothing_and_the_next_one_is_told_of_the_node(
    ros: World, bundle: Path
) -> None:
    node = ros.node(bundle, progressive=False)
    robot = ros.robot_starts([{}] * 30)
    ros.master.kill()
    ros.master.wait()
    found = ros.told(robot)
    assert number(found, "received_left") == number(found, "received_right") == 30, ros.log()
    assert len(found["answers"]) == number(found, "answered") == 30 - number(found, "dropped"), ros.log()
    assert number(found, "answered") > 0, ros.log()
    assert node.poll() is None
    assert "does not answer" in found["diagnosis"]["message"] and found["diagnosis"]["level"] == 2
    ros.start_master()
    again = ros.robot([{}] * 5, name="another")
    assert len(again["answers"]) == number(again, "answered") > 0, ros.log()
    assert again["diagnosis"]["level"] == 0
    assert "did not know this node" in ros.log() and "Traceback" not in ros.log()


def test_a_parameter_of_the_wrong_kind_ends_the_node_with_a_sentence(ros: World, bundle: Path) -> None:
    node = ros.node(bundle, budget_ms="soon")
    assert node.wait(120) == 2, ros.log()
    assert "budget_ms" in ros.log() and "float" in ros.log() and "Traceback" not in ros.log()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bundle": ""}, ["~bundle"]),
        ({"bundle": "/nowhere.edgekit"}, ["/nowhere.edgekit"]),
        ({"policy": "stage3"}, ["stage3", "stage4"]),
        ({"backend": "abacus"}, ["abacus"]),
        ({"bits": 20}, ["bits=20"]),
    ],
)
def test_parameters_that_no_session_can_be_opened_with_are_refused_in_a_sentence(
    bundle: Path, wrong: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(EdgekitError) as refused:
        open_session(Options(**{"bundle": str(bundle), **wrong}))
    assert all(word in str(refused.value) for word in words)


def test_the_launch_file_starts_the_node_with_its_parameters(
    ros: World, bundle: Path, needs_roslaunch: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ros.environment, "ROS_PACKAGE_PATH", str(ROOT / "examples"))
    monkeypatch.setitem(ros.environment, "PATH", f"{Path(sys.executable).parent}:{ros.environment['PATH']}")
    monkeypatch.setitem(ros.environment, "PYTHONPATH", f"{ROOT}:{needs_roslaunch()}")
    words = [f"bundle:={bundle}", "policy:=stage2", "budget_ms:=50"]
    with (ros.folder / "node.log").open("w") as log:
        ros.start(
            sys.executable, "-c", "import roslaunch; roslaunch.main()", "edgekit_ros", "stereo.launch", *words, stdout=log, stderr=log
        )  # fmt: skip
    found = ros.robot([{}] * 5, each=True)
    assert found["diagnosis"]["values"]["stage"] == "stage2", ros.log()
    assert len({answer["stamp"] for answer in found["answers"]}) == 5


@pytest.fixture
def needs_roslaunch() -> Callable[[], str]:
    def path() -> str:
        if not (PACKAGES / "roslaunch").is_dir():
            pytest.skip("needs roslaunch: apt-get install python3-roslaunch")
        return str(PACKAGES)

    return path
