"""`edgekit run --source` as a user types it: what is said, kept and refused."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from edgekit.runtime.pictures import read_picture
from edgekit.runtime.pictures.png import encode_png


@pytest.fixture
def folder(tmp_path):
    """Five pairs of one size, other than the network's."""
    for number in range(5):
        for side in ("left", "right"):
            picture = np.random.default_rng(number).integers(0, 256, (50, 70, 3)).astype(np.uint8)
            (tmp_path / "seq" / side).mkdir(parents=True, exist_ok=True)
            (tmp_path / "seq" / side / f"{number}.png").write_bytes(encode_png(picture))
    return tmp_path / "seq"


def answered(process):
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_a_folder_is_answered_pair_by_pair_and_summed_up(edgekit, stereo, folder):
    process = edgekit("run", stereo, "--source", folder)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("5 frames in ")
    assert "answered 5, dropped 0" in process.stdout
    assert "stage3" in process.stdout and "100.0 %" in process.stdout


def test_the_json_has_every_count_and_age(edgekit, stereo, folder):
    found = answered(edgekit("run", stereo, "--source", folder / "left", folder / "right", "--json"))
    assert (found["captured"], found["answered"], found["exits"]) == (5, 5, {"stage3": 5})
    assert found["ages_ms"]["first"]["max"] <= found["ages_ms"]["best"]["max"]
    assert found["ended"] == "the source ended"


def test_a_recording_is_repeated_at_a_rate_for_some_seconds(edgekit, stereo, folder):
    found = answered(
        edgekit(
            "run",
            stereo,
            "--source",
            folder,
            "--loop",
            "--rate",
            20,
            "--budget-ms",
            45,
            "--seconds",
            1,
            "--json",
        )
    )
    assert 15 <= found["captured"] + found["absent"] <= 22
    assert found["ended"] == "1 s were asked for"
    assert found["answered"] + found["dropped"] >= found["captured"] - 1


def test_a_classifier_is_streamed_too(edgekit, classifier, folder):
    found = answered(edgekit("run", classifier, "--source", folder / "left", "--frames", 3, "--json"))
    assert (found["captured"], found["answered"]) == (3, 3)


def test_answers_are_kept_as_a_video_and_as_depth(edgekit, stereo, folder, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="needs cv2, which is not installed")
    files = [
        "--save",
        tmp_path / "out.avi",
        "--save-depth",
        tmp_path / "depth_%02d.npy",
        "--save-points",
        tmp_path / "p.ply",
    ]
    found = answered(
        edgekit("run", stereo, "--source", folder, "--focal", 50, "--baseline", 0.1, *files, "--json")
    )
    video = cv2.VideoCapture(str(tmp_path / "out.avi"))
    pictures = []
    while True:
        fine, picture = video.read()
        if not fine:
            break
        pictures.append(picture)
    assert len(pictures) == 5 and pictures[0].shape == (100, 70, 3)
    assert sorted(path.name for path in tmp_path.glob("depth_*")) == [f"depth_0{n}.npy" for n in range(1, 6)]
    assert np.load(tmp_path / "depth_03.npy").shape == (50, 70)
    assert (tmp_path / "p.ply").read_bytes().startswith(b"ply\n")
    assert len(found["written"]) == 3


def test_one_pair_gives_depth_and_points_too(edgekit, stereo, folder, tmp_path):
    pair = ["--left", folder / "left" / "1.png", "--right", folder / "right" / "2.png"]
    camera = ["--focal", 50, "--baseline", 0.1]
    names = [tmp_path / name for name in ("d.npy", "disparity.npy", "d.png", "p.ply")]
    process = edgekit(
        "run", stereo, *pair, *camera, "--save-depth", names[0], "--save", names[1], "--save-points", names[3]
    )
    assert process.returncode == 0, process.stderr
    disparity, depth = np.load(names[1]), np.load(names[0])
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(depth[disparity > 0], 5.0 / disparity[disparity > 0], rtol=1e-5)
    assert f"wrote {names[0]} (depth)" in process.stdout
    assert edgekit("run", stereo, *pair, *camera, "--save-depth", names[2]).returncode == 0
    from edgekit.runtime.pictures.png import decode_png

    millimetres = decode_png(names[2].read_bytes())
    assert millimetres.dtype == np.uint16
    near = np.isfinite(depth) & (depth < 60)
    np.testing.assert_allclose(millimetres[near], depth[near] * 1000, atol=0.51)


def test_q_says_the_camera_as_well(edgekit, stereo, folder, tmp_path):
    from edgekit.runtime.stereo import Geometry

    np.save(tmp_path / "q.npy", Geometry.of(50.0, 0.1, 70, 50).q())
    pair = ["--left", folder / "left" / "1.png", "--right", folder / "right" / "2.png"]
    for number, camera in enumerate((["--q", tmp_path / "q.npy"], ["--focal", 50, "--baseline", 0.1])):
        process = edgekit("run", stereo, *pair, *camera, "--save-depth", tmp_path / f"{number}.npy")
        assert process.returncode == 0, process.stderr
    np.testing.assert_allclose(np.load(tmp_path / "0.npy"), np.load(tmp_path / "1.npy"), rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--source", "absent.mp4"], "there is no such file or folder"),
        (["--source", "SEQ", "--stage", 1], "--stage has no meaning for a stream"),
        (["--source", "SEQ", "--left", "x.png"], "--left has no meaning for a stream"),
        (["--rate", 30], "--rate has no meaning for one picture; name a stream with --source"),
        (["--source", "SEQ", "--save", "out.png"], "of a stream, give a video"),
        (["--source", "SEQ", "--save", "absent/out.avi"], "there is no folder"),
        (["--source", "SEQ", "--capture", "640x480"], "--capture has no meaning for pictures"),
        (
            ["--source", "SEQ", "--focal", "9", "--baseline", "1", "--save-depth", "50%.npy"],
            "write the frame's number as %06d",
        ),
        (["--source", "SEQ", "--save-depth", "d.npy"], "depth needs the camera"),
        (["--source", "SEQ", "--focal", 3], "--focal and --baseline go together"),
        (
            ["--source", "SEQ", "--save-depth", "d.txt", "--focal", 3, "--baseline", 1],
            "ends in .npy or .pfm or .png",
        ),
        (["--source", "SEQ", "--calibration", "absent.yml"], "cannot be opened"),
        (["--source", "SEQ", "--capture", "big"], "give the camera's size and rate"),
        (["--source", "SEQ", "--layout", "diagonal"], "invalid choice"),
        (["--source", "SEQ", "--record", "run.bag"], "ends in .mcap"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(refused, stereo, folder, arguments, said):
    process = refused("run", stereo, *[str(folder) if one == "SEQ" else one for one in arguments])
    assert said in process.stderr


def test_no_display_is_said_before_anything_is_loaded(edgekit, stereo, folder, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    process = edgekit("run", stereo, "--source", folder, "--display")
    assert process.returncode == 2
    assert "there is no display here" in process.stderr and "--save out.mp4" in process.stderr


def test_an_opencv_that_opens_no_window_is_said(monkeypatch):
    cv2 = pytest.importorskip("cv2", reason="needs cv2, which is not installed")
    from edgekit.errors import OptionError
    from edgekit.runtime.stream import Answer, Frame
    from edgekit.runtime.stream.display import Window, check_display
    from tests.runtime.stream.doubles import PICTURE, result

    if "NONE" not in cv2.getBuildInformation().split("GUI:")[1][:40]:
        pytest.skip("this OpenCV opens windows")
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(OptionError, match="is the headless one"):
        check_display()
    with pytest.raises(OptionError, match="no window can be opened here"):
        Window().show(Answer(Frame({"left": PICTURE}, 0.0, 1, 0.0), result("stage1"), 1.0, True))


@pytest.mark.parametrize(
    ("sent", "named"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")], ids=["ctrl-c", "sigterm"]
)
def test_ctrl_c_and_sigterm_are_the_usual_end_and_keep_what_was_recorded(
    stereo, folder, tmp_path, sent, named
):
    cv2 = pytest.importorskip("cv2", reason="needs cv2, which is not installed")
    command = [sys.executable, "-m", "edgekit", "run", stereo, "--source", folder, "--loop", "--rate", "20"]
    process = subprocess.Popen(
        [*map(str, command), "--save", str(tmp_path / "out.avi")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "out.avi").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(sent)
    said, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert f"stopped by {named}" in said
    assert cv2.VideoCapture(str(tmp_path / "out.avi")).read()[0]


def test_answers_are_recorded_as_ros_messages_that_a_maintained_reader_reads(
    edgekit, stereo, folder, tmp_path
):
    reader = pytest.importorskip("mcap.reader", reason="needs mcap, which is not installed")
    camera = ["--focal", 50, "--baseline", 0.1, "--frames", 4]
    process = edgekit("run", stereo, "--source", folder, *camera, "--record", tmp_path / "run.mcap")
    assert process.returncode == 0, process.stderr
    kept = {}
    with open(tmp_path / "run.mcap", "rb") as stream:
        for schema, channel, message in reader.make_reader(stream).iter_messages():
            kept.setdefault((channel.topic, schema.name), []).append(message.data)
    assert len(kept["/edgekit/left/image", "sensor_msgs/msg/Image"]) == 4
    assert len(kept["/edgekit/right/image", "sensor_msgs/msg/Image"]) == 4
    answers = kept["/edgekit/disparity", "stereo_msgs/msg/DisparityImage"]
    assert len(answers) == len(kept["/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"]) >= 4
    assert f"wrote {tmp_path / 'run.mcap'} ({sum(map(len, kept.values()))} messages)" in process.stdout
    assert (
        read_picture(str(folder / "left" / "0.png")).tobytes()
        in kept["/edgekit/left/image", "sensor_msgs/msg/Image"][0]
    )


def test_a_source_of_which_nothing_can_be_used_is_an_error(edgekit, stereo, tmp_path):
    for name in ("left.png", "right.png"):
        (tmp_path / name).write_bytes(b"nothing")
    process = edgekit("run", stereo, "--source", tmp_path / "left.png", tmp_path / "right.png")
    assert process.returncode == 2
    assert "was answered" in process.stderr and "left.png" in process.stderr


def test_the_picture_of_an_answer_has_the_camera_above_its_disparity(folder):
    from edgekit.runtime.stream import Answer, Frame
    from edgekit.runtime.stream.drawing import drawn
    from tests.runtime.stream.doubles import result

    left = read_picture(str(folder / "left" / "0.png"))
    disparity = np.full((50, 70), 3.0, np.float32)
    answer = Answer(Frame({"left": left}, 0.0, 1, 0.0), result("stage1", output=disparity), 5.0, True)
    picture = drawn(answer, largest=4.0)
    assert picture.shape == (100, 70, 3)
    np.testing.assert_array_equal(picture[30:50], left[30:50])
