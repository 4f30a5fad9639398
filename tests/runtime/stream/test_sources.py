"""Where frames come from: folders of either side, videos, cameras through OpenCV, GStreamer pipelines, and what cannot be used."""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import pytest

from edgekit.errors import InputError, OptionError
from edgekit.runtime.clock import Clock, VirtualClock
from edgekit.runtime.pictures import write_png
from edgekit.runtime.stream import Answer, Seen, Source, SourceLost, Stream, source_of, video
from edgekit.runtime.stream.gstreamer import CaptureMode, jetson_camera, read_mode
from edgekit.runtime.stream.video import Device, Video, device_of, open_with_opencv
from tests.runtime.stream.doubles import Steps, finish
from tests.runtime.virtual import JumpingClock

PAIR = ("left", "right")


def write(path: Path, value: int, shape: Tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(str(path), np.full(shape + (3,), value, np.uint8))


def seen(source: Source) -> List[Dict[str, int]]:
    """The value of every input's first pixel, frame by frame."""
    source.open()
    found = []
    while True:
        one = source.read()
        if one is None:
            source.close()
            return found
        found.append({name: int(picture[0, 0, 0]) for name, picture in one.inputs.items()})


@pytest.mark.parametrize(
    "left, right",
    [
        ("left/{}.png", "right/{}.png"),
        ("image_2/{}.png", "image_3/{}.png"),
        ("cam0/data/{}.png", "cam1/data/{}.png"),
        ("left{}.png", "right{}.png"),
        ("frame{}_l.png", "frame{}_r.png"),
        ("aloe{}L.png", "aloe{}R.png"),
    ],
)
def test_one_folder_tells_its_sides_by_their_names(tmp_path: Path, left: str, right: str) -> None:
    for number in (2, 10):
        write(tmp_path / left.format(number), number)
        write(tmp_path / right.format(number), 100 + number)
    assert seen(source_of([str(tmp_path)], PAIR)) == [{"left": 2, "right": 102}, {"left": 10, "right": 110}]


def test_two_folders_are_paired_by_the_names_of_their_files(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path / "a" / f"{number}.png", number)
        write(tmp_path / "b" / f"{number}.png", 100 + number)
    source = source_of([str(tmp_path / "a"), str(tmp_path / "b")], PAIR)
    assert [one["right"] - one["left"] for one in seen(source)] == [100, 100, 100]


def test_a_left_without_a_right_is_passed_over_and_said(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path / f"left{number}.png", number)
        if number != 2:
            write(tmp_path / f"right{number}.png", number)
    said: List[str] = []
    stream = Stream(Steps(JumpingClock(), [1]), source_of([str(tmp_path)], PAIR), on_trouble=said.append)
    finish(stream)
    counts = stream.counts()
    assert (counts.captured, counts.answered, counts.failed) == (3, 2, 1)
    assert said == [f"{tmp_path / 'left2.png'} has no right picture; passed over"]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ("left/0.png", "it has a folder left and none called right"),
        ("image_3/0.png", "it has a folder image_3 and none called image_2"),
        ("left01.png", "it has left pictures, such as left01.png, and no right ones"),
        ("0_r.png", "it has right pictures, such as 0_r.png, and no left ones"),
    ],
)
def test_a_folder_of_one_side_alone_says_which_is_not_there(tmp_path: Path, there: str, said: str) -> None:
    write(tmp_path / there, 1)
    with pytest.raises(InputError, match=said):
        source_of([str(tmp_path)], ["left", "right"])


def test_a_picture_that_cannot_be_read_is_passed_over_and_said(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_bytes(b"nothing like a picture")
    write(tmp_path / "3.png", 3)
    (tmp_path / "4.png").touch()
    (tmp_path / "5.png").touch()
    said: List[str] = []
    stream = Stream(Steps(JumpingClock(), [1]), source_of([str(tmp_path)], ["image"]), on_trouble=said.append)
    finish(stream)
    assert stream.counts().answered == 2
    assert "2.png" in said[0]
    assert "5.png" in said[1] and said[1].endswith("(the last of 2 more)")  # none is left unsaid at the end


def test_single_pictures_are_frames_and_can_be_repeated(tmp_path: Path) -> None:
    write(tmp_path / "x.png", 5)
    write(tmp_path / "y.png", 6)
    places = [str(tmp_path / "x.png"), str(tmp_path / "y.png")]
    assert seen(source_of(places, PAIR)) == [{"left": 5, "right": 6}]
    stream = Stream(Steps(JumpingClock(), [1]), source_of(places, PAIR, loop=True), frames=9)
    finish(stream)
    assert stream.counts().answered == 9


def test_what_is_no_source_is_refused_in_a_sentence(tmp_path: Path) -> None:
    write(tmp_path / "pictures" / "one.png", 1)
    folder = str(tmp_path / "pictures")
    with pytest.raises(InputError, match="no such file or folder"):
        source_of([str(tmp_path / "absent.mp4")], PAIR)
    with pytest.raises(InputError, match="neither its folders nor its pictures say which are left"):
        source_of([folder], PAIR)
    with pytest.raises(InputError, match="this network takes image; give one place"):
        source_of([folder, folder], ["image"])
    with pytest.raises(InputError, match="cannot be paired"):
        source_of([folder, "0"], PAIR)
    with pytest.raises(InputError, match="holds no picture"):
        os.mkdir(str(tmp_path / "empty"))
        source_of([str(tmp_path / "empty")], ["image"]).open()
    with pytest.raises(InputError, match="there are no pictures in it"):
        source_of([str(tmp_path / "empty")], PAIR)
    with pytest.raises(OptionError, match="one source for each, or one for all"):
        source_of(["0", "1", "2"], PAIR)


def test_a_size_and_rate_are_asked_of_cameras_alone(tmp_path: Path) -> None:
    write(tmp_path / "one.png", 1)
    video = tmp_path / "one.mp4"
    video.touch()
    for place in (str(tmp_path / "one.png"), str(video), "rtsp://camera/one", "videotestsrc ! appsink"):
        with pytest.raises(InputError, match="--capture has no meaning"):
            source_of([place], ["image"], mode=CaptureMode(640, 480))
    for place in ("0", "/dev/video0", "csi:0"):
        source_of([place], ["image"], mode=CaptureMode(640, 480))


class Capture:
    """What OpenCV gives of a device: ``pictures``, None for one that cannot be taken."""

    def __init__(
        self, pictures: Sequence[Optional[np.ndarray]], properties: Optional[Dict[int, float]] = None
    ) -> None:
        self.pictures = list(pictures)
        self.properties = properties or {}
        self.released = False
        self.now: Optional[np.ndarray] = None

    def isOpened(self) -> bool:
        return bool(self.pictures)

    def get(self, key: int) -> float:
        return self.properties.get(key, 0.0)

    def grab(self) -> bool:
        self.now = self.pictures.pop(0) if self.pictures else None
        return self.now is not None

    def retrieve(self) -> Tuple[bool, Optional[np.ndarray]]:
        return True, self.now

    def release(self) -> None:
        self.released = True


def grey(value: int) -> np.ndarray:
    return np.full((4, 6), value, np.uint8)


def opened(captures: Dict[str, Capture]) -> Callable[[Device, CaptureMode], Capture]:
    return lambda device, mode: captures[device.name]


def cameras(
    captures: Dict[str, Capture], inputs: Sequence[str] = PAIR, kind: str = "camera", **more: object
) -> Video:
    devices = [Device(name, kind, name) for name in captures]
    return Video(devices, inputs, VirtualClock(5000.0), capture=opened(captures), **more)  # type: ignore[arg-type]


def test_two_cameras_are_a_stereo_pair() -> None:
    captures = {"one": Capture([grey(1), grey(2)]), "two": Capture([grey(101), grey(102)])}
    video = cameras(captures)
    video.open()
    assert video.live and video.rate is None
    first = video.read()
    assert first is not None
    assert (first.inputs["left"][0, 0], first.inputs["right"][0, 0], first.stamp) == (1, 101, 5000.0)
    assert video.read() is not None
    with pytest.raises(SourceLost, match="one gives nothing any more after 2 frames"):
        video.read()
    video.close()
    assert captures["one"].released and captures["two"].released


def test_a_driver_that_stamps_its_frames_is_believed_if_its_clock_is_ours() -> None:
    video = cameras({"one": Capture([grey(1)], {0: 4970.0})}, ["image"])
    video.open()
    frame = video.read()
    assert frame is not None and frame.stamp == 4970.0
    other = cameras({"one": Capture([grey(1)], {0: 33.0})}, ["image"])
    other.open()
    frame = other.read()
    assert frame is not None and frame.stamp == 5000.0


@pytest.mark.parametrize("layout, shape", [("side-by-side", (4, 12)), ("top-bottom", (8, 6))])
def test_one_camera_may_hold_both_sides_in_a_picture(layout: str, shape: Tuple[int, int]) -> None:
    both = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)
    video = cameras({"zed": Capture([both])}, layout=layout)
    video.open()
    frame = video.read()
    assert frame is not None
    assert frame.inputs["left"].shape == frame.inputs["right"].shape == (4, 6)
    joined = np.concatenate(
        [frame.inputs["left"], frame.inputs["right"]], axis=1 if layout == "side-by-side" else 0
    )
    np.testing.assert_array_equal(joined, both)


def test_an_odd_width_cannot_hold_two_sides() -> None:
    video = cameras({"zed": Capture([np.zeros((4, 7), np.uint8)])})
    video.open()
    with pytest.raises(InputError, match="7 x 4 px cannot hold two side-by-side"):
        video.read()


def test_a_right_video_that_ends_early_ends_both_and_is_said() -> None:
    video = cameras({"l.mp4": Capture([grey(1), grey(2)]), "r.mp4": Capture([grey(1)])}, kind="video")
    video.open()
    assert video.read() is not None
    with pytest.raises(InputError, match=r"r.mp4 ends after 1 frames, and l.mp4 goes on"):
        video.read()
    assert video.read() is None


def test_a_camera_that_cannot_be_opened_says_what_to_look_at() -> None:
    with pytest.raises(InputError, match="camera 9 cannot be opened: is it plugged in"):
        Video(
            [device_of("9", CaptureMode())], ["image"], VirtualClock(), capture=lambda d, m: Capture([])
        ).open()


def record(cv2: ModuleType, path: Path, pictures: Sequence[np.ndarray], fps: float = 25.0) -> None:
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
    for picture in pictures:
        writer.write(picture[..., ::-1].copy())
    writer.release()


def test_a_video_is_read_in_rgb_at_its_own_rate(needs: Callable[[str], ModuleType], tmp_path: Path) -> None:
    cv2 = needs("cv2")
    pictures = [np.zeros((32, 64, 3), np.uint8) for _ in range(4)]
    for number, picture in enumerate(pictures):
        picture[:, :32] = (200, 20 * number, 0)
    record(cv2, tmp_path / "both.avi", pictures)
    source = source_of([str(tmp_path / "both.avi")], PAIR)
    source.open()
    assert source.rate == 25.0 and not source.live
    frames: List[Seen] = []
    for frame in iter(source.read, None):
        assert frame is not None
        frames.append(frame)
    assert len(frames) == 4
    for number, frame in enumerate(frames):
        red, green, blue = frame.inputs["left"].reshape(-1, 3).mean(axis=0)
        assert abs(red - 200) < 8 and abs(green - 20 * number) < 8 and blue < 8  # JPEG
        assert frame.inputs["right"].max() < 30
    looped = Stream(
        Steps(JumpingClock(), [1]), source_of([str(tmp_path / "both.avi")], PAIR, loop=True), frames=10
    )
    counts = looped.run()
    assert (counts.answered, round(counts.seconds, 3)) == (10, 0.361)


class HangsUp(BaseHTTPRequestHandler):
    """A network camera that gives five pictures of its number of calls, and hangs up."""

    calls = 0

    def do_GET(self) -> None:
        import cv2

        type(self).calls += 1
        _, jpeg = cv2.imencode(".jpg", np.full((32, 64, 3), 40 * self.calls, np.uint8))
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        for _ in range(5):
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_network_camera_that_hangs_up_is_found_again(needs: Callable[[str], ModuleType]) -> None:
    needs("cv2")
    server = HTTPServer(("127.0.0.1", 0), HangsUp)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = source_of([f"http://127.0.0.1:{server.server_port}/camera.mjpg"], ["image"])
    said: List[str] = []
    heard: List[Answer] = []
    stream = Stream(Steps(Clock(), [0]), source, frames=8, on_trouble=said.append)
    stream.subscribe(heard.append, name="heard", keep=99)
    try:
        stream.run(20)
    finally:
        server.shutdown()
        server.server_close()
    assert stream.counts().captured == 8 and stream.counts().vanished == 1
    seen = [int(answer.frame.inputs["image"].mean()) for answer in heard]
    assert abs(seen[0] - 40) <= 3 and abs(seen[-1] - 80) <= 3
    assert "looking for it again" in said[0] and "is back after" in said[1]


def test_a_jetsons_own_camera_is_a_pipeline_that_keeps_the_newest_picture() -> None:
    pipeline = jetson_camera(1, read_mode("1920x1080@29.97"))
    assert pipeline.startswith(
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM), width=(int)1920, height=(int)1080"
    )
    assert "framerate=(fraction)29970/1000" in pipeline
    assert pipeline.endswith("format=(string)BGR ! appsink drop=true max-buffers=1 sync=false")
    device = device_of("csi:0", CaptureMode())
    assert device.live and "sensor-id=0" in str(device.what) and "(int)1280" in str(device.what)


def test_pipelines_and_modes_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match="has no appsink"):
        device_of("v4l2src ! fakesink", CaptureMode())
    for text in ("", "1280", "1280x", "0x3", "axb", "@", "1280x720@-3"):
        with pytest.raises(InputError, match="give the camera's size and rate"):
            read_mode(text)
    assert read_mode("@15") == CaptureMode(None, None, 15.0)
    assert not device_of("filesrc location=a.mp4 ! decodebin ! appsink", CaptureMode()).live


def test_an_opencv_without_gstreamer_is_said(needs: Callable[[str], ModuleType]) -> None:
    cv2 = needs("cv2")
    if "GStreamer:                   YES" in cv2.getBuildInformation():
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(InputError, match="needs an OpenCV with GStreamer"):
        source_of(["csi:0"], ["image"]).open()


def test_passwords_of_addresses_are_in_no_message() -> None:
    assert device_of("rtsp://me:secret@robot/stream", CaptureMode()).name == "rtsp://robot/stream"


def test_a_pipeline_that_never_starts_is_said_instead_of_waited_for(
    needs: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = needs("cv2")
    never = threading.Event()
    monkeypatch.setattr(video, "PATIENCE_S", 0.05)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "GStreamer:                   YES")
    monkeypatch.setattr(cv2, "VideoCapture", lambda what, backend: never.wait())
    with pytest.raises(InputError, match=r"does not start within.*gst-inspect"):
        open_with_opencv(device_of("nosuchsrc ! videoconvert ! appsink", CaptureMode()), CaptureMode())
    never.set()
