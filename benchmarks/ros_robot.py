"""A camera and a listener on a real ROS master: publishes stereo pairs as it is told, prints what came back as JSON.

A process of its own, since rospy starts once in a process: ros_robot.py PACKAGES JSON. It prints a line when it begins.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import numpy as np

# A robot has heard everything when there was no answer for so long.
REST_S = 0.6
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
        self.answers: list[dict[str, Any]] = []
        self.diagnoses: list[dict[str, Any]] = []
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
        rospy.Subscriber(
            "/stereo/disparity",
            stereo_msgs.msg.DisparityImage,
            self.hear,
            buff_size=1 << 25,
            tcp_nodelay=True,
        )
        rospy.Subscriber("/diagnostics", diagnostic_msgs.msg.DiagnosticArray, self.learn)

    def hear(self, message: Any) -> None:
        now = time.perf_counter()
        stamp = message.header.stamp.to_nsec()
        values = np.frombuffer(message.image.data, np.float32)
        with self.guard:
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
                self.diagnoses.append(
                    {"level": status.level, "name": status.name, "message": status.message, "values": values}
                )

    def run(self) -> dict[str, Any]:
        self.wait(lambda: all(one.get_num_connections() for one in self.sides), "the node does not subscribe")
        for side, publisher in enumerate(self.cameras):
            info = self.sensors.CameraInfo()
            info.P = [500.0, 0, 320, -60.0 * side, 0, 500.0, 240, 0, 0, 0, 1, 0]
            publisher.publish(info)
        self.wait(lambda: bool(self.diagnoses), "the node publishes no diagnosis")
        height, width = self.setting.get("size", [48, 64])
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        picture[:, :, 1:] = picture[:, :, :1]  # so that grey and colour are the same picture
        print("begun", flush=True)
        begun = time.perf_counter()
        for number, shot in enumerate(self.setting["shots"]):
            until = begun + number / self.setting.get("rate", 20.0)
            time.sleep(max(until - time.perf_counter(), 0.0))
            self.shoot(picture, shot)
        self.wait_for_rest()
        with self.guard:
            return {
                "answers": self.answers,
                "diagnosis": self.diagnoses[-1],
            }

    def shoot(self, picture: np.ndarray, shot: dict[str, Any]) -> None:
        now = self.rospy.Time.now().to_nsec() + int(shot.get("back_ms", 0) * -1e6)
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

    def wait_for_rest(self) -> None:
        """Until there is a diagnosis that is later than the last answer and whatever could have come after it."""
        while True:
            heard = len(self.answers)
            time.sleep(REST_S)
            with self.guard:
                self.diagnoses.clear()
            self.wait(lambda: bool(self.diagnoses), "the node publishes no diagnosis any more")
            if len(self.answers) == heard:
                return

    def wait(self, there: Any, otherwise: str) -> None:
        until = time.monotonic() + 20
        while not there():
            if time.monotonic() > until:
                sys.exit(otherwise)
            time.sleep(0.01)


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    found = Robot(json.loads(sys.argv[2])).run()
    print(json.dumps(found), flush=True)
    import rospy

    rospy.signal_shutdown("done")
