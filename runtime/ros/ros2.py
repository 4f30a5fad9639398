"""The stereo node in ROS 2: ``python3 -m edgekit.runtime.ros.ros2 --ros-args -p bundle:=anynet.edgekit``; see docs/ros.md.

UNTESTED: rclpy could not be had where edgekit is developed. All that it adds to the core, which is tested through ROS 1 and
through recordings, is here: parameters, subscriptions, and filling rclpy's messages.
"""

import array
import sys
from typing import Any, Callable, Dict, Optional, Sequence

import builtin_interfaces.msg
import diagnostic_msgs.msg
import rclpy
import sensor_msgs.msg
import std_msgs.msg
import stereo_msgs.msg
from rclpy.qos import qos_profile_sensor_data

from edgekit.errors import EdgekitError
from edgekit.runtime.ros import messages
from edgekit.runtime.ros.node import Options, Picture, Publisher, StereoNode, open_session

KINDS: Dict[messages.MessageType, Callable[[], Any]] = {
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


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the node until it is interrupted."""
    rclpy.init(args=arguments)
    ros = rclpy.create_node("edgekit_stereo")
    try:
        usual = Options()._asdict()
        asked = Options(**{name: ros.declare_parameter(name, value).value for name, value in usual.items()})
        session = open_session(asked)
    except EdgekitError as error:
        ros.get_logger().fatal(str(error))
        return 2
    disparities = ros.create_publisher(stereo_msgs.msg.DisparityImage, "disparity", 8)
    diagnoses = ros.create_publisher(diagnostic_msgs.msg.DiagnosticArray, "/diagnostics", 8)
    publisher = Publisher(
        lambda message: disparities.publish(translated(message)),
        lambda message: diagnoses.publish(translated(message)),
    )
    with session:
        node = StereoNode(
            session,
            asked,
            publisher,
            lambda: float(ros.get_clock().now().nanoseconds) * 1e-9,
            lambda said: ros.get_logger().warning(said),
        )
        node.start()
        image, camera = sensor_msgs.msg.Image, sensor_msgs.msg.CameraInfo
        for topic, kind, call in (
            ("left/image_rect", image, lambda message: node.left(picture_of(message))),
            ("right/image_rect", image, lambda message: node.right(picture_of(message))),
            ("left/camera_info", camera, lambda message: node.camera(0, message.p)),
            ("right/camera_info", camera, lambda message: node.camera(1, message.p)),
        ):
            ros.create_subscription(kind, topic, call, qos_profile_sensor_data)
        ros.create_timer(1.0 / max(asked.diagnostics_rate, 1e-3), node.diagnose)
        try:
            rclpy.spin(ros)
        except KeyboardInterrupt:
            pass
        finally:
            node.stop()
            ros.destroy_node()
    return 0


if __name__ == "__main__":
    sys.exit(main())
