"""Cut the weights out of exported graphs, and store them once for all graphs of a bundle, whole numbers as bits.

A layer is stored with its longer side as rows, so that the slice that a smaller subnet takes of it is a prefix, and shares its
bytes. Nothing is assumed about a graph: every constant whose elements are whole numbers that fit the bits goes into the blob
as bits, every other long one as it is, and the packed file is compared with the original when it is made whole again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit import packed
from edgekit.errors import ExportError
from edgekit.packed import RAW, Slot

BLOB = "weights/packed.bin"
FEWEST_NUMBERS = 32  # shorter ones stay in the graph,
FEWEST_BYTES = 1024  # and other data up to this


@dataclass(frozen=True)
class _Cut:
    """A constant to be cut out: its offset in the file, and what is stored for it."""

    at: int
    length: int
    # Int8 codes, or raw data, in the orders in which they may be stored, and Slot.rows of each
    forms: tuple[tuple[bytes, int], ...]
    bits: int = RAW
    dtype: str = "uint8"
    factor: int = 1


@dataclass
class _Blob:
    """The streams so far."""

    size: int = 0
    parts: list[bytes] = field(default_factory=list)
    streams: dict[tuple[int, bytes], list[tuple[bytes, int]]] = field(default_factory=dict)

    def add(self, content: bytes) -> int:
        start = self.size
        self.parts.append(content)
        self.size += len(content)
        return start

    def place(self, cut: _Cut) -> Slot:
        """Where the constant is stored; behind what it shares where it can."""
        count = len(cut.forms[0][0])
        for content, rows in cut.forms:
            for known, start in self.streams.get((cut.bits, content[:FEWEST_NUMBERS]), []):
                if known[:count] == content:
                    return Slot(cut.at, start, count, cut.bits, cut.dtype, cut.factor, rows)
        content, rows = cut.forms[0]
        stored = content if cut.bits == RAW else packed.pack(np.frombuffer(content, np.int8), cut.bits)
        start = self.add(stored)
        self.streams.setdefault((cut.bits, content[:FEWEST_NUMBERS]), []).append((content, start))
        return Slot(cut.at, start, count, cut.bits, cut.dtype, cut.factor, rows)


def pack_graphs(graphs: Mapping[str, bytes], bits: Mapping[str, int]) -> dict[str, bytes]:
    """Packed graphs by their paths, and the blob under `BLOB`.

    Args:
        graphs: ONNX files by path.
        bits: of the quantised weights in each.

    Raises:
        ExportError: a packed graph does not become the original again.
    """
    cuts = {path: _cuts(data, bits[path]) for path, data in graphs.items()}
    blob = _Blob()
    every = [(path, cut) for path, found in cuts.items() for cut in found]
    longest_first = sorted(every, key=lambda one: (-len(one[1].forms[0][0]), one[0], one[1].at))
    slots: dict[str, list[Slot]] = {path: [] for path in graphs}
    for path, cut in longest_first:
        slots[path].append(blob.place(cut))
    content = b"".join(blob.parts)
    files = {BLOB: content}
    for path, data in graphs.items():
        pieces, end = [], 0
        for cut in cuts[path]:
            pieces.append(data[end : cut.at])
            end = cut.at + cut.length
        pieces.append(data[end:])
        files[path] = packed.write(b"".join(pieces), len(data), sorted(slots[path]), BLOB)
        if packed.expand(files[path], lambda _: content, path) != data:
            raise ExportError(f"{path}: packed, it does not become what it was; this is a fault of edgekit")
    return files


def _cuts(data: bytes, bits: int) -> list[_Cut]:
    """What to cut out of an ONNX file, in the order in which it lies there."""
    found: list[_Cut] = []
    cursor = 0
    for tensor in onnx.load_from_string(data).graph.initializer:
        if not tensor.HasField("raw_data"):
            continue
        at = data.find(tensor.raw_data, cursor)
        if at < 0:
            continue
        cut = _as_codes(numpy_helper.to_array(tensor), len(tensor.raw_data), at, bits)
        if cut is None and len(tensor.raw_data) >= FEWEST_BYTES:
            cut = _Cut(at, len(tensor.raw_data), ((tensor.raw_data, 0),))
        if cut is not None:
            found.append(cut)
            cursor = at + len(tensor.raw_data)
    return found


def _as_codes(array: np.ndarray, size: int, at: int, bits: int) -> _Cut | None:
    """The constant as whole numbers of so many bits, None if it is something else."""
    if array.size < FEWEST_NUMBERS or array.dtype not in (np.int8, np.float32):
        return None
    for factor in (1 << (8 - bits), 1):
        codes = array / factor
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if codes.any() and (codes >= low).all() and (codes <= high).all() and (codes == np.rint(codes)).all():
            return _Cut(at, size, _forms(codes.astype(np.int8)), bits, array.dtype.name, factor)
    return None


def _forms(codes: np.ndarray) -> tuple[tuple[bytes, int], ...]:
    """The codes as the graph has them, and transposed where they form a matrix; the order with more rows first."""
    plain = (codes.tobytes(), 0)
    if codes.ndim < 2 or codes.size != codes.shape[0] * codes.shape[1] or 1 in codes.shape[:2]:
        return (plain,)
    rows, columns = codes.shape[0], codes.shape[1]
    turned = (np.ascontiguousarray(codes.reshape(rows, columns).T).tobytes(), columns)
    return (plain, turned) if rows >= columns else (turned, plain)
