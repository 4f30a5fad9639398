"""The families that edgekit knows, by name; where their code is, and their weights. Nothing of them is imported to tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Family:
    """One architecture: where its code is, what it is for, and what ``build`` does without a size.

    ``builder`` is ``package.module:function``, called as ``function(checkpoint, config, size)``; it is imported only when
    the family is used, since torch takes a second to import. Where ``default_size`` is None the builder is given no size, and
    takes that of the pictures that the network was trained on.
    """

    name: str
    summary: str
    paper: str
    task: str
    builder: str
    default_size: tuple[int, int] | None


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "anynet",
            "stereo disparity in stages, each refining the last",
            "arXiv 1810.11408",
            "stereo",
            "edgekit.models.anynet:build",
            (375, 1242),
        ),
        Family(
            "condensenet",
            "pictures classified by a dense network whose groups learn what to read",
            "arXiv 1711.09224",
            "classification",
            "edgekit.models.condensenet_checkpoint:build",
            None,
        ),
        Family(
            "imta",
            "MSDNet whose exits build on the answer before",
            "arXiv 1908.06294",
            "classification",
            "edgekit.models.imta:build",
            None,
        ),
        Family(
            "msdnet",
            "pictures classified at several depths, the easy ones early",
            "arXiv 1703.09844",
            "classification",
            "edgekit.models.msdnet_stages:build",
            None,
        ),
        Family(
            "oqa",
            "pictures classified by subnets of 4, 3 or 2 bits, cut from one supernet",
            "arXiv 2010.04354",
            "classification",
            "edgekit.models.oqa_staged:build",
            None,
        ),
    )
}


def families() -> list[Family]:
    """Every known family, by name."""
    return [FAMILIES[name] for name in sorted(FAMILIES)]
