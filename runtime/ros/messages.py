"""The messages that are published and recorded, as plain tuples, so that building and testing them needs no ROS.

Fields are named as ROS 2 names them; `edgekit.runtime.ros.ros1` renames the one that is called otherwise in ROS 1.
"""

from typing import Dict, NamedTuple, Tuple, Type, Union


class Time(NamedTuple):
    """An instant: whole seconds since 1970 (or of simulated time), and nanoseconds."""

    sec: int = 0
    nanosec: int = 0

    @property
    def nanoseconds(self) -> int:
        """All of it."""
        return self.sec * 1000000000 + self.nanosec


class Header(NamedTuple):
    """When a picture was taken, and in which frame of coordinates."""

    stamp: Time = Time()
    frame_id: str = ""


class Image(NamedTuple):
    """A picture: ``height`` rows of ``step`` bytes."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: bytes


class RegionOfInterest(NamedTuple):
    """A rectangle of a picture, in px."""

    x_offset: int = 0
    y_offset: int = 0
    height: int = 0
    width: int = 0
    do_rectify: bool = False


class DisparityImage(NamedTuple):
    """Disparities of the left picture (32FC1, px) with what turns them into depth: ``f`` px times ``t`` m by the disparity.

    ``min_disparity`` and ``max_disparity`` bound what the network can answer; ``delta_d`` is its smallest step, 0 for none.
    """

    header: Header
    image: Image
    f: float
    t: float
    valid_window: RegionOfInterest
    min_disparity: float
    max_disparity: float
    delta_d: float


class KeyValue(NamedTuple):
    """One line of a diagnosis."""

    key: str
    value: str


class DiagnosticStatus(NamedTuple):
    """How one component is: ``level`` is one of `OK`, `WARN`, `ERROR`, `STALE`."""

    level: int
    name: str
    message: str
    hardware_id: str
    values: Tuple[KeyValue, ...]


OK, WARN, ERROR, STALE = range(4)


class DiagnosticArray(NamedTuple):
    """How components are, at one instant."""

    header: Header
    status: Tuple[DiagnosticStatus, ...]


Message = Union[
    Time, Header, Image, RegionOfInterest, DisparityImage, KeyValue, DiagnosticStatus, DiagnosticArray
]
MessageType = Type[Message]


class Many(NamedTuple):
    """Any number of messages of one type."""

    of: MessageType


Kind = Union[str, MessageType, Many]

# By type: its name, and the kind of every field, in order; a text is a primitive type of ROS's interface definitions.
FIELDS: Dict[MessageType, Tuple[str, Tuple[Kind, ...]]] = {
    Time: ("builtin_interfaces/Time", ("int32", "uint32")),
    Header: ("std_msgs/Header", (Time, "string")),
    Image: ("sensor_msgs/Image", (Header, "uint32", "uint32", "string", "uint8", "uint32", "uint8[]")),
    RegionOfInterest: ("sensor_msgs/RegionOfInterest", ("uint32", "uint32", "uint32", "uint32", "bool")),
    DisparityImage: (
        "stereo_msgs/DisparityImage",
        (Header, Image, "float32", "float32", RegionOfInterest, "float32", "float32", "float32"),
    ),
    KeyValue: ("diagnostic_msgs/KeyValue", ("string", "string")),
    DiagnosticStatus: (
        "diagnostic_msgs/DiagnosticStatus",
        ("byte", "string", "string", "string", Many(KeyValue)),
    ),
    DiagnosticArray: ("diagnostic_msgs/DiagnosticArray", (Header, Many(DiagnosticStatus))),
}


def type_name(kind: MessageType) -> str:
    """As ROS 2 calls it: ``stereo_msgs/msg/DisparityImage``."""
    return FIELDS[kind][0].replace("/", "/msg/")
