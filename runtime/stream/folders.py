"""Frames from picture files: two folders of a stereo camera, one folder that holds both sides, or single pictures."""

import os
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from edgekit.errors import InputError
from edgekit.runtime.pictures import read_picture
from edgekit.runtime.stream.source import Seen, Source

KINDS = (".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".npy")
# Where well-known recordings keep the two sides: plain words, KITTI's colour and grey cameras, EuRoC.
SIDES = (
    ("left", "right"),
    ("image_2", "image_3"),
    ("image_02", "image_03"),
    ("image_0", "image_1"),
    ("cam0", "cam1"),
)


class PictureSet(NamedTuple):
    """One frame's files by the network's input, and which inputs have none."""

    files: Mapping[str, str]
    missing: Tuple[str, ...] = ()


class Pictures(Source):
    """Reads picture files in the order of their names; ``loop`` begins again at the end."""

    def __init__(self, name: str, sets: Sequence[PictureSet], loop: bool = False) -> None:
        self.name = name
        self._sets = list(sets)
        self._loop = loop
        self._next = 0

    def open(self) -> None:
        """See `Source.open`."""
        if not any(not one.missing for one in self._sets):
            raise InputError(f"{self.name} holds no {'pair' if self._sets else 'picture'} that can be used")
        self._next = 0

    def read(self) -> Optional[Seen]:
        """See `Source.read`."""
        if self._next == len(self._sets):
            if not self._loop:
                return None
            self._next = 0
        one = self._sets[self._next]
        self._next += 1
        if one.missing:
            given = " and ".join(one.files.values())
            raise InputError(f"{given} has no {' and no '.join(one.missing)} picture; passed over")
        return Seen({name: read_picture(path) for name, path in one.files.items()}, tag=dict(one.files))


def pictures_of(places: Sequence[str], inputs: Sequence[str], loop: bool = False) -> Pictures:
    """The frames in ``places``, for a network of these ``inputs``.

    Args:
        places: as many folders or files as there are inputs; or one folder, in which files or sub-folders tell the sides of a
            stereo pair by their names: left and right, KITTI's image_2 and image_3, L and R at the end.
        inputs: ``left`` and ``right``, or ``image``.
        loop: begin again at the end.

    Raises:
        InputError: a place does not exist, or does not say what is left and what is right.
    """
    for place in places:
        if not os.path.exists(place):
            raise InputError(f"--source {place}: there is no such file or folder")
    name = " and ".join(places)
    if len(places) == len(inputs):
        listed = {one: _listed(place) for one, place in zip(inputs, places)}
    elif len(places) == 1 and len(inputs) == 2 and os.path.isdir(places[0]):
        listed = dict(zip(inputs, _sides(places[0])))
    else:
        raise InputError(
            f"--source {name}: this network takes {' and '.join(inputs)}; give one place for each"
        )
    return Pictures(name, _together(listed), loop)


def _listed(place: str) -> List[str]:
    if os.path.isfile(place):
        return [place]
    names = sorted(name for name in os.listdir(place) if os.path.splitext(name)[1].lower() in KINDS)
    return [os.path.join(place, name) for name in names]


def _sides(folder: str) -> Tuple[List[str], List[str]]:
    """The left and the right pictures in one folder."""
    for left, right in SIDES:
        sides = os.path.join(folder, left), os.path.join(folder, right)
        if all(os.path.isdir(side) for side in sides):
            inner = [os.path.join(side, "data") for side in sides]  # EuRoC's pictures are one level deeper
            sides = (inner[0], inner[1]) if all(os.path.isdir(side) for side in inner) else sides
            return _listed(sides[0]), _listed(sides[1])
    for pair in SIDES:
        there = [name for name in pair if os.path.isdir(os.path.join(folder, name))]
        if len(there) == 1:
            lacking = pair[1 - pair.index(there[0])]
            raise InputError(
                f"--source {folder}: it has a folder {there[0]} and none called {lacking}; a stereo network needs both"
            )
    found: Dict[str, List[str]] = {"left": [], "right": []}
    for path in _listed(folder):
        side = _side(path)
        if side is not None:
            found[side].append(path)
    for side, other in (("left", "right"), ("right", "left")):
        if found[side] and not found[other]:
            raise InputError(
                f"--source {folder}: it has {side} pictures, such as {os.path.basename(found[side][0])}, and no {other} ones;"
                " a stereo network needs both"
            )
    if not (found["left"] and found["right"]):
        folders = any(entry.is_dir() for entry in os.scandir(folder))
        if not folders and not _listed(folder):
            raise InputError(f"--source {folder}: there are no pictures in it ({', '.join(KINDS)})")
        raise InputError(
            f"--source {folder}: neither its folders nor its pictures say which are left and which are right;"
            " give two folders, the left one first"
        )
    return found["left"], found["right"]


# The word, or a single letter: aloeL.jpg, 0001_r.png, R-17.png.
WORD = re.compile(r"left|right", re.IGNORECASE)
LETTER = re.compile(r"(?<![A-Za-z])[lrLR](?![A-Za-z])|(?<=[a-z0-9])[LR]$")


def _side(path: str) -> Optional[str]:
    stem = _stem(path)
    found = WORD.search(stem) or LETTER.search(stem)
    return None if found is None else "left" if found.group().lower().startswith("l") else "right"


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _together(listed: Mapping[str, Sequence[str]]) -> List[PictureSet]:
    """Pictures of the same name, or of the same name but for the side in it, in the order of their names."""
    if all(len(paths) == 1 for paths in listed.values()):
        return [PictureSet({name: paths[0] for name, paths in listed.items()})]
    by_key: Dict[str, Dict[str, str]] = {}
    plain = [{_stem(path) for path in paths} for paths in listed.values()]
    same_names = bool(set.intersection(*plain))
    for name, paths in listed.items():
        for path in paths:
            key = (
                os.path.basename(path)
                if len(listed) == 1
                else _stem(path)
                if same_names
                else _without_side(_stem(path))
            )
            by_key.setdefault(key, {})[name] = path
    return [
        PictureSet(files, tuple(name for name in listed if name not in files))
        for _, files in sorted(by_key.items(), key=lambda item: _numbers_by_value(item[0]))
    ]


def _numbers_by_value(name: str) -> List[Tuple[int, str]]:
    """Sorts 2.png before 10.png."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _without_side(stem: str) -> str:
    shorter = WORD.sub("", stem)
    return shorter if shorter != stem else LETTER.sub("", stem)
