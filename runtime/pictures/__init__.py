"""Picture files in and out, with whatever the device has: OpenCV, else Pillow, else numpy alone."""

import io
from typing import Optional

import numpy as np

from edgekit import atomic
from edgekit.errors import InputError
from edgekit.runtime.pictures.netpbm import NetpbmError, decode_pfm, decode_pnm, encode_pfm
from edgekit.runtime.pictures.png import SIGNATURE, PngError, check_png, decode_png, encode_png

JPEG = b"\xff\xd8\xff"
NPY = b"\x93NUMPY"
KITTI_SCALE = 256.0  # KITTI keeps disparities as uint16, 256 a pixel; 0 is "unknown" (devkit of the stereo benchmark 2015)


def read_picture(path: str) -> np.ndarray:
    """A picture file as uint8 (H, W, 3) RGB; grey is repeated into three channels, alpha is dropped.

    A ``.npy`` file's array is handed on as it is: the session takes uint8 pictures and float32 network tensors.

    Raises:
        InputError: the file is missing, damaged, of a kind that cannot be read here, or has more than 8 bits a channel.
    """
    data = _read(path)
    if data.startswith(NPY):
        return _decode_npy(data, path)
    picture = _decode(data, path)
    # Pillow turns 16-bit colour into 8-bit without a word, so the file itself is asked.
    if picture.dtype != np.uint8 or (data.startswith(SIGNATURE) and check_png(data) == 16):
        raise InputError(
            f"{path} has more than 8 bits a channel, and the networks take 8: convert it first, for example with"
            f" `convert {path} -depth 8 8bit.png`"
        )
    if picture.ndim == 2 or picture.shape[-1] == 2:
        grey = picture if picture.ndim == 2 else picture[..., 0]
        return np.ascontiguousarray(np.broadcast_to(grey[..., None], grey.shape + (3,)))
    return np.ascontiguousarray(picture[..., :3])


def read_disparity(path: str) -> np.ndarray:
    """Ground truth or a saved disparity as float32 (H, W) px; unknown pixels are NaN.

    Reads KITTI's 16-bit PNG (value / 256, 0 unknown), PFM (infinite or negative is unknown) and NPY.

    Raises:
        InputError: the file is missing, damaged, or holds no disparity.
    """
    data = _read(path)
    if data.startswith(NPY):
        disparity = _decode_npy(data, path)
    elif data[:2] in (b"Pf", b"PF"):
        try:
            disparity = decode_pfm(data)
        except NetpbmError as error:
            raise InputError(f"{path} is no readable PFM file: {error}") from error
        disparity = np.where(disparity < 0, np.nan, disparity)
    else:
        # Our own reader for PNG: what OpenCV and Pillow make of 16 bits differs from version to version.
        raw = _decode_png(data, path) if data.startswith(SIGNATURE) else _decode(data, path)
        if raw.dtype != np.uint16:
            raise InputError(
                f"{path} is an 8-bit picture and no disparity: ground truth is a 16-bit PNG (KITTI), a .pfm or a .npy file"
            )
        disparity = np.where(raw == 0, np.nan, raw / KITTI_SCALE)
    disparity = np.asarray(disparity)
    if disparity.ndim != 2 or disparity.dtype.kind != "f":
        raise InputError(
            f"{path} holds {disparity.dtype} of shape {disparity.shape}, and a disparity is a floating-point array (height, width)"
        )
    return np.where(np.isfinite(disparity), disparity, np.nan).astype(np.float32)


def write_png(path: str, picture: np.ndarray) -> None:
    """Write uint8 (H, W, 3) RGB or (H, W) grey as PNG; ``path`` appears whole or not at all."""
    _write(path, encode_png(picture))


def write_pfm(path: str, disparity: np.ndarray) -> None:
    """Write a disparity, float32 (H, W) px, as PFM; ``path`` appears whole or not at all."""
    _write(path, encode_pfm(disparity))


def write_npy(path: str, array: np.ndarray) -> None:
    """Write any array as NPY; ``path`` appears whole or not at all."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    _write(path, stream.getvalue())


def _write(path: str, data: bytes) -> None:
    try:
        atomic.write_file(path, data)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {(error.strerror or str(error)).lower()}; choose another place"
        ) from error


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise InputError(f"the picture {path} cannot be opened: {error.strerror}") from error
    if not data:
        raise InputError(f"the picture {path} is empty")
    return data


def _decode_npy(data: bytes, path: str) -> np.ndarray:
    try:
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is no readable .npy file: {error}") from error


def _decode(data: bytes, path: str) -> np.ndarray:
    _refuse_cut_short(data, path)
    if data[:2] in (
        b"P5",
        b"P6",
    ):  # as fast as OpenCV's reader, which prints lines of its own about one that is cut short
        try:
            return decode_pnm(data)
        except NetpbmError as error:
            raise InputError(f"the picture {path} cannot be read: {error}") from error
    picture = _decode_with_opencv(data)
    if picture is None:
        picture = _decode_with_pillow(data)
    if picture is not None:
        return picture
    if data.startswith(SIGNATURE):
        return _decode_png(data, path)
    if data.startswith(JPEG):
        raise InputError(
            f"the picture {path} is a JPEG, which needs OpenCV or Pillow: `sudo apt-get install python3-opencv`,"
            " or convert it to PNG"
        )
    raise InputError(f"the picture {path} cannot be read: give a PNG, JPEG, PPM or NPY file")


def _refuse_cut_short(data: bytes, path: str) -> None:
    """OpenCV fills the missing rows of a picture that ends early with grey and says nothing, so this looks first."""
    if data.startswith(SIGNATURE):
        try:
            check_png(data)
        except PngError as error:
            raise InputError(f"the picture {path} cannot be read: {error}") from error
    elif data.startswith(JPEG) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise InputError(f"the picture {path} cannot be read: it is cut short after {len(data)} bytes")


def _decode_png(data: bytes, path: str) -> np.ndarray:
    try:
        return decode_png(data)
    except PngError as error:
        raise InputError(f"the picture {path} cannot be read: {error}") from error


def _decode_with_opencv(data: bytes) -> Optional[np.ndarray]:
    try:
        import cv2
    except ImportError:
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if picture is None:
        return None
    if picture.ndim == 3:
        picture = picture[..., [2, 1, 0] + list(range(3, picture.shape[-1]))]
    return np.asarray(picture)


def _decode_with_pillow(data: bytes) -> Optional[np.ndarray]:
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        image = Image.open(io.BytesIO(data))
        if image.mode in ("P", "PA", "CMYK", "YCbCr", "1"):
            image = image.convert("RGB")
        picture = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    # Pillow opens 16-bit grey as 32-bit integers.
    return picture.astype(np.uint16) if picture.dtype in (np.int32, np.dtype(">u2")) else picture
