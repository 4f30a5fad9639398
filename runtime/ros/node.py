"""What a stereo node does, whatever ROS it lives in: pairs pictures, answers the latest, publishes every exit and how it is."""

import threading
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

import edgekit
from edgekit.errors import EdgekitError, OptionError
from edgekit.runtime.policies import FixedStage, Policy
from edgekit.runtime.ros.conversion import Geometry, diagnosis, disparity_image, geometry, picture, time_of
from edgekit.runtime.ros.messages import DiagnosticArray, DisparityImage, Header, Time
from edgekit.runtime.ros.pairing import Pairing
from edgekit.runtime.session import Session
from edgekit.runtime.stream import Answer, Stream
from edgekit.runtime.stream.counts import Ages

# Stamps further than that from the node's own clock are of another one: such pictures are taken as seen when they come.
FARTHEST_S = 10.0
# Answers that wait to be published: every exit of two frames of the largest networks.
KEEP = 16


class Options(NamedTuple):
    """The node's parameters, by the names that ROS gives them.

    Attributes:
        bundle: path of the bundle; needed.
        budget_ms: from a pair's arrival to its last answer; 0 for no limit.
        policy: ``deadline``, or the stage at whose exit every frame ends.
        backend: ``onnxruntime``, ``openvino``, ``native`` or ``tensorrt``; empty for the bundle's own choice.
        threads: CPU threads; 0 for one per core.
        spin: threads of a stage wait for each other by spinning; see `edgekit.load`.
        priority: ``normal`` or ``realtime``.
        progressive: publish every exit; else only the last one of a frame.
        slop_s: how far apart the stamps of a pair may be.
        bits: how many bits of 16-bit pictures the camera uses.
        max_disparity: what messages say about the largest disparity; 0 for that of every picture.
        diagnostics_rate: diagnoses a second.
    """

    bundle: str = ""
    budget_ms: float = 0.0
    policy: str = "deadline"
    backend: str = ""
    threads: int = 0
    spin: bool = True
    priority: str = "normal"
    progressive: bool = True
    slop_s: float = 0.02
    bits: int = 16
    max_disparity: float = 0.0
    diagnostics_rate: float = 1.0


class Picture(NamedTuple):
    """A ``sensor_msgs/Image`` of any ROS, its header in our words."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: bool
    step: int
    data: bytes


class Tag(NamedTuple):
    """What is wanted again at the answers to a pair: the left picture's header, and when the pair was complete."""

    header: Header
    came: float


class Publisher(NamedTuple):
    """Where messages go; both may be called from several threads, and return how many ms ago ROS had the message."""

    disparity: Callable[[DisparityImage], float]
    diagnostics: Callable[[DiagnosticArray], float]


def open_session(options: Options) -> Session:
    """The session that ``options`` ask for.

    Raises:
        OptionError: an option is wrong, or the bundle is none of a stereo network.
        EdgekitError: the bundle cannot be loaded.
    """
    if not options.bundle:
        raise OptionError("the parameter ~bundle is missing: give the path of a bundle")
    if not 8 <= options.bits <= 16:
        raise OptionError(f"bits={options.bits}: a 16-bit picture uses 8 to 16 of its bits")
    policies: Optional[Sequence[Policy]] = None
    if options.policy != "deadline":
        policies = [FixedStage(options.policy)]
    session = edgekit.load(
        options.bundle,
        backend=options.backend or None,
        threads=options.threads or None,
        policies=policies,
        spin=options.spin,
        priority=options.priority,
    )
    if session.manifest.task != "stereo":
        session.close()
        raise OptionError(
            f"{options.bundle} is a network for {session.manifest.task}; this node needs one for stereo"
        )
    return session


class StereoNode:
    """Takes pictures and publishes disparities, from `start` to `stop`.

    Args:
        session: stays the caller's.
        options: see there.
        publisher: where messages go.
        seconds: ROS's time, in s.
        report: told in a sentence what goes wrong while the node goes on.
    """

    def __init__(
        self,
        session: Session,
        options: Options,
        publisher: Publisher,
        seconds: Callable[[], float],
        report: Callable[[str], object],
    ) -> None:
        self._options = options
        self._publisher = publisher
        self._seconds = seconds
        self._report = report
        self._name = f"edgekit: {session.manifest.name}"
        self._guard = threading.Lock()
        self._pairing: Pairing[Picture] = Pairing(int(options.slop_s * 1e9))
        self._projections: Tuple[Optional[Sequence[float]], Optional[Sequence[float]]] = (None, None)
        self._received = [0, 0]
        self._refused = 0
        self._answer: Optional[Answer] = None
        self._added, self._returned = Ages(), Ages()
        budget = options.budget_ms if options.budget_ms > 0 else None
        self.stream = Stream(session, budget_ms=budget, on_trouble=report)
        self.stream.subscribe(self._publish, name="publisher", keep=KEEP, final_only=not options.progressive)

    def start(self) -> None:
        """Begin to answer."""
        self.stream.start()

    def stop(self) -> None:
        """End; what runs is cancelled."""
        self.stream.stop()

    def come(self, side: int, message: Picture) -> None:
        """A picture of the left (0) or right (1) camera has come."""
        stamp = message.header.stamp.nanoseconds
        with self._guard:
            came = self.stream.clock.now()
            pair = self._pairing.left(stamp, message) if side == 0 else self._pairing.right(stamp, message)
        if pair is not None:
            self._offer(pair[0], pair[1], came)
        with self._guard:
            self._received[side] += 1  # last, so that what was received is counted as something else, too

    def camera(self, side: int, projection: Sequence[float]) -> None:
        """The projection matrix of the left (0) or right (1) camera has come."""
        left, right = self._projections
        self._projections = (projection, right) if side == 0 else (left, projection)

    @property
    def geometry(self) -> Geometry:
        """Focal length and baseline, as far as the cameras have told them."""
        left, right = self._projections
        return Geometry() if left is None or right is None else geometry(left, right)

    def diagnose(self, trouble: Optional[str] = None) -> None:
        """Publish how it is; ``trouble``: what the one who asks knows to be wrong."""
        with self._guard:
            received = list(
                self._received
            )  # first: what comes meanwhile may be counted as more, but never as less
        counts, given_up = self.stream.counts(), self._pairing.unpaired
        added, returned = self._added.spread(), self._returned.spread()
        more: List[Tuple[str, object]] = [
            ("received_left", received[0]),
            ("received_right", received[1]),
            ("unpaired_left", given_up.left),
            ("unpaired_right", given_up.right),
            ("refused", self._refused),
            ("skipped", counts.skipped.get("publisher", 0)),
            ("added_p50_ms", added.p50),
            ("added_p99_ms", added.p99),
            ("returned_p99_ms", returned.p99),
        ]
        header = Header(time_of(self._seconds()))
        self._publisher.diagnostics(diagnosis(self._name, self._answer, counts, header, more, trouble))

    def _offer(self, left: Picture, right: Picture, came: float) -> None:
        try:
            inputs = {"left": self._picture(left), "right": self._picture(right)}
            self.stream.offer(inputs, self._stamp(left.header.stamp), Tag(left.header, came))
        except EdgekitError as error:
            self._refused += 1
            self._report(str(error))

    def _picture(self, message: Picture) -> np.ndarray:
        return picture(
            message.encoding,
            message.height,
            message.width,
            message.step,
            message.data,
            message.is_bigendian,
            self._options.bits,
        )

    def _stamp(self, stamp: Time) -> Optional[float]:
        """When a picture was taken, on the stream's clock; None where its stamp tells nothing."""
        age = self._seconds() - (stamp.sec + stamp.nanosec * 1e-9)
        return None if abs(age) > FARTHEST_S else self.stream.clock.now() - age * 1e3

    def _publish(self, answer: Answer) -> None:
        if answer.output is None:
            return
        tag = answer.frame.tag
        assert isinstance(tag, Tag)
        before, self._answer = self._answer, answer
        if before is not None and (before.frame.number, before.stage) == (answer.frame.number, answer.stage):
            return  # said once more, since the better one that was announced did not come
        known, most = self.geometry, self._options.max_disparity or None
        ago = self._publisher.disparity(disparity_image(answer.output, tag.header, known.f, known.t, most))
        returned = self.stream.clock.now() - tag.came - answer.result.elapsed_ms
        self._added.add(max(returned - ago, 0.0))
        self._returned.add(max(returned, 0.0))
