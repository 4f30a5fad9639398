"""What every subnet of a supernet takes, from the times of its parts: measured here, or predicted for a device that is not at hand.

A supernet has far fewer parts than subnets: a block's time depends on its widths, kernel and resolution, not on its place. Each
is timed once, all of them in turns; what a call costs beside the part is taken off. Sums of such times leave out what one graph
saves, or loses, against several: whole networks take their turns with the parts, and say by what factor a sum must be corrected,
and how far off it then still is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from edgekit.export.convert import convert, serialize
from edgekit.export.passes import simplify
from edgekit.models.oqa import OqaNet, Supernet
from edgekit.models.oqa_space import BlockShape, SubnetConfig, block_shapes, largest

HEAD, TAIL = "head", "tail"
Progress = Callable[[int, int], None]  # parts that are ready, of how many


@dataclass(frozen=True)
class Part:
    """A piece of a network that can be timed alone, and what goes in."""

    module: nn.Module
    example: Tensor


class Container(Protocol):
    """A form of low-bit networks, cut into parts."""

    def head(self, net: OqaNet) -> Part:
        """Up to the first elastic block."""
        ...

    def block(self, net: OqaNet, number: int) -> Part:
        """One elastic block, by its place in the subnet."""
        ...

    def tail(self, net: OqaNet) -> Part:
        """Behind the last block."""
        ...

    def whole(self, net: OqaNet) -> Part:
        """All of it."""
        ...


class Timer(Protocol):
    """Says what graphs take, in ms, by their names."""

    label: str  # ``measured`` or ``predicted``, and on what
    call: float  # ms of a call whose graph does nothing, known after the first use

    def __call__(self, graphs: Mapping[str, bytes]) -> Mapping[str, float]:
        """All of them, under the same circumstances."""
        ...


@dataclass(frozen=True)
class Table:
    """Times of a supernet's parts in ms.

    Attributes:
        parts: by `part_name`, without what a call costs.
        call: what a call costs.
        factor: what a sum is multiplied by.
        checked: by the name of a whole network, its own time and what its parts make, factor included.
    """

    parts: Mapping[str, float]
    call: float
    factor: float
    checked: Mapping[str, tuple[float, float]]

    def ms(self, names: Sequence[str]) -> float:
        """What a network of these parts takes."""
        return self.factor * (self.call + sum(self.parts[name] for name in names))

    @property
    def worst(self) -> float:
        """How far off the sum of a whole network was at most, as a share of its own time."""
        return max((abs(summed / whole - 1) for whole, summed in self.checked.values()), default=0.0)


def part_names(supernet: Supernet, subnet: SubnetConfig, size: tuple[int, int]) -> list[str]:
    """The parts of a subnet for pictures of ``size``, in their order."""
    shapes = block_shapes(supernet.options, subnet)
    sides = _halved(size)
    names = [HEAD]
    for shape in shapes:
        sides = _halved(sides) if shape.stride == 2 else sides
        names.append(_block_name(shape, sides))
    return [*names, TAIL]


def _block_name(shape: BlockShape, sides: tuple[int, int]) -> str:
    place = f"{sides[0]}x{sides[1]}{'/2' if shape.stride == 2 else ''}"
    return (
        f"stage {shape.stage + 1}: {shape.inputs}-{shape.middle}-{shape.outputs} k{shape.kernel} at {place}"
    )


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // 2), -(-size[1] // 2)


def covering(supernet: Supernet) -> list[SubnetConfig]:
    """Few subnets that have every part between them: each kernel with each expansion, at every place, all as deep as can be."""
    options, deep = supernet.options, largest(supernet.options).d
    count = options.blocks
    found = []
    # The widths behind a block do not depend on its kernel or expansion, so uniform networks have every combination.
    for kernel in options.ks_list:
        for ratio in options.expand_ratio_list:
            found.append(SubnetConfig((kernel,) * count, (ratio,) * count, deep))
    return found


def tabulate(
    supernet: Supernet, container: Container, size: tuple[int, int], timer: Timer, checks: Mapping[str, SubnetConfig],
    progress: Progress = lambda done, of: None,
) -> Table:  # fmt: skip
    """Time every part of a supernet, and the whole networks ``checks`` beside them."""
    covers = covering(supernet)
    every = {name for subnet in covers for name in part_names(supernet, subnet, size)}
    graphs: dict[str, bytes] = {}
    for subnet in covers:
        names = part_names(supernet, subnet, size)
        if set(names) <= graphs.keys():
            continue
        net = supernet.subnet(subnet)
        for place, name in enumerate(names):
            if name not in graphs:
                part = (
                    container.head(net)
                    if name == HEAD
                    else container.tail(net)
                    if name == TAIL
                    else container.block(net, place)
                )
                graphs[name] = written(part)
                progress(len(graphs), len(every) + len(checks))
    for number, (name, subnet) in enumerate(checks.items(), 1):
        graphs[f"whole {name}"] = written(container.whole(supernet.subnet(subnet)))
        progress(len(every) + number, len(every) + len(checks))
    times = timer(graphs)
    parts = {name: max(0.0, times[name] - timer.call) for name in every}
    bare = Table(parts, timer.call, 1.0, {})
    sums = {name: bare.ms(part_names(supernet, subnet, size)) for name, subnet in checks.items()}
    wholes = {name: times[f"whole {name}"] for name in checks}
    factor = statistics.median(wholes[name] / sums[name] for name in checks) if checks else 1.0
    return Table(parts, timer.call, factor, {name: (wholes[name], factor * sums[name]) for name in checks})


def written(part: Part) -> bytes:
    """The part's graph."""
    return serialize(simplify(convert(part.module.eval(), {"x": part.example}, ["y"])))
