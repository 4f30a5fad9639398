"""A camera and a listener on a real ROS master: publishes stereo pairs as it is told, prints what came back as JSON.

A process of its own, since rospy starts once in a process: ros_robot.py PACKAGES JSON. It prints a line when it begins.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# No better answer to the last pair comes when there was none for so long.
REST_S = 0.6
# What two nodes that connect have missed of each other is asked for again so often; and what does not come at all is given up.
AGAIN_S, LIMIT_S = 1.0, 60.0
# What a node has done with the pairs that came to it.
COUNTED = ("received_left", "received_right", "pairs", "skipped")
DONE_WITH = ("answered", "dropped", "failed", "disordered")
CHANNELS = {"mono8": 1, "mono16": 1, "rgb8": 3, "bgr8": 3, "bgra8": 4, "bgr16": 3, "bayer_rggb8": 1}


def encoded(rgb: np.ndarray, encoding: str, padding: int, bigendian: bool) -> tuple[bytes, int]:
    """The picture's bytes with rows that end in ``padding`` bytes of noise, and how long a row is."""
    channels = CHANNELS[encoding]
    pixels = rgb[:, :, ::-1] if encoding.startswith("bgr") else rgb
    if channels == 4:
        pixels = np.concatenate([pixels, np.full_like(pixels[:, :, :1], 7)], axis=2)
    if channels == 1:
        pixels = pixels[:, :, :1]
    if "16" in encoding:
        wide = pixels.astype(np.uint16) << 8 | 0x5A
        pixels = wide.astype(">u2" if bigendian else "<u2")
    rows = np.ascontiguousarray(pixels).reshape(len(rgb), -1).view(np.uint8)
    noise = np.full((len(rgb), padding), 0xEE, np.uint8)
    full = np.concatenate([rows, noise], axis=1)
    return full.tobytes(), full.shape[1]


class Robot:
    def __init__(self, setting: dict[str, Any]) -> None:
        import diagnostic_msgs.msg
        import rospy
        import sensor_msgs.msg
        import stereo_msgs.msg

        self.rospy, self.sensors = rospy, sensor_msgs.msg
        self.setting = setting
        self.guard = threading.Lock()
        self.published: dict[int, float] = {}
        self.sent = [0, 0]
        self.others = 0  # pairs that were answered before the robot was there
        self.last = 0  # the stamp of the last shot
        self.answers: list[dict[str, Any]] = []
        self.answered: set[int] = set()  # the stamps of every pair that was, since the robot is there
        self.diagnosis: dict[str, Any] | None = None  # the last one; None until another one has come
        self.taken: dict[tuple[object, ...], tuple[bytes, int]] = {}  # a camera has its bytes at hand
        rospy.init_node(setting.get("name", "robot"), disable_signals=True)
        image, camera = sensor_msgs.msg.Image, sensor_msgs.msg.CameraInfo
        self.sides = [
            rospy.Publisher(f"/stereo/{side}/image_rect", image, queue_size=100) for side in ("left", "right")
        ]
        self.cameras = [
            rospy.Publisher(f"/stereo/{side}/camera_info", camera, queue_size=1, latch=True)
            for side in ("left", "right")
        ]
        self.listening: dict[str, Any] = {}
        self.topics = {
            "/stereo/disparity": (stereo_msgs.msg.DisparityImage, self.hear),
            "/diagnostics": (diagnostic_msgs.msg.DiagnosticArray, self.learn),
        }
        for topic in self.topics:
            self.listen(topic)

    def listen(self, topic: str) -> None:
        """Subscribe, once more if need be: rospy forgets a publisher of which the master tells while it tells the master of itself."""
        if topic in self.listening:
            self.listening[topic].unregister()
        kind, take = self.topics[topic]
        self.listening[topic] = self.rospy.Subscriber(topic, kind, take, buff_size=1 << 25, tcp_nodelay=True)

    def hear(self, message: Any) -> None:
        now = time.perf_counter()
        stamp = message.header.stamp.to_nsec()
        values = np.frombuffer(message.image.data, np.float32)
        with self.guard:
            self.answered.add(stamp)
            self.answers.append({
                "stamp": stamp, "ms": (now - self.published.get(stamp, now)) * 1e3, "f": message.f, "T": message.T,
                "size": [message.image.height, message.image.width], "encoding": message.image.encoding,
                "step": message.image.step, "frame": message.header.frame_id, "mean": float(values.mean()),
                "most": message.max_disparity, "window": [message.valid_window.width, message.valid_window.height],
            })  # fmt: skip

    def learn(self, message: Any) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            with self.guard:
                self.diagnosis = {
                    "level": status.level, "name": status.name, "message": status.message, "values": values
                }  # fmt: skip

    def run(self) -> dict[str, Any]:
        height, width = self.setting.get("size", [48, 64])
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        picture[:, :, 1:] = picture[:, :, :1]  # so that grey and colour are the same picture
        self.meet(picture)
        before = self.settled()
        with self.guard:
            self.published.clear()
        print("begun", flush=True)
        begun = time.perf_counter()
        for number, shot in enumerate(self.setting["shots"]):
            until = begun + number / self.setting.get("rate", 20.0)
            time.sleep(max(until - time.perf_counter(), 0.0))
            self.shoot(picture, shot)
            if self.setting.get("each"):
                self.settled()
        heard = -1
        while heard < len(self.answers):
            heard = len(self.answers)
            time.sleep(REST_S)
            diagnosis = self.settled()
        with self.guard:
            answers = [answer for answer in self.answers if answer["stamp"] in self.published]
        return {"answers": answers, "before": before, "diagnosis": diagnosis}

    def meet(self, picture: np.ndarray) -> None:
        """Until every topic has carried something: a diagnosis came, and a pair was answered by who knows the cameras."""
        self.wait(lambda: all(one.get_num_connections() for one in self.sides), "the node does not subscribe")
        for side, publisher in enumerate(self.cameras):
            info = self.sensors.CameraInfo()
            info.P = [500.0, 0, 320, -60.0 * side, 0, 500.0, 240, 0, 0, 0, 1, 0]
            publisher.publish(info)
        self.wait(
            self.repeatedly(lambda: self.diagnosis is not None, lambda: self.listen("/diagnostics")),
            "the node publishes no diagnosis",
        )
        assert self.diagnosis is not None
        told = {
            name: int(self.diagnosis["values"][name])
            for name in ("received_left", "received_right", "answered")
        }
        self.sent = [told["received_left"], told["received_right"]]  # another robot's
        self.others = told["answered"]

        def ask() -> None:
            if not self.answers:
                self.listen("/stereo/disparity")
            self.shoot(picture, {})

        self.shoot(picture, {})
        self.wait(
            self.repeatedly(lambda: any(answer["f"] for answer in self.answers), ask),
            "the node answers nothing, or does not know the cameras",
        )

    def repeatedly(self, there: Callable[[], bool], ask: Callable[[], object]) -> Callable[[], bool]:
        """``there``, which lets ``ask`` be called every `AGAIN_S` until it is true."""
        asked = time.monotonic()

        def found() -> bool:
            nonlocal asked
            with self.guard:
                if there():
                    return True
            if time.monotonic() > asked + AGAIN_S:
                ask()
                asked = time.monotonic()
            return False

        return found

    def settled(self) -> dict[str, Any]:
        """A diagnosis that accounts for everything that was sent, once every answer that it counts was heard."""
        found: dict[str, Any] = {}

        def accounted() -> bool:
            with self.guard:
                if self.diagnosis is not None:
                    found.clear()
                    found.update(self.diagnosis)
                    self.diagnosis = None
                heard = len(self.answered)
            if not found:
                return False
            told = {name: int(found["values"][name]) for name in (*COUNTED, *DONE_WITH)}
            received = [told["received_left"], told["received_right"]]
            done = sum(told[name] for name in DONE_WITH)
            return (
                received == self.sent
                and told["pairs"] == done
                and told["answered"] - told["skipped"] <= heard + self.others
            )

        with self.guard:
            self.diagnosis = None  # it may be older than what was sent last
        self.wait(
            accounted, "the node does not account for all that it was sent, or an answer was not heard", found
        )
        return found

    def shoot(self, picture: np.ndarray, shot: dict[str, Any]) -> None:
        now = self.rospy.Time.now().to_nsec()
        if "behind_ms" in shot:
            now = self.last - int(shot["behind_ms"] * 1e6)
        self.last = now
        for side, publisher in enumerate(self.sides):
            if side in shot.get("without", []):
                continue
            image = self.sensors.Image()
            stamp = now + (int(shot.get("apart_ms", 0) * 1e6) if side else 0)
            image.header.stamp = self.rospy.Time(stamp // 10**9, stamp % 10**9)
            image.header.frame_id = "stereo_left"
            image.height, image.width = picture.shape[:2]
            image.encoding = shot.get("encoding", "bgr8")
            image.is_bigendian = int(shot.get("bigendian", False))
            kind = image.encoding, shot.get("padding", 0), bool(image.is_bigendian)
            if kind not in self.taken:
                self.taken[kind] = encoded(picture, *kind)
            image.data, image.step = self.taken[kind]
            image.data = image.data[: len(image.data) - shot.get("short", 0)]
            if side == 0:
                self.published[stamp] = time.perf_counter()
            publisher.publish(image)
            self.sent[side] += 1

    def wait(self, there: Callable[[], bool], otherwise: str, known: object = None) -> None:
        until = time.monotonic() + LIMIT_S
        while not there():
            if time.monotonic() > until:
                links = {topic: one.get_num_connections() for topic, one in self.listening.items()}
                sys.exit(
                    f"{otherwise}: sent {self.sent} to {[one.get_num_connections() for one in self.sides]} listeners, heard"
                    f" {len(self.answered)} pairs' answers, links {links}; {known or self.diagnosis}"
                )
            time.sleep(0.01)


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    found = Robot(json.loads(sys.argv[2])).run()
    print(json.dumps(found), flush=True)
    import rospy

    rospy.signal_shutdown("done")
