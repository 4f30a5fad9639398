"""Labelled pictures from where users have them: a folder a class, a folder with a list, or arrays in one file."""

import csv
import os
import zipfile
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union, overload

import numpy as np

from edgekit import archives
from edgekit.errors import InputError
from edgekit.runtime.calibration.recorded_logits import Recorded, read_recorded
from edgekit.runtime.pictures import read_picture

PICTURES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".npy")


class Labelled(NamedTuple):
    """Pictures, which may be read only when they are asked for, and labels int64 (samples,)."""

    pictures: Sequence[object]
    labels: np.ndarray
    source: str


class PictureFiles(Sequence[object]):
    """Picture files as a sequence of arrays that are read when they are asked for."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, number: int) -> object: ...

    @overload
    def __getitem__(self, number: slice) -> "PictureFiles": ...

    def __getitem__(self, number: Union[int, slice]) -> object:
        if isinstance(number, slice):
            return PictureFiles(self.paths[number])
        return read_picture(self.paths[number])


def read_labelled(
    path: str, labels: Optional[str], classes: int, names: Sequence[str] = ()
) -> Union[Labelled, Recorded]:
    """What ``--data`` and ``--labels`` name.

    Args:
        path: a folder with a folder for each class; a folder of pictures, with ``labels``; or an ``.npz`` file with ``images``
            or ``logits``, and ``labels``.
        labels: a CSV of ``file,label`` lines, or for an ``.npz`` file an ``.npy`` of labels or a CSV with one a line.
        classes: how many the network has.
        names: of the classes, where the bundle knows them.

    Raises:
        InputError: nothing there that can be read as that.
    """
    if os.path.isdir(path):
        if labels is not None:
            return _listed(path, labels, names)
        return _class_folders(path, classes, names)
    if not os.path.exists(path):
        raise InputError(f"--data {path}: there is no such file or folder")
    return _arrays(path, labels, names)


def _class_folders(path: str, classes: int, names: Sequence[str]) -> Labelled:
    folders = sorted(
        entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith(".")
    )
    if not folders:
        raise InputError(
            f"--data {path} has no folders, one for each class, and no labels were given: --labels FILE with lines of file,label"
        )
    numbers = _folder_classes(path, folders, classes, names)
    files: List[str] = []
    labels: List[int] = []
    for folder in folders:
        inside = sorted(
            name for name in os.listdir(os.path.join(path, folder)) if name.lower().endswith(PICTURES)
        )
        files += [os.path.join(path, folder, name) for name in inside]
        labels += [numbers[folder]] * len(inside)
    if not files:
        raise InputError(f"--data {path}: its folders hold no pictures ({', '.join(PICTURES)})")
    return Labelled(PictureFiles(files), np.asarray(labels, np.int64), path)


def _folder_classes(
    path: str, folders: Sequence[str], classes: int, names: Sequence[str]
) -> Mapping[str, int]:
    """Which class each folder stands for: its number, its name, or its place among as many folders as there are classes."""
    if all(folder.isdigit() for folder in folders):
        return {folder: int(folder) for folder in folders}
    if all(folder in names for folder in folders):
        return {folder: list(names).index(folder) for folder in folders}
    if len(folders) != classes:
        raise InputError(
            f"--data {path} has {len(folders)} folders and the network {classes} classes: name the folders by the classes'"
            " numbers, or have one for each class, in alphabetical order"
        )
    return {folder: number for number, folder in enumerate(folders)}


def _listed(path: str, labels: str, names: Sequence[str]) -> Labelled:
    lines = _csv(labels)
    if lines and len(lines[0]) >= 2 and _class(lines[0][1], names) is None:
        lines = lines[1:]  # a header
    files: List[str] = []
    numbers: List[int] = []
    for number, line in enumerate(lines, 1):
        known = _class(line[1], names) if len(line) >= 2 else None
        if known is None:
            raise InputError(
                f"--labels {labels}: {','.join(line)!r} (line {number}) is no file and class: write file,label with the class's"
                " number" + (" or name" if names else "")
            )
        file = os.path.join(path, line[0])
        if not os.path.isfile(file):
            raise InputError(f"--labels {labels} names {line[0]}, which is not in {path}")
        files.append(file)
        numbers.append(known)
    return Labelled(PictureFiles(files), np.asarray(numbers, np.int64), path)


def _arrays(path: str, labels: Optional[str], names: Sequence[str]) -> Union[Labelled, Recorded]:
    try:
        absurd = archives.too_large(path, os.path.getsize(path))
        if absurd is not None:
            raise InputError(f"--data {path}: refused, {absurd}")
        opened = np.load(path, allow_pickle=False)
        if not hasattr(opened, "files"):
            raise InputError(
                f"--data {path} is a single array; an .npz file with images and labels is needed"
            )
        with opened as arrays:
            given = None if labels is None else _label_file(labels, names)
            if "logits" in arrays.files:
                return read_recorded(path, arrays, given)
            if "images" not in arrays.files:
                raise InputError(
                    f"--data {path} has {', '.join(arrays.files) or 'nothing'}; images or logits are needed, and labels"
                )
            if given is None and "labels" not in arrays.files:
                raise InputError(f"--data {path} has images and no labels; give them with --labels FILE")
            images = arrays["images"]
            return Labelled(images, arrays["labels"] if given is None else given, os.path.basename(path))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--data {path} cannot be read as an .npz file of arrays: {error}") from error


def _label_file(path: str, names: Sequence[str]) -> np.ndarray:
    if path.endswith(".npy"):
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise InputError(f"--labels {path} cannot be read: {error}") from error
    found = [_class(line[-1], names) for line in _csv(path)]
    if found and found[0] is None:
        found = found[1:]  # a header
    if any(one is None for one in found):
        raise InputError(f"--labels {path}: every line must end in the number of a class")
    return np.asarray(found, np.int64)


def _class(text: str, names: Sequence[str]) -> Optional[int]:
    try:
        return int(text)
    except ValueError:
        return list(names).index(text) if text in names else None


def _csv(path: str) -> List[List[str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [[cell.strip() for cell in line] for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--labels {path} cannot be read: {error}") from error


def class_names(options: Mapping[str, object]) -> Tuple[str, ...]:
    """The classes' names, where the manifest's options know them."""
    found = options.get("classes")
    return tuple(map(str, found)) if isinstance(found, (list, tuple)) else ()
