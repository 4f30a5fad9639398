"""The subnets that OQA's authors published as Pareto-optimal, with the figures that they gave."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.errors import OptionError
from edgekit.models.oqa_space import SubnetConfig

_FACTS = Path(__file__).parent / "facts" / "oqa_pareto.json"


@dataclass(frozen=True)
class PublishedSubnet:
    """One subnet of a supernet of width 1.0 on ImageNet; every figure is the authors' own.

    Attributes:
        name: ``oqa-b4-71.3``: bits and published accuracy.
        bits: of weights and activations.
        image_size: side of the pictures in px.
        subnet: which subnet it is.
        macs_m, params_m: millions of multiply-adds and of parameters.
        imagenet_top1: in %.
        also: the same subnet's accuracy in % at other bit-widths.
    """

    name: str
    bits: int
    image_size: int
    subnet: SubnetConfig
    macs_m: float
    params_m: float
    imagenet_top1: float
    also: Mapping[int, float]

    def to_json(self) -> dict[str, object]:
        """As ``edgekit models oqa --json`` prints it."""
        return {**asdict(self), "figures": "published", "source": source()}


@cache
def published() -> tuple[PublishedSubnet, ...]:
    """Every published subnet, by bits and cost."""
    return tuple(
        PublishedSubnet(
            name=f"oqa-b{entry['bits']}-{entry['imagenet_top1']:.1f}",
            bits=entry["bits"],
            image_size=entry["image_size"],
            subnet=SubnetConfig(tuple(entry["ks"]), tuple(entry["e"]), tuple(entry["d"])),
            macs_m=entry["macs_m"],
            params_m=entry["params_m"],
            imagenet_top1=entry["imagenet_top1"],
            also={int(bits): accuracy for bits, accuracy in entry["also"].items()},
        )
        for entry in _facts()["subnets"]
    )


def source() -> str:
    """Where the figures were published."""
    return str(_facts()["source"])


def find(name: str) -> PublishedSubnet:
    """The published subnet of this name.

    Raises:
        OptionError: there is none.
    """
    known = {subnet.name: subnet for subnet in published()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 3, 0.5)
    advice = f"did you mean {' or '.join(near)}?" if near else "edgekit models oqa lists them"
    raise OptionError(f"subnet {name!r} is unknown; {advice}")


@cache
def _facts() -> Any:  # JSON, whose shape the tests pin down
    return json.loads(_FACTS.read_text(encoding="utf-8"))
