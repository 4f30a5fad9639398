"""Progressive shrinking (OFA, arXiv 1908.09791, section 3.3, as OQA uses it): which subnets may be trained at a point of a training."""

from __future__ import annotations

import random
from dataclasses import dataclass

from edgekit.models.oqa_space import STAGE_WIDTHS, SubnetConfig, SupernetOptions, largest


@dataclass(frozen=True)
class Space:
    """What the blocks of a subnet may be: a part of the supernet's space.

    Attributes:
        ks, e: kernels and expand ratios of a block.
        d: blocks of a stage.
    """

    ks: tuple[int, ...]
    e: tuple[int, ...]
    d: tuple[int, ...]

    def sample(self, options: SupernetOptions, random: random.Random) -> SubnetConfig:
        """One subnet, every choice as likely as the others."""
        return SubnetConfig(
            tuple(random.choice(self.ks) for _ in range(options.blocks)),
            tuple(random.choice(self.e) for _ in range(options.blocks)),
            tuple(random.choice(self.d) for _ in STAGE_WIDTHS),
        )

    def holds(self, subnet: SubnetConfig) -> bool:
        """Whether the subnet is one of its own."""
        return (
            set(subnet.ks) <= set(self.ks) and set(subnet.e) <= set(self.e) and set(subnet.d) <= set(self.d)
        )


def spaces(options: SupernetOptions) -> list[Space]:
    """The spaces of progressive shrinking, each holding the one before.

    The largest network alone, then every kernel, then the depths from the largest down, then the widths likewise.
    """
    whole = largest(options)
    opened = [Space((whole.ks[0],), (whole.e[0],), (whole.d[0],))]
    opened.append(Space(options.ks_list, opened[0].e, opened[0].d))
    for least in sorted(options.depth_list, reverse=True)[1:]:
        opened.append(Space(options.ks_list, opened[0].e, tuple(d for d in options.depth_list if d >= least)))
    for least in sorted(options.expand_ratio_list, reverse=True)[1:]:
        wide = tuple(e for e in options.expand_ratio_list if e >= least)
        opened.append(Space(options.ks_list, wide, options.depth_list))
    return opened


def space_at(opened: list[Space], progress: float, shrunk_by: float) -> Space:
    """The space that is open when ``progress`` (0 to 1) of the training is done; all of it from ``shrunk_by`` on."""
    if progress >= shrunk_by:
        return opened[-1]
    return opened[int(progress / shrunk_by * (len(opened) - 1))]
