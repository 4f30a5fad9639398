"""The stereo node in ROS 1: ``python3 -m edgekit.runtime.ros.ros1 _bundle:=anynet.edgekit _budget_ms:=30``; see docs/ros.md.

Needs rospy, stereo_msgs and diagnostic_msgs, which Debian and Ubuntu package for their own python3.
"""

import logging
import sys
import threading
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, cast
from xmlrpc.client import ServerProxy

import diagnostic_msgs.msg
import rosgraph
import rospy
import sensor_msgs.msg
import std_msgs.msg
import stereo_msgs.msg

from edgekit.errors import EdgekitError, OptionError
from edgekit.runtime.ros import messages
from edgekit.runtime.ros.node import Options, Picture, Publisher, StereoNode, open_session

# What a socket may hold: rospy reads as much at once, and falls behind for good where a picture does not fit.
BUFFER = 1 << 25
# How long the master is waited for, in s.
PATIENCE_S = 2.0
KINDS: Dict[messages.MessageType, Callable[..., Any]] = {
    messages.Header: std_msgs.msg.Header,
    messages.Image: sensor_msgs.msg.Image,
    messages.RegionOfInterest: sensor_msgs.msg.RegionOfInterest,
    messages.DisparityImage: stereo_msgs.msg.DisparityImage,
    messages.KeyValue: diagnostic_msgs.msg.KeyValue,
    messages.DiagnosticStatus: diagnostic_msgs.msg.DiagnosticStatus,
    messages.DiagnosticArray: diagnostic_msgs.msg.DiagnosticArray,
}
# Where ROS 1 calls a field otherwise.
RENAMED = {"t": "T"}


def translated(message: Any) -> Any:
    """One of our messages as rospy's."""
    if isinstance(message, messages.Time):
        return rospy.Time(message.sec, message.nanosec)
    kind = KINDS.get(type(message))
    if kind is not None:
        return kind(
            **{RENAMED.get(name, name): translated(value) for name, value in message._asdict().items()}
        )
    if isinstance(message, tuple):
        return [translated(one) for one in message]
    return message


def picture_of(message: Any) -> Picture:
    """What a ``sensor_msgs/Image`` of rospy says."""
    stamp = messages.Time(message.header.stamp.secs, message.header.stamp.nsecs)
    header = messages.Header(stamp, message.header.frame_id)
    return Picture(
        header,
        message.height,
        message.width,
        message.encoding,
        bool(message.is_bigendian),
        message.step,
        message.data,
    )


def options() -> Options:
    """The node's private parameters.

    Raises:
        OptionError: one is of the wrong kind.
    """
    found: Dict[str, object] = {}
    for name, usual in Options()._asdict().items():
        value = rospy.get_param("~" + name, usual)
        kind = type(usual)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise OptionError(
                f"the parameter ~{name} is {value!r}; it must be a {kind.__name__}, such as {usual!r}"
            )
        found[name] = value
    return Options(**found)  # type: ignore[arg-type]


class Registration:
    """Notices a master that dies, and registers again with the one that comes after it: rospy itself never does."""

    def __init__(self) -> None:
        self.subscribed: Sequence[Tuple[str, str]] = ()
        self.published: Sequence[Tuple[str, str]] = ()
        self._lost = False

    def check(self) -> Optional[str]:
        """What is wrong with the master; None if nothing is."""
        master = rosgraph.Master(rospy.get_name())
        try:
            master.getPid()
        except Exception as error:  # no socket, no answer, an answer that is none
            if not self._lost:
                self._lost = True
                rospy.logwarn(
                    "edgekit: the ROS master does not answer (%s); what is connected goes on", error
                )
            return "the ROS master does not answer"
        try:
            known = master.lookupNode(rospy.get_name()) == rospy.get_node_uri()
        except Exception:  # it knows no such node
            known = False
        if not known:
            self._register(master)
            rospy.logwarn("edgekit: registered with a ROS master that did not know this node")
        self._lost = False
        return None

    def _register(self, master: Any) -> None:
        uri = rospy.get_node_uri()
        for topic, kind in self.published:
            master.registerPublisher(topic, kind, uri)
        for topic, kind in self.subscribed:
            publishers = master.registerSubscriber(topic, kind, uri)
            # As the master itself would tell this node, through its own door.
            cast(Any, ServerProxy(uri)).publisherUpdate("/master", topic, publishers)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the node until ROS shuts it down."""
    rospy.init_node("edgekit_stereo", argv=None if arguments is None else ["edgekit_stereo", *arguments])
    logging.getLogger("edgekit").setLevel(logging.ERROR)  # what goes wrong is told to ROS, below
    try:
        asked = options()
        session = open_session(asked)
    except EdgekitError as error:
        rospy.logfatal("edgekit: %s", error)
        return 2
    disparities = rospy.Publisher("disparity", stereo_msgs.msg.DisparityImage, queue_size=8)
    diagnoses = rospy.Publisher("/diagnostics", diagnostic_msgs.msg.DiagnosticArray, queue_size=8)
    publisher = Publisher(
        lambda message: disparities.publish(translated(message)),
        lambda message: diagnoses.publish(translated(message)),
    )
    with session:
        node = StereoNode(
            session,
            asked,
            publisher,
            lambda: float(rospy.get_time()),
            lambda said: rospy.logwarn("edgekit: %s", said),
        )
        node.start()
        subscribers = _subscribe(node)
        registration = Registration()
        registration.subscribed = [(one.resolved_name, one.type) for one in subscribers]
        registration.published = [(one.resolved_name, one.type) for one in (disparities, diagnoses)]
        rospy.loginfo(
            "edgekit: %s answers %s",
            session.manifest.name,
            " and ".join(one.resolved_name for one in subscribers[:2]),
        )
        over = threading.Event()
        rospy.on_shutdown(over.set)
        while not over.wait(1.0 / max(asked.diagnostics_rate, 1e-3)):
            node.diagnose(registration.check())
        for one in subscribers:
            one.unregister()
        node.stop()
    return 0


def _subscribe(node: StereoNode) -> Sequence[Any]:
    """Every picture is taken, and none is dropped here: the node counts them."""
    image, camera = sensor_msgs.msg.Image, sensor_msgs.msg.CameraInfo
    wanted = (
        ("left/image_rect", image, lambda message: node.left(picture_of(message))),
        ("right/image_rect", image, lambda message: node.right(picture_of(message))),
        ("left/camera_info", camera, lambda message: node.camera(0, message.P)),
        ("right/camera_info", camera, lambda message: node.camera(1, message.P)),
    )
    return [
        rospy.Subscriber(topic, kind, call, buff_size=BUFFER, tcp_nodelay=True)
        for topic, kind, call in wanted
    ]


if __name__ == "__main__":
    sys.exit(main())
