"""The stereo node in ROS 2: ``python3 -m edgekit.runtime.ros.ros2 --ros-args -p bundle:=anynet.edgekit``; see docs/ros.md.

UNTESTED: rclpy could not be had where edgekit is developed. All that it adds to the core, which is tested through ROS 1 and
through recordings, is here: parameters, subscriptions, and filling rclpy's messages.
"""

import array
import sys
from typing import Any, Callable, Dict, Optional, Sequence, cast

import builtin_interfaces.msg
import diagnostic_msgs.msg
import rclpy
import sensor_msgs.msg
import std_msgs.msg
import stereo_msgs.msg
from rclpy.qos import qos_profile_sensor_data

from edgekit.runtime.ros import messages
from edgekit.runtime.ros.node import Picture
from edgekit.runtime.ros.serving import QUEUE, Ros, serve

KINDS: Dict[messages.MessageType, Any] = {
    messages.Time: builtin_interfaces.msg.Time,
    messages.Header: std_msgs.msg.Header,
    messages.Image: sensor_msgs.msg.Image,
    messages.RegionOfInterest: sensor_msgs.msg.RegionOfInterest,
    messages.DisparityImage: stereo_msgs.msg.DisparityImage,
    messages.KeyValue: diagnostic_msgs.msg.KeyValue,
    messages.DiagnosticStatus: diagnostic_msgs.msg.DiagnosticStatus,
    messages.DiagnosticArray: diagnostic_msgs.msg.DiagnosticArray,
}


def translated(message: Any) -> Any:
    """One of our messages as rclpy's."""
    kind = KINDS.get(type(message))
    if kind is not None:
        made = kind()
        for name, value in message._asdict().items():
            if name == "level":
                value = bytes([value])  # rclpy's byte
            setattr(made, name, translated(value))
        return made
    if isinstance(message, tuple):
        return [translated(one) for one in message]
    # rclpy checks a list of bytes one by one; an array it takes as it is.
    return array.array("B", message) if isinstance(message, bytes) and len(message) > 1 else message


def picture_of(message: Any) -> Picture:
    """What a ``sensor_msgs/Image`` of rclpy says."""
    stamp = messages.Time(message.header.stamp.sec, message.header.stamp.nanosec)
    header = messages.Header(stamp, message.header.frame_id)
    data = memoryview(message.data).tobytes()
    return Picture(
        header,
        message.height,
        message.width,
        message.encoding,
        bool(message.is_bigendian),
        message.step,
        data,
    )


class Ros2(Ros):
    """ROS 2, of an initialised rclpy."""

    def __init__(self) -> None:
        self._node = rclpy.create_node("edgekit_stereo")

    def parameter(self, name: str, usual: object) -> object:
        """See `Ros.parameter`."""
        return cast(object, self._node.declare_parameter(name, usual).value)

    def seconds(self) -> float:
        """See `Ros.seconds`."""
        return float(self._node.get_clock().now().nanoseconds) * 1e-9

    def say(self, text: str) -> None:
        """See `Ros.say`."""
        self._node.get_logger().info(text)

    def warn(self, text: str) -> None:
        """See `Ros.warn`."""
        self._node.get_logger().warning(text)

    def fail(self, text: str) -> None:
        """See `Ros.fail`."""
        self._node.get_logger().fatal(text)

    def publisher(self, topic: str, kind: messages.MessageType) -> Callable[[messages.Message], float]:
        """See `Ros.publisher`."""
        made = self._node.create_publisher(KINDS[kind], topic, QUEUE)

        def publish(message: messages.Message) -> float:
            made.publish(translated(message))
            return 0.0

        return publish

    def pictures(self, topic: str, take: Callable[[Picture], object]) -> str:
        """See `Ros.pictures`."""
        return self._subscribe(topic, sensor_msgs.msg.Image, lambda message: take(picture_of(message)))

    def projections(self, topic: str, take: Callable[[Sequence[float]], object]) -> None:
        """See `Ros.projections`."""
        self._subscribe(topic, sensor_msgs.msg.CameraInfo, lambda message: take(message.p))

    def spin(self, diagnose: Callable[[Optional[str]], object], period_s: float) -> None:
        """See `Ros.spin`."""
        self._node.create_timer(period_s, lambda: diagnose(None))
        try:
            rclpy.spin(self._node)
        except KeyboardInterrupt:
            pass
        finally:
            self._node.destroy_node()

    def _subscribe(self, topic: str, kind: Any, take: Callable[[Any], object]) -> str:
        made = self._node.create_subscription(kind, topic, take, qos_profile_sensor_data)
        return str(made.topic_name)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the node until it is interrupted."""
    rclpy.init(args=arguments)
    return serve(Ros2())


if __name__ == "__main__":
    sys.exit(main())
