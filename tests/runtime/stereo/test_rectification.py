"""Rectification of a real stereo camera's pictures: 13 pairs of a chessboard, calibrated here with OpenCV."""

from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.runtime.pictures import read_picture
from edgekit.runtime.stereo import Rectified, Rectifier, read_camera_files
from edgekit.runtime.stream import source_of

BOARD = (9, 6)
SIDES = ("left", "right")


@pytest.fixture(scope="module")
def cv2() -> ModuleType:
    return pytest.importorskip("cv2", reason="needs cv2, which is not installed")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def chessboards() -> List[Dict[str, str]]:
    """The files of every pair."""
    found = sorted(Path("/usr/share/doc/opencv-doc").rglob("left[0-9][0-9].jpg"))
    if not found:
        pytest.skip("needs the chessboard pairs of Debian's package opencv-doc")
    return [
        {"left": str(one), "right": str(one.with_name(one.name.replace("left", "right")))} for one in found
    ]


Corners = List[Dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def corners(cv2: Any, chessboards: List[Dict[str, str]]) -> Corners:
    """The board's inner corners (54, 2) px in every picture, of the pairs in which OpenCV finds them."""
    found = []
    for pair in chessboards:
        one = {side: find_corners(cv2, read_picture(path)) for side, path in pair.items()}
        if all(points is not None for points in one.values()):
            found.append(one)
    assert len(found) >= 11
    return found


def find_corners(cv2: Any, picture: np.ndarray) -> Any:
    grey = np.ascontiguousarray(picture[..., 0]) if picture.ndim == 3 else picture
    fine, points = cv2.findChessboardCorners(grey, BOARD)
    if not fine:
        return None
    return cv2.cornerSubPix(grey, points, (11, 11), (-1, -1), (3, 30, 0.01)).reshape(-1, 2)


@pytest.fixture(scope="module")
def calibrated(cv2: Any, corners: Corners) -> Dict[str, np.ndarray]:
    """What OpenCV's own sample of stereo calibration finds, in squares of the board."""
    board = np.zeros((BOARD[0] * BOARD[1], 3), np.float32)
    board[:, :2] = np.mgrid[0 : BOARD[0], 0 : BOARD[1]].T.reshape(-1, 2)
    boards = [board] * len(corners)
    size = (640, 480)
    seen = {side: [one[side].astype(np.float32) for one in corners] for side in SIDES}
    start = {side: cv2.initCameraMatrix2D(boards, seen[side], size, 0) for side in SIDES}
    zero = np.zeros(5)
    rms, k1, d1, k2, d2, r, t, _, _ = cv2.stereoCalibrate(
        boards, seen["left"], seen["right"], start["left"], zero, start["right"], zero.copy(), size,
        flags=cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_ZERO_TANGENT_DIST, criteria=(3, 100, 1e-5),
    )  # fmt: skip
    assert rms < 1.0
    return {"K1": k1, "D1": d1, "K2": k2, "D2": d2, "R": r, "T": t}


def write(cv2: Any, path: Path, values: Dict[str, np.ndarray], **words: int) -> str:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in values.items():
        storage.write(name, np.asarray(value))
    for name, number in words.items():
        storage.write(name, number)
    storage.release()
    return str(path)


def row_errors(
    cv2: Any, corners: Corners, rectifier: Rectifier, chessboards: List[Dict[str, str]]
) -> np.ndarray:
    """How far apart the rows of the same corner are in both rectified pictures, px, and that left is right of right."""
    apart: List[np.ndarray] = []
    for pair in chessboards:
        pictures = rectifier({side: read_picture(path) for side, path in pair.items()})
        found = {side: find_corners(cv2, pictures[side]) for side in SIDES}
        if all(points is not None for points in found.values()):
            assert (found["left"][:, 0] > found["right"][:, 0]).all()
            apart.append(np.abs(found["left"][:, 1] - found["right"][:, 1]))
    assert len(apart) >= 8
    return np.concatenate(apart)


@pytest.mark.parametrize("ending", [".yml", ".xml", ".json"])
def test_the_rows_of_a_rectified_pair_are_the_same_rows(
    cv2: Any,
    corners: Corners,
    calibrated: Dict[str, np.ndarray],
    chessboards: List[Dict[str, str]],
    tmp_path: Path,
    ending: str,
) -> None:
    path = write(cv2, tmp_path / f"stereo{ending}", calibrated, image_width=640, image_height=480)
    calibration = read_camera_files([path])
    assert calibration.size == (640, 480)
    raw = np.concatenate([np.abs(one["left"][:, 1] - one["right"][:, 1]) for one in corners])
    errors = row_errors(cv2, corners, Rectifier(calibration), chessboards)
    assert np.median(raw) > 3.0
    assert np.median(errors) < 0.3 and np.percentile(errors, 95) < 1.0


def test_rectified_cameras_may_be_named_in_other_words_and_in_two_files(
    cv2: Any, calibrated: Dict[str, np.ndarray], tmp_path: Path
) -> None:
    values = calibrated
    inner = {"M1": values["K1"], "D1": values["D1"], "M2": values["K2"], "D2": values["D2"]}
    names = {
        "cameraMatrix1": values["K1"],
        "distCoeffs1": values["D1"],
        "cameraMatrix2": values["K2"],
        "distCoeffs2": values["D2"],
    }
    outer = {"R": values["R"], "T": values["T"]}
    extrinsics = write(cv2, tmp_path / "extrinsics.yml", outer)
    plain = Rectifier(read_camera_files([write(cv2, tmp_path / "all.yml", calibrated)]), (640, 480))
    for other in (inner, names):
        files = [write(cv2, tmp_path / "intrinsics.yml", other), extrinsics]
        assert Rectifier(read_camera_files(files), (640, 480)).geometry == plain.geometry


def test_what_was_rectified_before_is_taken_as_it_is(
    cv2: Any, calibrated: Dict[str, np.ndarray], tmp_path: Path
) -> None:
    values = calibrated
    r1, r2, p1, p2, q = cv2.stereoRectify(
        values["K1"], values["D1"], values["K2"], values["D2"], (640, 480), values["R"], values["T"], alpha=1
    )[:5]
    more = dict(values, R1=r1, R2=r2, P1=p1, P2=p2)
    del more["R"], more["T"]
    rectifier = Rectifier(read_camera_files([write(cv2, tmp_path / "more.yml", more)]), (640, 480))
    np.testing.assert_allclose(rectifier.geometry.q(), q, rtol=1e-9, atol=1e-9)
    picture = np.random.RandomState(0).randint(0, 256, (480, 640, 3)).astype(np.uint8)
    maps = cv2.initUndistortRectifyMap(values["K2"], values["D2"], r2, p2, (640, 480), cv2.CV_16SC2)
    expected = cv2.remap(picture, *maps, cv2.INTER_LINEAR)
    np.testing.assert_array_equal(rectifier({"left": picture, "right": picture})["right"], expected)


CAMERA_INFO = """image_width: 640
image_height: 480
camera_name: {name}
camera_matrix:
  rows: 3
  cols: 3
  data: [{matrix}]
distortion_model: {model}
distortion_coefficients:
  rows: 1
  cols: {terms}
  data: [{distortion}]
rectification_matrix:
  rows: 3
  cols: 3
  data: [{rotation}]
projection_matrix:
  rows: 3
  cols: 4
  data: [{projection}]
"""


def camera_info(path: Path, name: str, lens: Tuple[np.ndarray, ...], model: str = "plumb_bob") -> str:
    matrix, distortion, rotation, projection = (", ".join(map(repr, np.ravel(one).tolist())) for one in lens)
    terms = np.size(lens[1])
    path.write_text(CAMERA_INFO.format(**locals()))
    return str(path)


def test_two_camera_info_files_of_ros_say_the_same(
    cv2: Any, calibrated: Dict[str, np.ndarray], tmp_path: Path
) -> None:
    values = calibrated
    r1, r2, p1, p2 = cv2.stereoRectify(
        values["K1"], values["D1"], values["K2"], values["D2"], (640, 480), values["R"], values["T"],
        flags=cv2.CALIB_ZERO_DISPARITY, alpha=0,
    )[:4]  # fmt: skip
    left = camera_info(tmp_path / "left.yaml", "left", (values["K1"], values["D1"], r1, p1))
    right = camera_info(tmp_path / "right.yaml", "right", (values["K2"], values["D2"], r2, p2))
    ros = Rectifier(read_camera_files([left, right]))
    own = Rectifier(read_camera_files([write(cv2, tmp_path / "all.yml", calibrated)]), (640, 480))
    np.testing.assert_allclose(ros.geometry, own.geometry, rtol=1e-9)
    assert ros.size == (640, 480)
    with pytest.raises(InputError, match="the right one first"):
        Rectifier(read_camera_files([right, left]))


def test_fisheye_cameras_are_undistorted_by_their_own_model(cv2: Any, tmp_path: Path) -> None:
    matrix = np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]])
    projection = np.hstack([matrix, np.zeros((3, 1))])
    shifted = projection.copy()
    shifted[0, 3] = -300 * 0.1
    lens = (matrix, np.array([0.1, 0.01, 0.0, 0.0]), np.eye(3))
    files = [
        camera_info(tmp_path / f"{side}.yaml", side, lens + (p,), "equidistant")
        for side, p in zip(SIDES, (projection, shifted))
    ]
    rectifier = Rectifier(read_camera_files(files))
    assert rectifier.geometry.baseline == pytest.approx(0.1)
    picture = np.random.RandomState(0).randint(0, 256, (480, 640, 3)).astype(np.uint8)
    expected = cv2.fisheye.undistortImage(picture, matrix, lens[1], Knew=matrix, new_size=(640, 480))
    found = rectifier({"left": picture, "right": picture})["left"]
    assert np.abs(found.astype(int) - expected).mean() < 1.0


def test_a_source_is_rectified_as_it_is_read(
    cv2: Any, calibrated: Dict[str, np.ndarray], chessboards: List[Dict[str, str]], tmp_path: Path
) -> None:
    calibration = read_camera_files([write(cv2, tmp_path / "all.yml", calibrated)])
    pair = chessboards[0]
    source = Rectified(source_of([pair["left"], pair["right"]], SIDES), calibration)
    source.open()
    seen = source.read()
    assert seen is not None and source.read() is None and not source.live
    expected = Rectifier(calibration, (640, 480))({side: read_picture(path) for side, path in pair.items()})
    np.testing.assert_array_equal(seen.inputs["left"], expected["left"])


def test_calibrations_that_say_too_little_are_refused_in_a_sentence(
    cv2: Any, calibrated: Dict[str, np.ndarray], tmp_path: Path
) -> None:
    values = calibrated
    with pytest.raises(InputError, match="cannot be opened"):
        read_camera_files([str(tmp_path / "absent.yml")])
    one = write(cv2, tmp_path / "one.yml", {"K1": values["K1"], "D1": values["D1"]})
    with pytest.raises(InputError, match="there is no K2, the matrix of the right camera; it holds D1, K1"):
        read_camera_files([one])
    inner = write(cv2, tmp_path / "inner.yml", {name: values[name] for name in ("K1", "D1", "K2", "D2")})
    with pytest.raises(InputError, match="neither R and T"):
        read_camera_files([inner])
    (tmp_path / "cut.xml").write_text("<opencv_storage><K1>")
    with pytest.raises(InputError, match="is damaged"):
        read_camera_files([str(tmp_path / "cut.xml")])
    whole = read_camera_files(
        [write(cv2, tmp_path / "all.yml", calibrated, image_width=640, image_height=480)]
    )
    with pytest.raises(InputError, match="of pictures of 640 x 480 px, and these are 320 x 240 px"):
        Rectifier(whole, (320, 240))
    with pytest.raises(
        InputError, match="the left picture is 100 x 50 px, and the calibration is of 640 x 480 px"
    ):
        Rectifier(whole)(
            {"left": np.zeros((50, 100, 3), np.uint8), "right": np.zeros((50, 100, 3), np.uint8)}
        )
    with pytest.raises(InputError, match="there is no right picture"):
        Rectifier(whole)({"left": np.zeros((480, 640, 3), np.uint8)})
