"""Recordings that Foxglove, PlotJuggler and `ros2 bag` open: MCAP files (mcap.dev, version 0), written without a library.

Messages are kept in chunks, which are written about once a second: of a run that is killed, all but the last second stays.
"""

import os
import struct
import zlib
from typing import BinaryIO, Dict, List, NamedTuple, Optional, Tuple, Union

from edgekit import __version__
from edgekit.errors import EdgekitError
from edgekit.runtime.closing import Closing
from edgekit.runtime.ros.cdr import definition, encode
from edgekit.runtime.ros.messages import Message, MessageType, type_name

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, DATA_END = 0x0B, 0x0F
# A chunk is written when it spans so many ns, or holds so many bytes.
CHUNK_NS, CHUNK_BYTES = 1000000000, 4 << 20


class _Channel(NamedTuple):
    number: int
    schema: int
    topic: str


class _Chunk(NamedTuple):
    """Where a chunk that was written lies, and what is in it."""

    first: int
    last: int
    start: int
    length: int
    indices: Tuple[Tuple[int, int], ...]  # channel, and where its index lies
    index_length: int
    size: int


class Recording(Closing):
    """A file that messages are added to; use it as a context manager, or call `close`.

    Args:
        path: the file; an existing one is overwritten.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: "Union[str, os.PathLike[str]]") -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115
        self._closed = False
        self._schemas: Dict[MessageType, int] = {}
        self._channels: Dict[str, _Channel] = {}
        self._counts: Dict[int, int] = {}
        self._chunks: List[_Chunk] = []
        self._described = bytearray()  # every schema and channel, which the end of the file repeats
        self._body = bytearray()
        self._index: Dict[int, List[Tuple[int, int]]] = {}
        self._span: Optional[Tuple[int, int]] = None
        self._whole: Optional[Tuple[int, int]] = None
        self._file.write(MAGIC + _record(HEADER, _text("ros2") + _text(f"edgekit {__version__}")))

    def add(self, topic: str, message: Message, stamp_ns: int) -> None:
        """Add one message, seen at ``stamp_ns`` since 1970.

        Raises:
            EdgekitError: the recording is closed, or the topic has another type of messages.
            OSError: the disk is full.
        """
        if self._closed:
            raise EdgekitError("this recording is closed")
        channel = self._channel(topic, type(message))
        count = self._counts.get(channel.number, 0)
        self._counts[channel.number] = count + 1
        self._index.setdefault(channel.number, []).append((stamp_ns, len(self._body)))
        head = struct.pack("<HIQQ", channel.number, count & 0xFFFFFFFF, stamp_ns, stamp_ns)
        self._body += _record(MESSAGE, head + encode(message))
        first, last = self._span or (stamp_ns, stamp_ns)
        self._span = min(first, stamp_ns), max(last, stamp_ns)
        if self._span[1] - self._span[0] >= CHUNK_NS or len(self._body) >= CHUNK_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left and the index; may be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            self._flush()
            self._file.write(_record(DATA_END, struct.pack("<I", 0)))
            self._end()
        finally:
            self._file.close()

    def _channel(self, topic: str, kind: MessageType) -> _Channel:
        found = self._channels.get(topic)
        if found is None:
            schema = self._schema(kind)
            found = self._channels[topic] = _Channel(len(self._channels) + 1, schema, topic)
            body = (
                struct.pack("<HH", found.number, schema) + _text(topic) + _text("cdr") + struct.pack("<I", 0)
            )
            self._describe(_record(CHANNEL, body))
        elif found.schema != self._schemas.get(kind):
            raise EdgekitError(
                f"topic {topic} is recorded with messages of another type than {type_name(kind)}"
            )
        return found

    def _schema(self, kind: MessageType) -> int:
        if kind not in self._schemas:
            number = self._schemas[kind] = len(self._schemas) + 1
            text = definition(kind).encode("utf-8")
            body = struct.pack("<H", number) + _text(type_name(kind)) + _text("ros2msg")
            self._describe(_record(SCHEMA, body + struct.pack("<I", len(text)) + text))
        return self._schemas[kind]

    def _describe(self, record: bytes) -> None:
        self._body += record
        self._described += record

    def _flush(self) -> None:
        if self._span is None:
            return
        first, last = self._span
        body = bytes(self._body)
        start = self._file.tell()
        head = struct.pack("<QQQI", first, last, len(body), zlib.crc32(body))
        chunk = _record(CHUNK, head + _text("") + struct.pack("<Q", len(body)) + body)
        self._file.write(chunk)
        indices = []
        for channel, entries in self._index.items():
            indices.append((channel, self._file.tell()))
            listed = b"".join(struct.pack("<QQ", *entry) for entry in sorted(entries))
            self._file.write(_record(INDEX, struct.pack("<HI", channel, len(listed)) + listed))
        self._file.flush()
        behind = self._file.tell() - start - len(chunk)
        self._chunks.append(_Chunk(first, last, start, len(chunk), tuple(indices), behind, len(body)))
        whole = self._whole or self._span
        self._whole = min(whole[0], first), max(whole[1], last)
        self._body, self._index, self._span = bytearray(), {}, None

    def _end(self) -> None:
        start = self._file.tell()
        first, last = self._whole or (0, 0)
        counts = b"".join(struct.pack("<HQ", *pair) for pair in self._counts.items())
        statistics = struct.pack(
            "<QHIIIIQQI",
            sum(self._counts.values()),
            len(self._schemas),
            len(self._channels),
            0,
            0,
            len(self._chunks),
            first,
            last,
            len(counts),
        )
        summary = bytes(self._described) + _record(STATISTICS, statistics + counts)
        for chunk in self._chunks:
            offsets = b"".join(struct.pack("<HQ", *pair) for pair in chunk.indices)
            body = struct.pack("<QQQQI", chunk.first, chunk.last, chunk.start, chunk.length, len(offsets))
            body += offsets + struct.pack("<Q", chunk.index_length) + _text("")
            summary += _record(CHUNK_INDEX, body + struct.pack("<QQ", chunk.size, chunk.size))
        # The last field, a checksum of the summary up to itself, covers the footer's own beginning.
        footer = struct.pack("<BQQQ", FOOTER, 20, start, 0)
        self._file.write(summary + footer + struct.pack("<I", zlib.crc32(summary + footer)) + MAGIC)


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(body)) + body


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return struct.pack("<I", len(data)) + data
