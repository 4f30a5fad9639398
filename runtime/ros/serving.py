"""What the nodes of every ROS have in common: parameters, topics, and a session that answers from beginning to end."""

import gc
import sys
from abc import ABC, abstractmethod
from functools import partial
from typing import Callable, Dict, Optional, Sequence

from edgekit.errors import EdgekitError, OptionError
from edgekit.runtime.device.priority import raise_all
from edgekit.runtime.device.turns import ask_for_short_turns
from edgekit.runtime.ros.messages import DiagnosticArray, DisparityImage, Message, MessageType
from edgekit.runtime.ros.node import Options, Picture, Publisher, StereoNode, open_session

SIDES = ("left", "right")
# Messages that wait for a listener who is slower than the node.
QUEUE = 8
# How long a thread that has Python to itself may keep it while another one wants it, in s. With Python's own 5 ms, one that
# takes a picture from a socket holds up the one that has an answer to publish.
HANDOVER_S = 5e-4


class Ros(ABC):
    """What a node needs of the ROS that it lives in; topics are relative to its namespace."""

    @abstractmethod
    def parameter(self, name: str, usual: object) -> object:
        """The value of a private parameter; ``usual`` if nobody has given one."""

    @abstractmethod
    def seconds(self) -> float:
        """ROS's time, in s."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Log what is worth knowing."""

    @abstractmethod
    def warn(self, text: str) -> None:
        """Log what goes wrong while the node goes on."""

    @abstractmethod
    def fail(self, text: str) -> None:
        """Log why the node ends."""

    @abstractmethod
    def publisher(self, topic: str, kind: MessageType) -> Callable[[Message], float]:
        """Announce that messages of ``kind`` will come on ``topic``; the function that publishes one.

        It returns how many ms ago ROS had it for its listeners: what ROS then does, the message does not wait for.
        """

    @abstractmethod
    def pictures(self, topic: str, take: Callable[[Picture], object]) -> str:
        """Call ``take`` with every picture on ``topic``; the topic's full name."""

    @abstractmethod
    def projections(self, topic: str, take: Callable[[Sequence[float]], object]) -> None:
        """Call ``take`` with the projection matrix of every ``sensor_msgs/CameraInfo`` on ``topic``."""

    @abstractmethod
    def spin(self, diagnose: Callable[[Optional[str]], object], period_s: float) -> None:
        """Let messages come, and call ``diagnose`` with what is wrong with ROS after every period, until ROS ends it."""


def serve(ros: Ros) -> int:
    """Be a stereo node until ``ros`` ends it; the process's exit code."""
    try:
        asked = options(ros)
        session = open_session(asked)
    except EdgekitError as error:
        ros.fail(str(error))
        return 2
    publisher = Publisher(
        ros.publisher("disparity", DisparityImage), ros.publisher("/diagnostics", DiagnosticArray)
    )
    with session:
        node = StereoNode(session, asked, publisher, ros.seconds, ros.warn)
        node.start()
        try:
            topics = []
            for side, name in enumerate(SIDES):
                topics.append(ros.pictures(f"{name}/image_rect", _promptly(partial(node.come, side))))
                ros.projections(f"{name}/camera_info", partial(node.camera, side))
            ros.say(f"{session.manifest.name} answers {' and '.join(topics)}")
            _be_prompt()

            def diagnose(trouble: Optional[str]) -> None:
                if asked.priority == "realtime":
                    raise_all()  # ROS makes threads for everybody who connects
                node.diagnose(trouble)

            ros.spin(diagnose, 1.0 / max(asked.diagnostics_rate, 1e-3))
        finally:
            node.stop()
    return 0


def options(ros: Ros) -> Options:
    """The node's parameters.

    Raises:
        OptionError: one is of the wrong kind.
    """
    found: Dict[str, object] = {}
    for name, usual in Options()._asdict().items():
        value = ros.parameter(name, usual)
        kind = type(usual)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise OptionError(
                f"the parameter ~{name} is {value!r}; it must be a {kind.__name__}, such as {usual!r}"
            )
        found[name] = value
    return Options(**found)  # type: ignore[arg-type]


def _promptly(take: Callable[[Picture], object]) -> Callable[[Picture], object]:
    """``take``, on threads of ROS that have short turns."""

    def taken(picture: Picture) -> object:
        ask_for_short_turns()
        return take(picture)

    return taken


def _be_prompt() -> None:
    """Threads hand over sooner, and what lasts as long as the process is not looked through for garbage again and again."""
    sys.setswitchinterval(HANDOVER_S)
    gc.collect()
    if hasattr(gc, "freeze"):  # Python 3.7
        gc.freeze()
