"""Labelled pictures to learn from: decoded once into arrays of bytes, and split into what is learnt, chosen by and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.errors import OptionError
from edgekit.models.training.classification.sources import Labelled, Source, find_source


@dataclass(frozen=True)
class ClassificationData:
    """Pictures of one data set in three parts that share none.

    Attributes:
        name: what to call the data in cards, such as ``JPEG CIFAR-10``.
        classes: the names of the labels 0, 1, ...
        train, validation, test: validation is cut from the data's training part, by the seed.
        licence: of the pictures, in a sentence.
    """

    name: str
    classes: tuple[str, ...]
    train: Labelled
    validation: Labelled
    test: Labelled
    licence: str


def load_data(
    where: str | Path, seed: int, size: int = 32, validation: int | float = 0.1
) -> ClassificationData:
    """Read the data that a user names with ``--data``.

    Args:
        where: the file of JPEG CIFAR-10 (``cifar10_jpeg.npz``), ``fashion-mnist``, or a folder with a folder of pictures for
            every class (or with ``train`` and ``test`` folders of such).
        seed: decides which pictures are held out.
        size: height and width in px; pictures of a folder are scaled and cut to it.
        validation: how many (whole number) or which share of the training pictures is held out for choosing.

    Raises:
        OptionError: the data is absent (the message says how to get it) or damaged, labels do not match the pictures, or too
            little is left to learn from.
    """
    source = find_source(where, size)
    learnt, tested = source.train, source.test
    _check(source, learnt, "training")
    _check(source, tested, "test")
    held = validation if isinstance(validation, int) else round(validation * len(learnt.labels))
    if not 0 < held < len(learnt.labels):
        raise OptionError(
            f"validation={validation}: of {len(learnt.labels)} training pictures of {source.name}, at least one must be held "
            "out and one left to learn from"
        )
    order = np.random.default_rng([seed, 0x5117]).permutation(len(learnt.labels))
    chosen, kept = np.sort(order[:held]), np.sort(order[held:])
    return ClassificationData(
        source.name,
        source.classes,
        Labelled(learnt.images[kept], learnt.labels[kept]),
        Labelled(learnt.images[chosen], learnt.labels[chosen]),
        tested,
        source.licence,
    )


def _check(source: Source, part: Labelled, what: str) -> None:
    images, labels = part
    if len(images) != len(labels):
        raise OptionError(
            f"{source.name}: {len(images)} {what} pictures, but {len(labels)} labels; the two must match, so get the data again"
        )
    if len(labels) == 0:
        raise OptionError(f"{source.name}: there are no {what} pictures")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(source.classes):
        raise OptionError(
            f"{source.name}: {what} labels run from {low} to {high}, but there are {len(source.classes)} classes, "
            f"0 to {len(source.classes) - 1}"
        )
