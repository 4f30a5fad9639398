"""The PNG codec on the device's own Python and numpy, against the specification's filters written out one byte at a time."""

import struct
import zlib
from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.runtime.pictures.png import BAND_ROWS, SIGNATURE, PngError, check_png, decode_png, encode_png


def paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    distances = [abs(estimate - left), abs(estimate - up), abs(estimate - corner)]
    return (left, up, corner)[distances.index(min(distances))]


def filtered(rows: np.ndarray, kinds: List[int], step: int) -> bytes:
    """Section 9.2 of the specification: rows (H, bytes) with the filter of each row applied."""
    out = bytearray()
    for y, kind in enumerate(kinds):
        out.append(kind)
        for x in range(rows.shape[1]):
            left = int(rows[y, x - step]) if x >= step else 0
            up = int(rows[y - 1, x]) if y else 0
            corner = int(rows[y - 1, x - step]) if y and x >= step else 0
            guess = (0, left, up, (left + up) // 2, paeth(left, up, corner))[kind]
            out.append((int(rows[y, x]) - guess) % 256)
    return bytes(out)


def png(width: int, height: int, depth: int, color: int, pixels: bytes, palette: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header)] + ([chunk(b"PLTE", palette)] if palette else [])
    return SIGNATURE + b"".join(parts) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@st.composite
def pictures(draw, dtype=np.uint8):
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    channels = draw(st.sampled_from([1, 2, 3, 4]))
    seed = draw(st.integers(0, 2**31))
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.RandomState(seed).randint(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@given(st.one_of(pictures(np.uint8), pictures(np.uint16)))
@settings(deadline=None)
def test_what_was_written_is_read_back(picture):
    again = decode_png(encode_png(picture))
    assert again.dtype == picture.dtype
    assert np.array_equal(again, picture)


@given(pictures(), st.data())
@settings(deadline=None)
def test_every_mixture_of_row_filters_is_undone(picture, data):
    height, width = picture.shape[:2]
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    rows = filtered(picture.reshape(height, -1), kinds, channels)
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    assert np.array_equal(decode_png(png(width, height, 8, color, rows)), picture)


def test_rows_of_a_second_band_continue_from_the_first() -> None:
    height = BAND_ROWS + 3
    picture = np.random.RandomState(0).randint(0, 256, (height, 5, 3)).astype(np.uint8)
    rows = filtered(picture.reshape(height, -1), [4, 3] * (height // 2) + [4] * (height % 2), 3)
    assert np.array_equal(decode_png(png(5, height, 8, 2, rows)), picture)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_below_eight_bits_spans_black_to_white(depth: int) -> None:
    row = range(2**depth)
    bits = "".join(format(value, f"0{depth}b") for value in row)
    bits += "0" * (-len(bits) % 8)
    packed = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    picture = decode_png(png(len(row), 1, depth, 0, b"\0" + packed))
    assert picture.tolist() == [[value * 255 // (2**depth - 1) for value in row]]


def test_a_palette_is_looked_up() -> None:
    palette = bytes([10, 20, 30, 40, 50, 60])
    picture = decode_png(png(3, 1, 8, 3, b"\0\1\0\1", palette))
    assert picture.tolist() == [[[40, 50, 60], [10, 20, 30], [40, 50, 60]]]


def test_a_pixel_outside_the_palette_is_an_error() -> None:
    with pytest.raises(PngError, match="palette"):
        decode_png(png(1, 1, 8, 3, b"\0\5", bytes(6)))


@given(st.data())
@settings(deadline=None)
def test_a_file_cut_anywhere_or_with_a_byte_flipped_is_refused(data):
    whole = encode_png(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    for broken in (whole[:at], bytes(flipped)):
        for refuse in (decode_png, check_png):
            with pytest.raises(PngError):
                refuse(broken)


def test_an_interlaced_file_is_refused_with_advice() -> None:
    data = encode_png(np.zeros((2, 2), np.uint8))
    body = data[12:28] + b"\1"
    interlaced = data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    with pytest.raises(PngError, match="without interlacing"):
        decode_png(interlaced)
    check_png(interlaced)  # OpenCV and Pillow read it


def test_what_is_no_picture_cannot_be_written() -> None:
    for array in (np.zeros((2, 2), np.float32), np.zeros((2, 2, 5), np.uint8), np.zeros((0, 2), np.uint8)):
        with pytest.raises(PngError):
            encode_png(array)
