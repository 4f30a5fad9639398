"""What the ONNX parser of each TensorRT release takes, as its own documentation says: facts/tensorrt_ops.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgekit.errors import OptionError

FACTS = Path(__file__).parent / "facts" / "tensorrt_ops.json"


@dataclass(frozen=True)
class Version:
    """What one TensorRT release's parser takes; ``number`` is (major, minor)."""

    number: tuple[int, int]
    max_opset: int
    operators: dict[str, frozenset[str]]
    commit: str

    def __str__(self) -> str:
        return "TensorRT {}.{}".format(*self.number)


@cache
def versions() -> tuple[Version, ...]:
    """Every recorded release, oldest first."""
    table = json.loads(FACTS.read_text())["versions"]
    found = [
        Version(_number(name), entry["max_opset"], {op: frozenset(types.split()) for op, types in entry["operators"].items()},
                entry["commit"])
        for name, entry in table.items()
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda version: version.number))


def version(name: str) -> Version:
    """The recorded release of this name, or the newest one before it.

    Raises:
        OptionError: it is older than every recorded one, or no version.
    """
    try:
        wanted = _number(name)
    except ValueError as error:
        raise OptionError(f"{name!r} is no TensorRT version such as 8.2") from error
    older = [known for known in versions() if known.number <= wanted]
    if not older:
        raise OptionError(f"TensorRT {name} is older than {versions()[0]}, the oldest that edgekit knows")
    return older[-1]


def _number(name: str) -> tuple[int, int]:
    major, minor, *_ = (int(part) for part in name.split("."))
    return major, minor
