"""PNG in and out with numpy and zlib alone, because a Jetson may have neither OpenCV nor Pillow.

Specification: https://www.w3.org/TR/png-3/ . Pictures are arrays (H, W) or (H, W, channels), uint8 or uint16.
"""

import struct
import zlib
from typing import Iterator, List, NamedTuple, Tuple

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples a pixel (section 11.2.1)
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PALETTE = 3
NONE, SUB, UP, AVERAGE, PAETH = range(5)  # filter types (section 9.2)
BAND_ROWS = 512  # rows unfiltered at once: bounds the scratch memory without many short steps


class PngError(ValueError):
    """The bytes are not a whole, undamaged PNG of a kind that is read here."""


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    color: int


def decode_png(data: bytes) -> np.ndarray:
    """The picture in a PNG file's bytes: (H, W) grey, (H, W, 2) grey + alpha, (H, W, 3) RGB or (H, W, 4) RGBA.

    Depths below 8 bits are widened to uint8, palettes are looked up, 16-bit samples stay uint16.

    Raises:
        PngError: the bytes are damaged, cut short, interlaced or no PNG.
    """
    header, palette, packed = _read_chunks(data)
    channels = CHANNELS[header.color]
    row_bytes = (header.width * channels * header.depth + 7) // 8
    size = header.height * (row_bytes + 1)
    inflater = zlib.decompressobj()
    try:
        # One byte more than the picture has, so that a small file cannot unpack into all of the memory.
        raw = inflater.decompress(packed, size + 1)
    except zlib.error as error:
        raise PngError(f"its pixels cannot be unpacked ({error})") from error
    if len(raw) < size:
        raise PngError("it ends before its last row")
    lines = np.frombuffer(raw, np.uint8, size).reshape(header.height, row_bytes + 1)
    step = max(1, channels * header.depth // 8)
    rows = _unfilter(lines[:, 0], lines[:, 1:], step)
    samples = _samples(rows, header, channels)
    if header.color == PALETTE:
        if samples.max() >= len(palette):
            raise PngError("a pixel's colour is missing from its palette")
        return np.asarray(palette[samples[..., 0]])
    return samples[..., 0] if channels == 1 else samples


def check_png(data: bytes) -> int:
    """Walk through a PNG's chunks and their checksums without unpacking the pixels; returns the bits of a sample.

    Raises:
        PngError: a chunk is missing, cut short or damaged.
    """
    return _read_chunks(data, plain=False)[0].depth


def encode_png(picture: np.ndarray) -> bytes:
    """A PNG file's bytes for (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) of uint8 or uint16.

    Raises:
        PngError: the array is no picture of this kind.
    """
    colors = {1: 0, 2: 4, 3: 2, 4: 6}
    channels = 1 if picture.ndim == 2 else picture.shape[-1]
    if picture.ndim not in (2, 3) or channels not in colors or picture.dtype not in (np.uint8, np.uint16):
        raise PngError(f"no picture: shape {picture.shape} of {picture.dtype}")
    height, width = picture.shape[:2]
    if not (height and width):
        raise PngError(f"a picture needs at least one pixel, this one has {width} x {height}")
    depth = picture.dtype.itemsize * 8
    big_endian = np.ascontiguousarray(picture, dtype=picture.dtype.newbyteorder(">"))
    rows = big_endian.view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, depth, colors[channels], 0, 0, 0)
    packed = zlib.compress(_filter(rows, channels * depth // 8).tobytes(), 6)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _walk(data: bytes) -> Iterator[Tuple[bytes, bytes]]:
    if data[:8] != SIGNATURE:
        raise PngError("it does not begin as a PNG does")
    at = 8
    while True:
        if at + 12 > len(data):
            raise PngError(f"it is cut short after {len(data)} bytes")
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            raise PngError(f"it is cut short after {len(data)} bytes")
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise PngError("the checksum of its {} part is wrong".format(kind.decode("ascii", "replace")))
        yield kind, data[at + 8 : end]
        if kind == b"IEND":
            return
        at = end + 4


def _read_chunks(data: bytes, plain: bool = True) -> Tuple[_Header, np.ndarray, bytes]:
    header = None
    palette = np.zeros((0, 3), np.uint8)
    packed: List[bytes] = []
    for kind, body in _walk(data):
        if kind == b"IHDR":
            header = _read_header(body, plain)
        elif kind == b"PLTE":
            palette = np.frombuffer(body, np.uint8, len(body) // 3 * 3).reshape(-1, 3)
        elif kind == b"IDAT":
            packed.append(body)
    if header is None or not packed:
        raise PngError("it has no %s" % ("pixels" if header else "header"))
    return header, palette, b"".join(packed)


def _read_header(body: bytes, plain: bool) -> _Header:
    if len(body) != 13:
        raise PngError(f"its header has {len(body)} bytes and not 13")
    width, height, depth, color, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if color not in CHANNELS or depth not in DEPTHS[color] or compression or filtering or interlace > 1:
        raise PngError("its header names a kind of PNG that does not exist")
    if not (width and height):
        raise PngError("it has no pixels")
    if interlace and plain:
        raise PngError("it is interlaced: save it without interlacing, or install OpenCV or Pillow")
    return _Header(width, height, depth, color)


def _samples(rows: np.ndarray, header: _Header, channels: int) -> np.ndarray:
    shape = (header.height, header.width, channels)
    if header.depth == 16:
        return np.asarray(rows.reshape(-1).view(">u2").astype(np.uint16).reshape(shape))
    if header.depth == 8:
        return np.ascontiguousarray(rows).reshape(shape)
    bits = np.unpackbits(rows, axis=1).reshape(len(rows), -1, header.depth)
    weights = 1 << np.arange(header.depth - 1, -1, -1)
    values: np.ndarray = (bits * weights).sum(axis=2)[:, : header.width]
    if header.color != PALETTE:
        values = values * (255 // (2**header.depth - 1))
    return values.astype(np.uint8).reshape(shape)


def _unfilter(kinds: np.ndarray, lines: np.ndarray, step: int) -> np.ndarray:
    """Undo the row filters: bytes (H, row) from filtered bytes (H, row), ``step`` bytes a whole pixel (section 9.3)."""
    if kinds.max() > PAETH:
        raise PngError(f"a row names filter {kinds.max()}, which does not exist")
    height, row = lines.shape
    pixels = lines.reshape(height, row // step, step)
    out = np.empty_like(pixels)
    above = np.zeros_like(pixels[0])
    for first in range(0, height, BAND_ROWS):
        band = slice(first, min(first + BAND_ROWS, height))
        if kinds[band].max() <= UP:
            _unfilter_rows(kinds[band], pixels[band], above, out[band])
        else:
            _unfilter_wavefront(kinds[band], pixels[band], above, out[band])
        above = out[band][-1]
    return out.reshape(height, row)


def _unfilter_rows(kinds: np.ndarray, pixels: np.ndarray, above: np.ndarray, out: np.ndarray) -> None:
    for index, kind in enumerate(kinds):
        if kind == SUB:
            np.cumsum(pixels[index], axis=0, dtype=np.uint8, out=out[index])
        elif kind == UP:
            np.add(pixels[index], above, out=out[index])
        else:
            out[index] = pixels[index]
        above = out[index]


def _unfilter_wavefront(kinds: np.ndarray, pixels: np.ndarray, above: np.ndarray, out: np.ndarray) -> None:
    """Undo filters of which some need the pixel to the left: all rows at once, each one pixel behind the row above.

    Pixel x of row y is worked out in step x + y; its neighbours left and above come from the step before, the one above
    to the left from two steps before, so one vector operation serves a whole diagonal.
    """
    height, width, step = pixels.shape
    steps = width + height
    # skewed[t, y] = pixel t - y of row y; row 0 is the last row of the band before, two steps of zeros lie to the left.
    skewed = np.zeros((steps + 2, height + 1, step), np.int16)
    skewed[2 : width + 2, 0] = above
    filtered = np.zeros((steps, height, step), np.int16)
    for row in range(height):
        filtered[row + 1 : row + 1 + width, row] = pixels[row]
    by_kind = [(kinds == kind).reshape(-1, 1) for kind in range(PAETH + 1)]
    for t in range(steps):
        left, up, corner = skewed[t + 1, 1:], skewed[t + 1, :-1], skewed[t, :-1]
        to_left, to_up = np.abs(up - corner), np.abs(left - corner)
        to_corner = np.abs(left + up - 2 * corner)
        paeth = np.where(
            (to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner)
        )
        guess = (
            by_kind[SUB] * left
            + by_kind[UP] * up
            + by_kind[AVERAGE] * ((left + up) >> 1)
            + by_kind[PAETH] * paeth
        )
        skewed[t + 2, 1:] = (filtered[t] + guess) & 255
    for row in range(height):
        out[row] = skewed[row + 3 : row + 3 + width, row + 1]


def _filter(rows: np.ndarray, step: int) -> np.ndarray:
    """Choose none, sub or up for each row by the smallest sum of absolute differences (section 12.7)."""
    left = np.zeros_like(rows)
    left[:, step:] = rows[:, :-step]
    up = np.zeros_like(rows)
    up[1:] = rows[:-1]
    tried = np.stack([rows, rows - left, rows - up])
    cost = np.abs(tried.view(np.int8).astype(np.int32)).sum(axis=2)
    best = cost.argmin(axis=0)
    chosen = tried[best, np.arange(len(rows))]
    return np.concatenate([best.astype(np.uint8).reshape(-1, 1), chosen], axis=1)
