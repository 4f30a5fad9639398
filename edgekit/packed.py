"""Graphs whose weights lie elsewhere as bits: a graph file with holes, a blob that several graphs share, and how they become whole.

A packed graph file is the magic line, a JSON line, and the bytes of the ONNX file without the weights that were cut out::

    edgekit packed graph 1
    {"blob": "weights/packed.bin", "bytes": 5120000, "slots": [[1234, 0, 4608, 4, ...], ...]}
    ...

Each slot says where in the whole file its weights belong, and where in the blob they are: whole numbers of 2, 3 or 4 bits, or
other data byte by byte. Putting them back gives the very bytes of the ONNX file that was packed.
"""

import json
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from edgekit.errors import BundleError

MAGIC = b"edgekit packed graph 1\n"
RAW = 0  # bits of a slot whose data is stored as it is


class Slot(NamedTuple):
    """Where weights were cut out of a graph.

    Attributes:
        at: offset in the whole ONNX file.
        start: where in the blob, in bytes.
        length: how many numbers; of raw data, how many bytes.
        bits: of a number in the blob; 0 for raw data.
        dtype: numpy's name of their type in the graph.
        factor: they are multiplied by it.
        rows: 0, or the numbers form a matrix of so many rows that the graph holds transposed.
    """

    at: int
    start: int
    length: int
    bits: int = RAW
    dtype: str = "uint8"
    factor: int = 1
    rows: int = 0


def pack(codes: np.ndarray, bits: int) -> bytes:
    """Whole numbers -2^(bits-1) .. 2^(bits-1) - 1 as a stream of ``bits`` each, the lowest bit first."""
    unsigned = (np.asarray(codes).ravel().astype(np.int64) + (1 << (bits - 1))).astype(np.uint8)
    each = (unsigned[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    stream = each.astype(np.uint8).ravel()
    padded = np.zeros(-(-len(stream) // 8) * 8, np.uint8)
    padded[: len(stream)] = stream
    # numpy 1.16 and older have no bitorder: the highest bit first, so each byte is turned round.
    return np.packbits(padded.reshape(-1, 8)[:, ::-1]).tobytes()


def unpack(data: bytes, count: int, bits: int) -> np.ndarray:
    """The first ``count`` whole numbers (int8) of a stream that `pack` made."""
    # Eight numbers take as many bytes as they have bits: shifts on columns, no bit by bit.
    groups = -(-count // 8)
    padded = np.zeros(groups * bits, np.uint8)
    padded[: min(len(data), len(padded))] = np.frombuffer(data, np.uint8, min(len(data), len(padded)))
    columns = padded.reshape(groups, bits).astype(np.uint32)
    word = columns[:, 0].copy()
    for k in range(1, bits):
        word |= columns[:, k] << np.uint32(8 * k)
    mask = np.uint32((1 << bits) - 1)
    found = np.empty((groups, 8), np.int8)
    for k in range(8):
        found[:, k] = ((word >> np.uint32(bits * k)) & mask).astype(np.int8)
    found -= np.int8(1 << (bits - 1))
    return found.ravel()[:count]


def is_packed(data: bytes) -> bool:
    """Whether these are the bytes of a packed graph."""
    return data[: len(MAGIC)] == MAGIC


def write(skeleton: bytes, total: int, slots: List[Slot], blob: str) -> bytes:
    """The packed graph file: ``skeleton`` is the ONNX file without its slots, ``total`` its size with them."""
    document = {"blob": blob, "bytes": total, "slots": [list(slot) for slot in slots]}
    return MAGIC + json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n" + skeleton


def expand(data: bytes, read: Callable[[str], bytes], source: str) -> bytes:
    """The whole ONNX file of a packed graph; ``read`` gives the bytes of a file of the bundle.

    Raises:
        BundleError: the graph or its blob is not what it should be.
    """
    try:
        document, skeleton = _split(data)
        slots = [Slot(*slot) for slot in document["slots"]]
        blob = memoryview(read(str(document["blob"])))
        whole = bytearray(int(document["bytes"]))
        taken, end = 0, 0
        for slot in slots:
            gap = slot.at - end
            whole[end : slot.at] = skeleton[taken : taken + gap]
            content = _content(slot, blob)
            taken, end = taken + gap, slot.at + len(content)
            whole[slot.at : end] = content
        whole[end:] = skeleton[taken:]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BundleError(
            f"{source}: no packed graph that this edgekit reads ({error}); copy the bundle again"
        ) from error
    if len(whole) != document["bytes"]:
        raise BundleError(f"{source}: its weights do not fill its holes; copy the bundle again")
    return bytes(whole)


def stored_bytes(data: bytes) -> Dict[int, int]:
    """Bytes in the blob by bits of a number (0: as they are) that a packed graph reads, those that it reads twice once."""
    seen = {
        (slot.bits, slot.start, _length(slot)) for slot in (Slot(*one) for one in _split(data)[0]["slots"])
    }
    found = {}  # type: Dict[int, int]
    for bits, _, length in seen:
        found[bits] = found.get(bits, 0) + length
    return found


def _split(data: bytes) -> Tuple[Dict[str, Any], bytes]:
    end = data.index(b"\n", len(MAGIC))
    return json.loads(data[len(MAGIC) : end].decode("ascii")), data[end + 1 :]


def _length(slot: Slot) -> int:
    return slot.length if slot.bits == RAW else -(-slot.length * slot.bits // 8)


def _content(slot: Slot, blob: memoryview) -> bytes:
    stored = blob[slot.start : slot.start + _length(slot)]
    if len(stored) < _length(slot):
        raise ValueError("the blob is too short")
    if slot.bits == RAW:
        return bytes(stored)
    codes = unpack(bytes(stored), slot.length, slot.bits)
    if slot.rows:
        codes = codes.reshape(slot.rows, -1).T
    numbers = codes.astype(slot.dtype)
    if slot.factor != 1:
        numbers *= numbers.dtype.type(slot.factor)
    return numbers.tobytes()
