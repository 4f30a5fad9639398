"""Netpbm in and out: PPM and PGM pictures, and PFM, the floating-point format of stereo ground truth.

Formats: http://netpbm.sourceforge.net/doc/ppm.html and http://www.pauldebevec.com/Research/HDR/PFM/ .
"""

import re
from typing import Tuple

import numpy as np


class NetpbmError(ValueError):
    """The bytes are not a whole PPM, PGM or PFM file of a kind that is read here."""


def decode_pnm(data: bytes) -> np.ndarray:
    """A binary PGM (P5) as (H, W) or PPM (P6) as (H, W, 3); uint8, or uint16 where the file's largest value passes 255.

    Raises:
        NetpbmError: the bytes are cut short or of another kind.
    """
    kind, width, height, largest, at = _header(data, (b"P5", b"P6"))
    channels = 3 if kind == b"P6" else 1
    if not 0 < largest < 65536:
        raise NetpbmError(f"its largest value is {largest:g} and not 1 to 65535")
    dtype = np.dtype(">u2" if largest > 255 else "u1")
    samples = _samples(data, at, dtype, height * width * channels)
    shape = (height, width, 3) if channels == 3 else (height, width)
    if largest < 255:
        samples = (samples.astype(np.uint16) * 255 + int(largest) // 2) // int(largest)
    return samples.astype(np.uint16 if largest > 255 else np.uint8).reshape(shape)


def decode_pfm(data: bytes) -> np.ndarray:
    """A PFM file as float32 (H, W) or (H, W, 3), first row at the top (the file keeps it at the bottom).

    Raises:
        NetpbmError: the bytes are cut short or no PFM.
    """
    kind, width, height, scale, at = _header(data, (b"Pf", b"PF"))
    channels = 3 if kind == b"PF" else 1
    # The sign of the scale tells the byte order: negative is little-endian.
    samples = _samples(data, at, np.dtype("<f4" if scale < 0 else ">f4"), height * width * channels)
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.ascontiguousarray(samples.astype(np.float32).reshape(shape)[::-1])


def encode_pfm(values: np.ndarray) -> bytes:
    """A PFM file's bytes, little-endian, for float32 (H, W) with the first row at the top."""
    height, width = values.shape
    header = f"Pf\n{width} {height}\n-1.0\n"
    return header.encode("ascii") + np.ascontiguousarray(values[::-1], "<f4").tobytes()


def _header(data: bytes, kinds: Tuple[bytes, ...]) -> Tuple[bytes, int, int, float, int]:
    gap = rb"(?:\s|#[^\n]*\n)+"
    pattern = rb"(P[a-zA-Z0-9])" + gap + rb"(\d+)" + gap + rb"(\d+)" + gap + rb"([-+.\deE]+)\s"
    match = re.match(pattern, data)
    if not match or match.group(1) not in kinds:
        raise NetpbmError(
            "it does not begin as {} does".format(" or ".join(kind.decode("ascii") for kind in kinds))
        )
    width, height = int(match.group(2)), int(match.group(3))
    try:
        last = float(match.group(4))
    except ValueError as error:
        raise NetpbmError("its header cannot be read") from error
    if not (width and height):
        raise NetpbmError("it has no pixels")
    return match.group(1), width, height, last, match.end()


def _samples(data: bytes, at: int, dtype: np.dtype, count: int) -> np.ndarray:
    if len(data) - at < count * dtype.itemsize:
        raise NetpbmError(f"it is cut short after {len(data)} bytes")
    return np.frombuffer(data, dtype, count, at)
