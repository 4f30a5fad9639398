"""Pictures in and out: against OpenCV and Pillow, on real files, and on every kind of file that is no picture."""

import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import atomic
from edgekit.errors import InputError
from edgekit.runtime import pictures
from edgekit.runtime.pictures.colors import color_disparity, disparity_range, turbo
from edgekit.runtime.pictures.netpbm import decode_pfm, encode_pfm
from edgekit.runtime.pictures.png import decode_png, encode_png

READERS = ("opencv", "pillow", "numpy")


def picture(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.fixture(params=READERS)
def reader(request, monkeypatch, needs):
    """Read with OpenCV, with Pillow where OpenCV is missing, with numpy where both are."""
    for name in {"opencv": [], "pillow": ["cv2"], "numpy": ["cv2", "PIL"]}[request.param]:
        monkeypatch.setitem(sys.modules, name, None)
    if request.param != "numpy":
        needs({"opencv": "cv2", "pillow": "PIL"}[request.param])
    return request.param


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    """A small photograph's file, as OpenCV writes it."""
    cv2 = pytest.importorskip("cv2")
    ramp = np.add.outer(np.arange(64), np.arange(80))[..., None].repeat(3, axis=2).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", ramp)[1].tobytes())


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


@given(seed=st.integers(0, 1000), channels=st.sampled_from([1, 3, 4]), wide=st.booleans())
@settings(deadline=None, max_examples=40)
def test_our_png_is_what_opencv_reads_and_opencvs_png_is_what_we_read(seed, channels, wide):
    cv2 = pytest.importorskip("cv2")
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 40, 2)
    shape = (height, width) if channels == 1 else (height, width, channels)
    # A smooth picture, for which encoders choose every row filter, and noise on top of it.
    ramp = np.add.outer(np.arange(height) * 5, np.arange(width) * 3).reshape(
        height, width, *[1] * (channels > 1)
    )
    kind = np.uint16 if wide else np.uint8
    mine = (np.broadcast_to(ramp, shape) + generator.integers(0, 4, shape)).astype(kind)
    swap = [2, 1, 0, 3][:channels]
    theirs = mine if channels == 1 else np.ascontiguousarray(mine[..., swap])
    read = cv2.imdecode(np.frombuffer(encode_png(mine), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read, theirs)
    strategy = [cv2.IMWRITE_PNG_COMPRESSION, int(generator.integers(0, 10))]
    assert np.array_equal(decode_png(cv2.imencode(".png", theirs, strategy)[1].tobytes()), mine)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_that_pillow_writes_is_read_as_pillow_reads_it(mode, tmp_path, needs):
    needs("PIL")
    from PIL import Image

    source = Image.fromarray(picture(21, 30, 3)).convert("L" if mode == "I;16" else mode)
    path = tmp_path / "picture.png"
    if mode == "I;16":
        source = Image.fromarray(np.asarray(source).astype(np.uint16) * 257)
    source.save(path)
    with Image.open(path) as reread:
        expected = np.asarray(reread.convert({"1": "L", "P": "RGB"}.get(mode, reread.mode)))
    assert np.array_equal(decode_png(path.read_bytes()), expected)


def test_a_real_frame_is_the_same_picture_whoever_reads_it(shared, needs, monkeypatch):
    for name in ("cv2", "PIL"):
        needs(name)
    path = str(shared / "data/stereo/kitti2015_000000/left.png")
    read = [pictures.read_picture(path)]
    for name in ("cv2", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
        read.append(pictures.read_picture(path))
    assert np.array_equal(read[0], read[1]) and np.array_equal(read[0], read[2])
    assert read[0].shape == (375, 1242, 3) and read[0][:, :, 0].std() > 30


def test_grey_is_repeated_and_alpha_is_dropped(reader, tmp_path):
    for shape in ((5, 7), (5, 7, 2), (5, 7, 3), (5, 7, 4)):
        raw = picture(*shape)
        read = pictures.read_picture(write(tmp_path / "picture.png", encode_png(raw)))
        assert read.shape == (5, 7, 3) and read.dtype == np.uint8 and read.flags.c_contiguous
        expected = raw[..., None] if len(shape) == 2 else raw[..., :1] if shape[2] == 2 else raw[..., :3]
        assert np.array_equal(read, np.broadcast_to(expected, (5, 7, 3)))


def test_sixteen_bits_are_refused_with_advice(reader, tmp_path):
    for shape in ((5, 7), (5, 7, 3)):
        path = write(tmp_path / "deep.png", encode_png(picture(*shape, dtype=np.uint16)))
        with pytest.raises(InputError, match=r"deep\.png has more than 8 bits a channel.*-depth 8"):
            pictures.read_picture(path)


def test_ppm_is_read_without_any_package(reader, tmp_path):
    raw = picture(4, 6, 3)
    path = write(tmp_path / "picture.ppm", b"P6\n# a comment\n6 4\n255\n" + raw.tobytes())
    assert np.array_equal(pictures.read_picture(path), raw)


@pytest.mark.parametrize("extension", ["png", "jpg", "ppm", "npy"])
def test_a_file_cut_short_is_refused_by_name_and_nobody_else_says_anything(
    reader, extension, tmp_path, jpeg, capfd
):
    raw = np.add.outer(np.arange(64), np.arange(80))[..., None].repeat(3, axis=2).astype(np.uint8)
    if extension == "npy":
        np.save(tmp_path / "whole.npy", raw)
        whole = (tmp_path / "whole.npy").read_bytes()
    elif extension == "ppm":
        whole = b"P6 80 64 255\n" + raw.tobytes()
    elif extension == "png":
        whole = encode_png(raw)
    else:
        whole = jpeg
    for share in (0.3, 0.7, 0.98):
        path = write(tmp_path / f"cut.{extension}", whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=f"cut.{extension}"):
            pictures.read_picture(path)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_picture_is_refused_by_name(reader, tmp_path):
    for name, data in {
        "empty.png": b"",
        "text.png": b"not a picture at all" * 20,
        "net.onnx": os.urandom(300),
    }.items():
        with pytest.raises(InputError, match=name):
            pictures.read_picture(write(tmp_path / name, data))
    with pytest.raises(InputError, match=r"nowhere\.png.*[Nn]o such file"):
        pictures.read_picture(str(tmp_path / "nowhere.png"))
    with pytest.raises(InputError, match="directory"):
        pictures.read_picture(str(tmp_path))


def test_a_pickle_in_an_npy_file_is_never_loaded(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"evil\.npy"):
        pictures.read_picture(str(tmp_path / "evil.npy"))


def test_a_jpeg_without_opencv_and_pillow_is_refused_with_advice(tmp_path, monkeypatch, jpeg):
    for name in ("cv2", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="python3-opencv"):
        pictures.read_picture(write(tmp_path / "photo.jpg", jpeg))


def test_kitti_ground_truth_is_what_opencv_makes_of_it(shared, needs):
    cv2 = needs("cv2")
    path = str(shared / "data/stereo/kitti2015_000000/disp_occ.png")
    raw = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    truth = pictures.read_disparity(path)
    assert truth.dtype == np.float32 and np.array_equal(np.isnan(truth), raw == 0)
    assert np.array_equal(truth[raw > 0], (raw / 256.0).astype(np.float32)[raw > 0])


@pytest.mark.parametrize("scene", ["flyingthings_TEST-A-0000_0006", "middlebury2014_MotorcycleQ"])
def test_pfm_ground_truth_is_read_the_right_way_up(scene, shared):
    path = shared / "data/stereo" / scene / "disp.pfm"
    ours = pictures.read_disparity(str(path))
    # Both files are little-endian, rows bottom-up, behind a header of a few words.
    theirs = np.frombuffer(path.read_bytes()[-4 * ours.size :], "<f4")
    theirs = theirs.reshape(ours.shape)[::-1]
    known = np.isfinite(ours)
    assert np.array_equal(known, np.isfinite(theirs) & (theirs >= 0))
    assert np.array_equal(ours[known], theirs[known])


def test_an_8_bit_picture_is_no_ground_truth(tmp_path):
    with pytest.raises(InputError, match="8-bit picture and no disparity"):
        pictures.read_disparity(write(tmp_path / "colors.png", encode_png(picture(4, 4, 3))))


def test_pfm_survives_the_way_out_and_in(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    assert np.array_equal(decode_pfm(encode_pfm(values)), values)
    pictures.write_pfm(str(tmp_path / "d.pfm"), np.abs(values))
    assert np.array_equal(pictures.read_disparity(str(tmp_path / "d.pfm")), np.abs(values))


def test_a_folder_that_is_missing_is_named_when_writing(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/d\.png cannot be written: no such file"):
        pictures.write_png(str(tmp_path / "nowhere" / "d.png"), picture(2, 2, 3))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "d.png"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no space left"):
        pictures.write_png(str(path), picture(2, 2, 3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["d.png"] and path.read_bytes() == b"old"
    with pytest.raises(OSError) as raised:
        atomic.write_file(str(path), b"new")
    assert raised.value.filename == str(path)  # not the sibling's that was to take its place


def test_a_png_that_claims_to_be_huge_costs_no_memory(tmp_path, monkeypatch):
    for name in ("cv2", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    data = encode_png(np.zeros((1, 1), np.uint8))
    body = b"IHDR" + struct.pack(">II", 2**31 - 1, 2**31 - 1) + data[24:29]
    huge = data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    with pytest.raises(InputError, match=r"huge\.png"):
        pictures.read_picture(write(tmp_path / "huge.png", huge))


def test_turbo_is_close_to_the_published_table(needs):
    matplotlib = needs("matplotlib")
    shares = np.linspace(0.0, 1.0, 256)
    published = matplotlib.colormaps["turbo"](shares)[:, :3] * 255.0
    assert np.abs(turbo(shares) - published).mean() < 1.5


def test_near_is_red_far_is_blue_and_unknown_is_black():
    disparity = np.linspace(1.0, 50.0, 200, dtype=np.float32).reshape(10, 20)
    disparity[0, 5] = np.nan
    colors = color_disparity(disparity).astype(int)
    assert colors[0, 5].tolist() == [0, 0, 0]
    assert colors[-1, -3, 0] > colors[-1, -3, 2] and colors[0, 8, 2] > colors[0, 8, 0]


def test_one_wild_pixel_does_not_change_the_range():
    disparity = np.random.default_rng(0).uniform(10.0, 20.0, (100, 100)).astype(np.float32)
    calm = disparity_range(disparity)
    disparity[3, 3] = 1e6
    assert disparity_range(disparity) == pytest.approx(calm, rel=0.01)
    assert disparity_range(disparity, 64.0) == (0.0, 64.0)
    assert color_disparity(np.full((2, 2), np.nan, np.float32)).max() == 0
