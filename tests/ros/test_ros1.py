"""The ROS 1 node on a real master, with real messages: what a robot sees of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toy_graphs import write_stereo

# Where Debian and Ubuntu put python3-rospy and what it needs; all of it is plain Python.
PACKAGES = Path("/usr/lib/python3/dist-packages")
ROOT = Path(__file__).resolve().parent.parent.parent
NODE = "import sys; sys.path.append(sys.argv.pop(1)); from edgekit.runtime.ros.ros1 import main; sys.exit(main(sys.argv[1:]))"


class Ros:
    """A master on a port of its own, and processes that know it."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ, "ROS_MASTER_URI": self.uri, "ROS_IP": "127.0.0.1", "ROS_LOG_DIR": str(folder / "log"),
            "ROS_HOME": str(folder), "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        self.start_master()

    def start(self, *command: str | Path, **more: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(word) for word in command], env=self.environment, cwd=ROOT, text=True, **more
        )
        self.processes.append(process)
        return process

    def start_master(self) -> None:
        script = "import sys; sys.path.append(sys.argv.pop(1)); import rosmaster; rosmaster.rosmaster_main()"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.master = self.start(
            sys.executable, "-c", script, PACKAGES, "--core", "-p", str(self.port), **quiet
        )
        until = time.monotonic() + 20
        while True:
            try:
                xmlrpc.client.ServerProxy(self.uri).getPid("/test")  # type: ignore[no-untyped-call]
                return
            except OSError:
                assert time.monotonic() < until and self.master.poll() is None, "no master"
                time.sleep(0.05)

    def node(self, bundle: Path, **parameters: object) -> subprocess.Popen[str]:
        given = {"bundle": bundle, "threads": 1, "diagnostics_rate": 5.0, **parameters}
        words = [f"_{name}:={value}" for name, value in given.items()]
        log = (self.folder / "node.log").open("w")
        return self.start(
            sys.executable, "-c", NODE, PACKAGES, "__ns:=/stereo", *words, stdout=log, stderr=log
        )

    def robot(self, shots: list[dict[str, Any]], **setting: Any) -> dict[str, Any]:
        robot = self.robot_runs(shots, **setting)
        return self.told(robot)

    def robot_runs(self, shots: list[dict[str, Any]], **setting: Any) -> subprocess.Popen[str]:
        asked = json.dumps({"shots": shots, **setting})
        return self.start(
            sys.executable,
            ROOT / "tests/ros/robot.py",
            PACKAGES,
            asked,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def told(self, robot: subprocess.Popen[str]) -> dict[str, Any]:
        out, errors = robot.communicate(timeout=60)
        assert robot.returncode == 0, errors + self.log()
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def log(self) -> str:
        return (self.folder / "node.log").read_text()

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@pytest.fixture
def ros(tmp_path: Path) -> Iterator[Ros]:
    if not all(
        (PACKAGES / name).is_dir() for name in ("rospy", "rosmaster", "stereo_msgs", "diagnostic_msgs")
    ):
        pytest.skip(
            "needs ROS 1: apt-get install python3-rospy python3-rosmaster python3-sensor-msgs python3-stereo-msgs python3-diagnostic-msgs"
        )
    made = Ros(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "toy.edgekit"
    write_stereo(str(folder))
    return folder


def number(found: dict[str, Any], *names: str) -> int:
    return sum(int(found["diagnosis"]["values"][name]) for name in names)


def test_at_20_hz_every_pair_is_answered_or_counted_and_little_time_is_added(ros: Ros, bundle: Path) -> None:
    ros.node(bundle, budget_ms=40.0)
    found = ros.robot([{}] * 80, size=[240, 320])
    values = found["diagnosis"]["values"]
    answered = {answer["stamp"] for answer in found["answers"]}
    assert number(found, "received_left") == number(found, "received_right") == 80, ros.log()
    assert number(found, "answered", "dropped", "failed", "refused", "unpaired_left") == 80
    assert len(answered) == number(found, "answered") >= 70
    assert len(found["answers"]) > len(answered)  # progressive: several exits of a pair
    # From the complete pair to its published answer, without what the session itself took; a machine that has other things
    # to do lets threads wait for each other.
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    assert float(values["added_p50_ms"]) <= (20.0 if busy else 5.0)
    assert values["stage"] == "stage4" and float(values["slack_ms"]) <= 40 and float(values["age_ms"]) > 0
    answer = found["answers"][-1]
    assert (answer["f"], answer["T"]) == pytest.approx((500.0, 0.12))
    assert (answer["size"], answer["encoding"], answer["step"], answer["frame"]) == (
        [240, 320],
        "32FC1",
        1280,
        "stereo_left",
    )
    assert answer["window"] == [320, 240]


def test_every_encoding_and_padded_rows_are_the_same_picture(ros: Ros, bundle: Path) -> None:
    ros.node(bundle, progressive=False)
    encodings = ["rgb8", "bgr8", "bgra8", "mono8", "mono16", "bgr16"]
    shots: list[dict[str, Any]] = [{"encoding": encoding, "padding": 6} for encoding in encodings]
    found = ros.robot([*shots, {"encoding": "mono16", "bigendian": True}], rate=5.0)
    assert len(found["answers"]) == 7, ros.log()
    means = [answer["mean"] for answer in found["answers"]]
    np.testing.assert_allclose(means, means[0], rtol=1e-5)


def test_what_cannot_be_used_is_counted_and_said_and_the_next_pair_is_answered(
    ros: Ros, bundle: Path
) -> None:
    ros.node(bundle, progressive=False)
    shots: list[dict[str, Any]] = [
        {}, {"without": [1]}, {"without": [0]}, {}, {"encoding": "bayer_rggb8"}, {"short": 5}, {"apart_ms": 8},
        {"apart_ms": 35}, {}, {"back_ms": 500}, {},
    ]  # fmt: skip
    found = ros.robot(shots, rate=10.0)
    # 0, 3, 6, 8, 10 are pairs; 9 is one that comes half a second too late, and is passed over.
    assert len(found["answers"]) == number(found, "answered") == 5, (found["diagnosis"], ros.log())
    assert number(found, "refused") == 2
    assert number(found, "unpaired_left") == number(found, "unpaired_right") == 2
    assert number(found, "pairs") == 6
    log = ros.log()
    assert "bayer_rggb8" in log and "mono8" in log and "bytes" in log
    assert "Traceback" not in log


def test_a_master_that_dies_stops_nothing_and_the_next_one_is_told_of_the_node(
    ros: Ros, bundle: Path
) -> None:
    node = ros.node(bundle, progressive=False)
    robot = ros.robot_runs([{}] * 50, rate=20.0, rest_s=1.0)
    until = time.monotonic() + 20
    while "answers" not in ros.log():
        assert time.monotonic() < until, ros.log()
        time.sleep(0.05)
    time.sleep(1.2)
    ros.master.kill()
    ros.master.wait()
    found = ros.told(robot)
    assert len(found["answers"]) == 50, ros.log()
    assert node.poll() is None
    assert "does not answer" in found["diagnosis"]["message"] and found["diagnosis"]["level"] == 2
    ros.start_master()
    again = ros.robot([{}] * 5, name="another")
    assert len(again["answers"]) == 5, ros.log()
    assert again["diagnosis"]["level"] == 0
    assert "did not know this node" in ros.log() and "Traceback" not in ros.log()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"bundle": "/nowhere.edgekit"}, ["/nowhere.edgekit"]),
        ({"policy": "stage3"}, ["stage3", "stage4"]),
        ({"budget_ms": "soon"}, ["budget_ms", "float"]),
        ({"backend": "abacus"}, ["abacus"]),
    ],
)
def test_a_wrong_parameter_ends_the_node_with_a_sentence(
    ros: Ros, bundle: Path, parameters: dict[str, object], words: list[str]
) -> None:
    node = ros.node(**{"bundle": bundle, **parameters})
    assert node.wait(30) == 2, ros.log()
    assert all(word in ros.log() for word in words) and "Traceback" not in ros.log()


def test_the_launch_file_starts_the_node_with_its_parameters(
    ros: Ros, bundle: Path, needs_roslaunch: Callable[[], str]
) -> None:
    ros.environment["ROS_PACKAGE_PATH"] = str(ROOT / "examples")
    ros.environment["PATH"] = f"{Path(sys.executable).parent}:{ros.environment['PATH']}"
    ros.environment["PYTHONPATH"] = f"{ROOT}:{needs_roslaunch()}"
    log = (ros.folder / "node.log").open("w")
    words = [f"bundle:={bundle}", "policy:=stage2", "budget_ms:=50"]
    ros.start(
        sys.executable, "-c", "import roslaunch; roslaunch.main()", "edgekit_ros", "stereo.launch", *words, stdout=log, stderr=log
    )  # fmt: skip
    found = ros.robot([{}] * 5)
    assert found["diagnosis"]["values"]["stage"] == "stage2", ros.log()
    assert len({answer["stamp"] for answer in found["answers"]}) == 5


@pytest.fixture
def needs_roslaunch() -> Callable[[], str]:
    def path() -> str:
        if not (PACKAGES / "roslaunch").is_dir():
            pytest.skip("needs roslaunch: apt-get install python3-roslaunch")
        return str(PACKAGES)

    return path
