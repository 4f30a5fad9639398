"""A ROS 1 of one's own: a master on a free port, edgekit's node, and a robot with cameras, each a process as on a real one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Where Debian and Ubuntu put python3-rospy and what it needs; all of it is plain Python.
PACKAGES = Path("/usr/lib/python3/dist-packages")
NEEDED = ("rospy", "rosmaster", "sensor_msgs", "stereo_msgs", "diagnostic_msgs")
ADVICE = "apt-get install " + " ".join(f"python3-{name.replace('_', '-')}" for name in NEEDED)
ROOT = Path(__file__).resolve().parent.parent
# What does not come in so many s does not come.
LIMIT_S = 60.0
NODE = "import sys; sys.path.append(sys.argv.pop(1)); from edgekit.runtime.ros.ros1 import main; sys.exit(main(sys.argv[1:]))"


def missing() -> list[str]:
    """What of ROS 1 is not installed."""
    return [name for name in NEEDED if not (PACKAGES / name).is_dir()]


class World:
    """A master on a port of its own, and processes that know it; use it as a context manager.

    Attributes:
        environment: of every process.
        folder: where they write.
        master: its process.
    """

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
        self.processes: list[subprocess.Popen[Any]] = []

    def start_master(self) -> None:
        """Start the master, the first or another one on the same port, and wait until it answers."""
        script = "import sys; sys.path.append(sys.argv.pop(1)); import rosmaster; rosmaster.rosmaster_main()"
        self.master = subprocess.Popen(
            [sys.executable, "-c", script, str(PACKAGES), "--core", "-p", str(self.port)],
            env=self.environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + LIMIT_S
        while True:
            try:
                xmlrpc.client.ServerProxy(self.uri).getPid("/world")
                return
            except OSError:
                if time.monotonic() > until or self.master.poll() is not None:
                    raise
                time.sleep(0.05)

    def node(self, bundle: Path, namespace: str = "/stereo", **parameters: object) -> subprocess.Popen[str]:
        """edgekit's node, which writes what it says to `log`."""
        given = {"bundle": bundle, "threads": 1, "diagnostics_rate": 5.0, **parameters}
        words = [f"_{name}:={value}" for name, value in given.items()]
        with (self.folder / "node.log").open("w") as log:
            return self.start(
                sys.executable, "-c", NODE, PACKAGES, f"__ns:={namespace}", *words, stdout=log, stderr=log
            )

    def robot(self, shots: list[dict[str, Any]], **setting: object) -> dict[str, Any]:
        """Let a robot publish ``shots`` and listen; what it heard. See benchmarks/ros_robot.py."""
        return self.told(self.robot_starts(shots, **setting))

    def robot_starts(self, shots: list[dict[str, Any]], **setting: object) -> subprocess.Popen[str]:
        """A robot that is connected to the node and begins to publish."""
        asked = json.dumps({"shots": shots, **setting})
        script = ROOT / "benchmarks" / "ros_robot.py"
        robot = self.start(
            sys.executable, script, PACKAGES, asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert robot.stdout is not None
        robot.stdout.readline()  # it says when it begins, or ends without a word
        return robot

    def told(self, robot: subprocess.Popen[str]) -> dict[str, Any]:
        """What a robot heard."""
        out, errors = robot.communicate(timeout=300)
        if robot.returncode:
            raise RuntimeError(errors + self.log())
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def unsubscribe(self, node: str, *topics: str) -> None:
        """Once ``node`` has subscribed ``topics``, let the master forget it: it is then told of nobody who publishes them."""
        master: Any = xmlrpc.client.ServerProxy(self.uri)
        until = time.monotonic() + LIMIT_S
        while True:
            subscribers = dict(master.getSystemState("/world")[2][1])
            if all(node in subscribers.get(topic, []) for topic in topics):
                break
            if time.monotonic() > until:
                raise TimeoutError(f"{node} does not subscribe {', '.join(topics)}: {self.log()}")
            time.sleep(0.02)
        uri = master.lookupNode("/world", node)[2]
        for topic in topics:
            master.unregisterSubscriber(node, topic, uri)

    def log(self) -> str:
        """What the node has said."""
        return (self.folder / "node.log").read_text()

    def start(self, *command: str | Path, **more: Any) -> subprocess.Popen[str]:
        """A process that is ended by `rest`."""
        process = subprocess.Popen(
            [str(word) for word in command], env=self.environment, cwd=ROOT, text=True, **more
        )
        self.processes.append(process)
        return process

    def rest(self) -> None:
        """End every process but the master."""
        _end(self.processes)
        self.processes = []

    def __enter__(self) -> World:
        self.start_master()
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        _end([self.master])


def _end(processes: Sequence[subprocess.Popen[Any]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
