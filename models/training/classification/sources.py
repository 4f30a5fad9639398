"""Where labelled pictures come from: JPEG CIFAR-10, Fashion-MNIST as Debian packs it, or a folder of the user's own."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import OptionError

FASHION = Path("/usr/share/datasets/fashion-mnist")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm"}
_HOW = (
    "--data takes the file cifar10_jpeg.npz, `fashion-mnist` (apt install dataset-fashion-mnist), or a folder with a folder "
    "of pictures for every class"
)


class Labelled(NamedTuple):
    """Pictures (N, H, W, 3) RGB uint8 and their labels (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """What one data set gives; see `ClassificationData` for the attributes."""

    name: str
    classes: tuple[str, ...]
    train: Labelled
    test: Labelled
    licence: str


def find_source(where: str | Path, size: int) -> Source:
    """Read the data that ``where`` names, its pictures ``size`` px high and wide.

    Raises:
        OptionError: it is absent or damaged; the message says how to get it.
    """
    path = Path(where)
    if str(where) == "fashion-mnist" or path == FASHION:
        return fashion_mnist(FASHION, size)
    if path.is_file() and path.suffix == ".npz":
        return jpeg_cifar10(path, size)
    if path.is_dir():
        return folder(path, size)
    raise OptionError(f"data {where}: there is no such file or folder; {_HOW}")


def jpeg_cifar10(path: Path, size: int) -> Source:
    """CIFAR-10 as one JPEG stream a picture: ``{train,test}_bytes``, ``_off`` (offsets) and ``_label``."""
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = {
                part: Labelled(_decode(file[f"{part}_bytes"], file[f"{part}_off"], size), file[f"{part}_label"].astype(np.int64))
                for part in ("train", "test")
            }  # fmt: skip
    except (OSError, ValueError, KeyError) as error:
        raise OptionError(f"data {path}: not the JPEG CIFAR-10 file, or damaged ({error}); {_HOW}") from error
    return Source(
        "JPEG CIFAR-10", _CIFAR10, parts["train"], parts["test"],
        "CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009) states no licence; its pictures "
        "were collected from the web, here they are lossy JPEG copies. The weights hold none of them",
    )  # fmt: skip


def _decode(stream: NDArray[np.uint8], offsets: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    images = np.empty((len(offsets) - 1, size, size, 3), np.uint8)
    for index, (start, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        decoded = cv2.imdecode(stream[start:stop], cv2.IMREAD_COLOR)
        if decoded is None:
            raise ValueError(f"picture {index} is no JPEG")
        images[index] = _fit(decoded[:, :, ::-1], size)
    return images


def fashion_mnist(directory: Path, size: int) -> Source:
    """Fashion-MNIST as Debian's ``dataset-fashion-mnist`` installs it, grey in all three channels."""
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        try:
            pixels = gzip.decompress((directory / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
            labels = gzip.decompress((directory / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
        except (OSError, EOFError) as error:
            raise OptionError(
                f"Fashion-MNIST is not in {directory} ({error}); apt install dataset-fashion-mnist"
            ) from error
        grey = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28)
        images = np.stack([_fit(np.repeat(picture[:, :, None], 3, axis=2), size) for picture in grey])
        parts[part] = Labelled(images, np.frombuffer(labels, np.uint8).astype(np.int64))
    return Source("Fashion-MNIST", _FASHION, parts["train"], parts["test"], "MIT (Zalando SE)")


def folder(path: Path, size: int) -> Source:
    """A folder with a folder of pictures for every class, or with such folders below ``train`` and ``test``.

    Without a ``test`` folder every tenth picture of a class is tested on.
    """
    if (path / "train").is_dir() and (path / "test").is_dir():
        classes, train = _classes(path / "train", size)
        tested, test = _classes(path / "test", size)
        unknown = sorted(set(tested) - set(classes))
        if unknown:
            raise OptionError(
                f"data {path}: test has classes that train has not: {', '.join(unknown)}; labels must match"
            )
        numbers = np.array([classes.index(name) for name in tested])
        test = Labelled(test.images, numbers[test.labels])
    else:
        classes, every = _classes(path, size)
        tenth = np.zeros(len(every.labels), bool)
        for label in range(len(classes)):
            tenth[np.flatnonzero(every.labels == label)[9::10]] = True
        train = Labelled(every.images[~tenth], every.labels[~tenth])
        test = Labelled(every.images[tenth], every.labels[tenth])
    return Source(path.name, classes, train, test, "of the user's own pictures")


def _classes(path: Path, size: int) -> tuple[tuple[str, ...], Labelled]:
    names = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir()))
    if len(names) < 2:
        raise OptionError(f"data {path}: {len(names)} folders of pictures; two classes are the least. {_HOW}")
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        files = _pictures(path / name)
        if not files:
            raise OptionError(f"data {path / name}: holds no pictures ({', '.join(sorted(_PICTURES))})")
        for file in files:
            picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if picture is None:
                raise OptionError(f"data {file}: not a picture that can be read; remove it or copy it again")
            images.append(_fit(picture[:, :, ::-1], size))
            labels.append(label)
    return names, Labelled(np.stack(images), np.array(labels, np.int64))


def _pictures(directory: Path) -> Sequence[Path]:
    return sorted(file for file in directory.rglob("*") if file.suffix.lower() in _PICTURES)


def _fit(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The picture (H, W, 3), scaled until its shorter side is ``size`` px, and its centre cut out."""
    height, width = picture.shape[:2]
    if (height, width) == (size, size):
        return picture
    scale = size / min(height, width)
    scaled = cv2.resize(
        picture, (max(size, round(width * scale)), max(size, round(height * scale))),
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
    )  # fmt: skip
    top, left = (scaled.shape[0] - size) // 2, (scaled.shape[1] - size) // 2
    return np.ascontiguousarray(scaled[top : top + size, left : left + size])
