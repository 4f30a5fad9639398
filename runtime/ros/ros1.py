"""The stereo node in ROS 1: ``python3 -m edgekit.runtime.ros.ros1 _bundle:=anynet.edgekit _budget_ms:=30``; see docs/ros.md.

Needs rospy, stereo_msgs and diagnostic_msgs, which Debian and Ubuntu package for their own python3.
"""

import http.client
import logging
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, cast
from xmlrpc.client import ServerProxy, Transport

import diagnostic_msgs.msg
import rosgraph
import rospy
import sensor_msgs.msg
import std_msgs.msg
import stereo_msgs.msg

from edgekit.runtime.ros import messages
from edgekit.runtime.ros.node import Picture
from edgekit.runtime.ros.serving import QUEUE, Ros, serve

# What a socket may hold: rospy reads as much at once, and falls behind for good where a picture does not fit.
BUFFER = 1 << 25
# How long the master is waited for, in s.
PATIENCE_S = 2.0


class Disparity(stereo_msgs.msg.DisparityImage):  # type: ignore[misc]
    """One that knows when rospy had its bytes; rospy then queues them for every listener, and gives the rest of its turn away."""

    had_s: Optional[float] = None

    def serialize(self, buff: Any) -> None:
        """See `genpy.Message.serialize`."""
        super().serialize(buff)
        self.had_s = time.perf_counter()


KINDS: Dict[messages.MessageType, Callable[..., Any]] = {
    messages.Header: std_msgs.msg.Header,
    messages.Image: sensor_msgs.msg.Image,
    messages.RegionOfInterest: sensor_msgs.msg.RegionOfInterest,
    messages.DisparityImage: Disparity,
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


class Registration:
    """Notices a master that dies, and registers again with the one that comes after it; and asks again for who was missed.

    rospy itself never does. It also forgets a camera of which the master tells while the node is still being told that there is
    none, as happens where both are started at once: of two such messages it takes the one that came last.

    Attributes:
        subscribers, publishers: rospy's own.
    """

    def __init__(self) -> None:
        self.subscribers: List[Any] = []
        self.publishers: List[Any] = []
        self._lost = False

    def check(self) -> Optional[str]:
        """What is wrong with the master; None if nothing is. It may die at any moment of this, and is waited for `PATIENCE_S`."""
        master = rosgraph.Master(rospy.get_name())
        master.handle = ServerProxy(master.master_uri, transport=_Impatient())
        try:
            if not self._known(master):
                self._register(master)
                rospy.logwarn("edgekit: registered with a ROS master that did not know this node")
            for one in self.subscribers:
                if not one.get_num_connections():
                    self._subscribe(master, one)
        except Exception as error:  # no socket, no answer in time, an answer that is none
            if not self._lost:
                self._lost = True
                rospy.logwarn(
                    "edgekit: the ROS master does not answer (%s); what is connected goes on", error
                )
            return "the ROS master does not answer"
        self._lost = False
        return None

    def _known(self, master: Any) -> bool:
        try:
            return bool(master.lookupNode(rospy.get_name()) == rospy.get_node_uri())
        except rosgraph.MasterException:  # its answer is that there is no such node
            return False

    def _register(self, master: Any) -> None:
        for one in self.publishers:
            master.registerPublisher(one.resolved_name, one.type, rospy.get_node_uri())
        for one in self.subscribers:
            self._subscribe(master, one)

    def _subscribe(self, master: Any, subscriber: Any) -> None:
        """Once more, if need be, which changes nothing but tells who publishes."""
        uri = rospy.get_node_uri()
        publishers = master.registerSubscriber(subscriber.resolved_name, subscriber.type, uri)
        # As the master itself would tell this node, through its own door.
        cast(Any, ServerProxy(uri)).publisherUpdate("/master", subscriber.resolved_name, publishers)


class _Impatient(Transport):
    """Calls that end: a master that is there and does not answer would hold up the diagnoses for good."""

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """See `Transport.make_connection`."""
        connection = super().make_connection(host)
        connection.timeout = PATIENCE_S
        return connection


class Ros1(Ros):
    """ROS 1, of an initialised rospy."""

    def __init__(self) -> None:
        self._registration = Registration()

    def parameter(self, name: str, usual: object) -> object:
        """See `Ros.parameter`."""
        return cast(object, rospy.get_param("~" + name, usual))

    def seconds(self) -> float:
        """See `Ros.seconds`."""
        return float(rospy.get_time())

    def say(self, text: str) -> None:
        """See `Ros.say`."""
        rospy.loginfo("edgekit: %s", text)

    def warn(self, text: str) -> None:
        """See `Ros.warn`."""
        rospy.logwarn("edgekit: %s", text)

    def fail(self, text: str) -> None:
        """See `Ros.fail`."""
        rospy.logfatal("edgekit: %s", text)

    def publisher(self, topic: str, kind: messages.MessageType) -> Callable[[messages.Message], float]:
        """See `Ros.publisher`."""
        made = rospy.Publisher(topic, KINDS[kind], queue_size=QUEUE)
        self._registration.publishers.append(made)

        def publish(message: messages.Message) -> float:
            theirs = translated(message)
            try:
                made.publish(theirs)
            except rospy.ROSException:
                if not rospy.is_shutdown():  # then nobody hears it any more
                    raise
            had_s = getattr(theirs, "had_s", None)  # None as well where nobody listens
            return 0.0 if had_s is None else (time.perf_counter() - had_s) * 1e3

        return publish

    def pictures(self, topic: str, take: Callable[[Picture], object]) -> str:
        """See `Ros.pictures`."""
        return self._subscribe(topic, sensor_msgs.msg.Image, lambda message: take(picture_of(message)))

    def projections(self, topic: str, take: Callable[[Sequence[float]], object]) -> None:
        """See `Ros.projections`."""
        self._subscribe(topic, sensor_msgs.msg.CameraInfo, lambda message: take(message.P))

    def spin(self, diagnose: Callable[[Optional[str]], object], period_s: float) -> None:
        """See `Ros.spin`."""
        over = threading.Event()
        rospy.on_shutdown(over.set)
        while not over.wait(period_s):
            diagnose(self._registration.check())
        for one in self._registration.subscribers:
            one.unregister()

    def _subscribe(self, topic: str, kind: Any, take: Callable[[Any], object]) -> str:
        """Every message is taken, and none is dropped here: the node counts them."""
        made = rospy.Subscriber(topic, kind, take, buff_size=BUFFER, tcp_nodelay=True)
        self._registration.subscribers.append(made)
        return str(made.resolved_name)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the node until ROS shuts it down."""
    rospy.init_node("edgekit_stereo", argv=None if arguments is None else ["edgekit_stereo", *arguments])
    logging.getLogger("edgekit").setLevel(logging.ERROR)  # what goes wrong is told to ROS
    return serve(Ros1())


if __name__ == "__main__":
    sys.exit(main())
