"""How often a subnet is right on pictures that neither its training nor its batch norms have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.errors import OptionError
from edgekit.export.search.genes import Candidate, Genes
from edgekit.models.oqa import OqaNet, Supernet
from edgekit.models.recalibration import FEWEST, normalised, recalibrate_on
from edgekit.models.staged import ImageInput
from edgekit.models.training.classification.sources import Labelled, Source, find_source

FEWEST_JUDGED = 50  # pictures: with fewer, one more right answer is worth 2 %, and chance decides the search
BATCH = 100


@dataclass(frozen=True)
class Pictures:
    """The parts of a data set, none of which share a picture; all but the labels as the network takes them.

    Attributes:
        name: of the data.
        settling: pictures that batch norms are recalibrated on.
        judging: pictures that the search compares networks on.
        unseen: pictures that only what it found is measured on.
    """

    name: str
    settling: Labelled
    judging: Labelled
    unseen: Labelled


def load_pictures(
    where: str | Path, spec: ImageInput, classes: int, seed: int, settling: int, judging: int, unseen: int
) -> Pictures:
    """Read and split what ``--data`` names: two parts of its training pictures, and some of its test pictures.

    Raises:
        OptionError: there is no such data, its classes are not the network's, or it holds too few pictures.
    """
    crop = spec.crop or 1.0
    source = find_source(where, max(round(side / crop) for side in (spec.height, spec.width)))
    if len(source.classes) != classes:
        raise OptionError(
            f"--data {where}: has {len(source.classes)} classes, the network {classes}; they must be those it was trained on"
        )
    order = np.random.default_rng([seed, 0x0CA]).permutation(len(source.train.labels))
    judged = min(judging, len(order) // 2)
    rest = order[judged:]
    parts = Pictures(
        source.name,
        _part(source.train, rest[:settling]),
        _part(source.train, order[:judged]),
        _part(source.test, _evenly(len(source.test.labels), unseen)),
    )
    _check(source, parts)
    return parts


def _check(source: Source, parts: Pictures) -> None:
    for what, part, least in (
        ("to recalibrate batch norms on", parts.settling, FEWEST),
        ("to compare networks on", parts.judging, FEWEST_JUDGED),
        ("to test on", parts.unseen, FEWEST_JUDGED),
    ):
        if len(part.labels) < least:
            raise OptionError(
                f"--data {source.name}: leaves {len(part.labels)} pictures {what}, {least} are the least; it has "
                f"{len(source.train.labels)} training and {len(source.test.labels)} test pictures"
            )


def _evenly(count: int, wanted: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))


def _part(pictures: Labelled, chosen: NDArray[np.int64]) -> Labelled:
    return Labelled(pictures.images[chosen], pictures.labels[chosen])


class Judge:
    """Measures candidates: cuts the subnet, recalibrates its batch norms, and counts right answers."""

    def __init__(
        self, genes: Genes, supernets: Mapping[int, Supernet], pictures: Pictures, spec: ImageInput
    ) -> None:
        self._genes, self._supernets, self._spec = genes, supernets, spec
        self._pictures = pictures

    def accuracy(self, candidate: Candidate) -> float:
        """On the pictures that networks are compared on."""
        return self._right(self.settled(candidate), self._pictures.judging)

    def unseen_accuracy(self, candidate: Candidate) -> float:
        """On the pictures that decided nothing."""
        return self._right(self.settled(candidate), self._pictures.unseen)

    def settled(self, candidate: Candidate) -> OqaNet:
        """The subnet with batch norms of its own."""
        net = self._supernets[candidate.bits].subnet(self._genes.config(candidate))
        recalibrate_on(net, self._batches(self._pictures.settling))
        return net

    def _batches(self, part: Labelled) -> Sequence[Tensor]:
        return [normalised(part.images[k : k + BATCH], self._spec) for k in range(0, len(part.labels), BATCH)]

    def _right(self, net: OqaNet, part: Labelled) -> float:
        with torch.no_grad():
            answers = torch.cat([net(batch).argmax(1) for batch in self._batches(part)])
        return float(np.mean(answers.numpy() == part.labels))
