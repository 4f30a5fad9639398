"""What is typed for options of an export, such as ``384x1248`` or ``growth=8-16-32``, as the values that it takes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import OptionError


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``384x1248`` to (384, 1248), height first.

    Raises:
        OptionError: it is no such thing.
    """
    if text is None:
        return None
    sides = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if sides is None:
        raise OptionError(f"--size {text}: must be HEIGHTxWIDTH in px, such as 384x1248")
    return int(sides[1]), int(sides[2])


def parse_batch(text: str) -> int | None:
    """``32`` to 32, ``any`` to None.

    Raises:
        OptionError: it is no such thing.
    """
    if text == "any":
        return None
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise OptionError(f"--batch {text}: must be a positive whole number, or any")
    return int(text)


def parse_config(words: Sequence[str]) -> dict[str, object]:
    """``growth=8-16-32``, ``maxdisplist=[12,3,3]`` or a JSON file to options; values are JSON where they can be read as such.

    Raises:
        OptionError: a word is neither, a file is no JSON object, or an option is given twice.
    """
    config: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        given = {name: _value(value)} if equals and not Path(word).is_file() else _file("--config", word)
        for key, item in given.items():
            if key in config:
                raise OptionError(f"--config: {key} is given twice")
            config[key] = item
    return config


def parse_classes(file: str | None) -> list[str] | None:
    """The names in a file of a line each, such as ``labels.txt``.

    Raises:
        OptionError: it cannot be read, a line is empty, or there is none.
    """
    if file is None:
        return None
    try:
        names = [line.strip() for line in Path(file).read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--classes {file} cannot be read as text: {error}") from error
    if "" in names:
        raise OptionError(f"--classes {file}: line {names.index('') + 1} is empty; give a name a line")
    return names


def parse_alternatives(words: Sequence[str]) -> dict[str, dict[str, object]]:
    """``NAME=FILE`` to what is in the JSON files, by name.

    Raises:
        OptionError: a word is no such pair, a file is no JSON object, or a name is given twice.
    """
    found: dict[str, dict[str, object]] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise OptionError(f"--alternative {word}: give NAME=FILE, such as small=small.json")
        if name in found:
            raise OptionError(f"--alternative: {name} is given twice")
        found[name] = _file("--alternative", file)
    return found


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _file(option: str, name: str) -> dict[str, object]:
    path = Path(name)
    what = "neither NAME=VALUE nor a JSON file" if option == "--config" else "there is no such file"
    if not path.is_file():
        raise OptionError(f"{option} {name}: {what}")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise OptionError(f"{option} {name}: not readable as JSON ({error})") from error
    if not isinstance(document, dict):
        raise OptionError(
            f"{option} {name}: must hold a JSON object of options, it holds a {type(document).__name__}"
        )
    return document
