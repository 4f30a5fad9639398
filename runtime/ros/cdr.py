"""Messages as the bytes that ROS 2 sends and records: CDR, little-endian (OMG's DDS-XTypes 1.3, section 7.4.1), and their definitions."""

import struct
from typing import Dict, List, cast

from edgekit.runtime.ros.messages import FIELDS, Kind, Many, Message, MessageType

# Plain CDR, little-endian, no options; what is aligned is counted from behind it.
ENCAPSULATION = b"\x00\x01\x00\x00"
FORMATS = {
    "bool": "?",
    "byte": "B",
    "uint8": "B",
    "int32": "i",
    "uint32": "I",
    "float32": "f",
    "float64": "d",
}


def encode(message: Message) -> bytes:
    """The bytes of one message."""
    out = bytearray()
    _put(out, type(message), message)
    return ENCAPSULATION + bytes(out)


def definition(kind: MessageType) -> str:
    """The interface definition of a message and of all that it is made of, as MCAP's ``ros2msg`` schemas have it."""
    parts: Dict[MessageType, str] = {}
    _define(kind, parts)
    first, *others = parts
    rule = "=" * 80
    texts = [parts[first]] + [f"{rule}\nMSG: {FIELDS[other][0]}\n{parts[other]}" for other in others]
    return "".join(texts)


def _put(out: bytearray, kind: Kind, value: object) -> None:
    if isinstance(kind, Many):
        items = cast(List[Message], value)
        _number(out, "I", len(items))
        for item in items:
            _put(out, kind.of, item)
    elif kind == "string":
        text = str(value).encode("utf-8") + b"\0"
        _number(out, "I", len(text))
        out += text
    elif kind == "uint8[]":
        data = cast(bytes, value)
        _number(out, "I", len(data))
        out += data
    elif isinstance(kind, str):
        _number(out, FORMATS[kind], value)
    else:
        for its_kind, its_value in zip(FIELDS[kind][1], cast(List[object], value)):
            _put(out, its_kind, its_value)


def _number(out: bytearray, form: str, value: object) -> None:
    packed = struct.pack("<" + form, value)
    out += bytes(-len(out) % len(packed)) + packed


def _define(kind: MessageType, parts: Dict[MessageType, str]) -> None:
    if kind in parts:
        return
    parts[kind] = ""  # keeps its place before those that it is made of
    lines = []
    for name, its_kind in zip(kind._fields, FIELDS[kind][1]):
        if isinstance(its_kind, str):
            lines.append(f"{its_kind} {name}\n")
            continue
        inner = its_kind.of if isinstance(its_kind, Many) else its_kind
        lines.append("{}{} {}\n".format(FIELDS[inner][0], "[]" if isinstance(its_kind, Many) else "", name))
        _define(inner, parts)
    parts[kind] = "".join(lines)
