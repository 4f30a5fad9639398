"""What evolution works on: subnets of one space at one or several bit-widths, drawn, changed a little and crossed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.models.oqa_space import (
    STAGE_WIDTHS,
    SubnetConfig,
    SupernetOptions,
    kept_blocks,
    subnet_name,
    subnet_named,
)


@dataclass(frozen=True)
class Candidate:
    """One network: the bits of its supernet, and its subnet by `subnet_name`, so that equal networks are equal."""

    bits: int
    subnet: str

    def __str__(self) -> str:
        return f"{self.bits} bit {self.subnet}"


class Genes:
    """Candidates of the supernets with these bits, which share the space of ``options``."""

    def __init__(self, options: SupernetOptions, bits: Sequence[int]) -> None:
        self.options = options
        self.bits = tuple(bits)

    def config(self, candidate: Candidate) -> SubnetConfig:
        """The subnet's kernels, expansions and depths."""
        return subnet_named(self.options, candidate.subnet)

    def uniform(self, bits: int, largest: bool) -> Candidate:
        """The network whose every gene is the smallest, or the largest."""
        take, o = (max if largest else min), self.options
        count = o.blocks
        return self._named(bits, [take(o.ks_list)] * count, [take(o.expand_ratio_list)] * count,
                           [take(o.depth_list)] * len(STAGE_WIDTHS))  # fmt: skip

    def draw(self, generator: random.Random) -> Candidate:
        """Every gene at random."""
        o = self.options
        return self._named(
            generator.choice(self.bits),
            generator.choices(o.ks_list, k=o.blocks),
            generator.choices(o.expand_ratio_list, k=o.blocks),
            generator.choices(o.depth_list, k=len(STAGE_WIDTHS)),
        )

    def mutate(self, candidate: Candidate, generator: random.Random, share: float) -> Candidate:
        """The same network with every gene drawn anew at a probability of ``share``."""
        return self._mixed(candidate, self.draw(generator), generator, share)

    def cross(self, one: Candidate, other: Candidate, generator: random.Random) -> Candidate:
        """A network with every gene of either parent."""
        return self._mixed(one, other, generator, 0.5)

    def _mixed(self, one: Candidate, other: Candidate, generator: random.Random, share: float) -> Candidate:
        (ks, e, d), (others_ks, others_e, others_d) = (self._filled(each, generator) for each in (one, other))

        def pick(mine: Sequence[int], theirs: Sequence[int]) -> list[int]:
            return [b if generator.random() < share else a for a, b in zip(mine, theirs, strict=True)]

        bits = pick([one.bits], [other.bits])[0]
        return self._named(bits, pick(ks, others_ks), pick(e, others_e), pick(d, others_d))

    def _filled(
        self, candidate: Candidate, generator: random.Random
    ) -> tuple[list[int], list[int], list[int]]:
        """The genes, those of blocks that are left out drawn: a name does not say them, and a child may need them."""
        o, config = self.options, self.config(candidate)
        kept = set(kept_blocks(o, config.d))
        ks = [k if n in kept else generator.choice(o.ks_list) for n, k in enumerate(config.ks)]
        e = [r if n in kept else generator.choice(o.expand_ratio_list) for n, r in enumerate(config.e)]
        return ks, e, list(config.d)

    def _named(self, bits: int, ks: Sequence[int], e: Sequence[int], d: Sequence[int]) -> Candidate:
        return Candidate(bits, subnet_name(self.options, SubnetConfig(tuple(ks), tuple(e), tuple(d))))
