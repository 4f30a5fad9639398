"""OQA's search space (arXiv 2010.04354, section 4.1): what a supernet holds, what a subnet picks from it, and how wide that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from edgekit.errors import OptionError
from edgekit.models.options import no_option, positive

BITS = (2, 3, 4)  # what OQA was trained for, and what packed storage holds
FIRST_WIDTH = 16
STAGE_WIDTHS = (24, 40, 80, 112, 160)  # MobileNetV3-Large's, for a width_mult of 1
FINAL_WIDTHS = (960, 1280)
STRIDES = (2, 2, 2, 1, 2)
SQUEEZED = (False, True, False, True, True)  # stages with squeeze-and-excitation
SWISHED = (False, False, True, True, True)  # stages with h-swish; the others have ReLU


@dataclass(frozen=True)
class SupernetOptions:
    """What a supernet was trained with, under the authors' names.

    Attributes:
        bits: of every quantised weight and activation.
        width_mult: multiplies every number of channels.
        num_classes: of the classifier.
        ks_list, expand_ratio_list, depth_list: what a block's kernel and expansion, and a stage's depth, may be.
    """

    bits: int
    width_mult: float = 1.0
    num_classes: int = 1000
    ks_list: tuple[int, ...] = (3, 5, 7)
    expand_ratio_list: tuple[int, ...] = (3, 4, 6)
    depth_list: tuple[int, ...] = (2, 3, 4)

    @property
    def deepest(self) -> int:
        """Blocks a stage has in the supernet."""
        return max(self.depth_list)

    @property
    def blocks(self) -> int:
        """Elastic blocks of the supernet, and so the length of ``ks`` and ``e``."""
        return len(STAGE_WIDTHS) * self.deepest


@dataclass(frozen=True)
class SubnetConfig:
    """One network of the space.

    Attributes:
        ks, e: kernel and expand ratio of every block of the supernet, stage by stage; those of blocks that ``d`` leaves out
            say nothing.
        d: blocks of each of the five stages.
    """

    ks: tuple[int, ...]
    e: tuple[int, ...]
    d: tuple[int, ...]


@dataclass(frozen=True)
class BlockShape:
    """One elastic block as a subnet has it.

    Attributes:
        number: in the supernet's list of blocks, whose first (0) is not elastic.
        stage: 0 .. 4.
        inputs, middle, outputs: channels before, within and after.
        kernel: of its depthwise convolution.
        stride: of the same.
    """

    number: int
    stage: int
    inputs: int
    middle: int
    outputs: int
    kernel: int
    stride: int


def divisible(width: float, divisor: int = 8) -> int:
    """``width`` rounded to a multiple of ``divisor`` that is at least 90 % of it."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def widths(options: SupernetOptions) -> tuple[int, tuple[int, ...], tuple[int, int]]:
    """Channels of the first layers, of the five stages, and of the last two layers."""
    first, *rest = (
        divisible(width * options.width_mult) for width in (FIRST_WIDTH, *STAGE_WIDTHS, *FINAL_WIDTHS)
    )
    return first, tuple(rest[:5]), (rest[5], rest[6])


def expanded(inputs: int, ratio: int) -> int:
    """Channels within a block."""
    return divisible(inputs * ratio)


def squeezed(channels: int) -> int:
    """Channels within a squeeze-and-excitation of ``channels``."""
    return divisible(channels // 4)


def block_shapes(options: SupernetOptions, subnet: SubnetConfig) -> list[BlockShape]:
    """The elastic blocks that ``subnet`` keeps, in their order."""
    first, stages, _ = widths(options)
    shapes: list[BlockShape] = []
    inputs = first
    begins = accumulate([options.deepest] * len(stages), initial=0)
    for stage, (begin, depth, outputs) in enumerate(zip(begins, subnet.d, stages, strict=False)):
        for k in range(begin, begin + depth):
            stride = STRIDES[stage] if k == begin else 1
            middle = expanded(inputs, subnet.e[k])
            shapes.append(BlockShape(k + 1, stage, inputs, middle, outputs, subnet.ks[k], stride))
            inputs = outputs
    return shapes


def largest(options: SupernetOptions) -> SubnetConfig:
    """The supernet itself as one of its subnets."""
    return SubnetConfig(
        (max(options.ks_list),) * options.blocks, (max(options.expand_ratio_list),) * options.blocks,
        (options.deepest,) * len(STAGE_WIDTHS),
    )  # fmt: skip


def subnet_config(options: SupernetOptions, config: Mapping[str, object]) -> SubnetConfig:
    """``ks``, ``e`` and ``d`` of ``config``, one number standing for all; what is absent is the largest.

    Raises:
        OptionError: a list of another length, or a value that the supernet was not trained with.
    """
    default = largest(options)
    return SubnetConfig(
        _choice("ks", config.get("ks", default.ks), options.blocks, options.ks_list),
        _choice("e", config.get("e", default.e), options.blocks, options.expand_ratio_list),
        _choice("d", config.get("d", default.d), len(STAGE_WIDTHS), options.depth_list),
    )


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
NAMED = re.compile(r"d([0-9a-z]+)-k([0-9a-z]+)-e([0-9a-z]+)")


def subnet_name(options: SupernetOptions, subnet: SubnetConfig) -> str:
    """``d22-k3535-e3434``: the depth of every stage, then kernel and expansion of the blocks that these keep, one sign each.

    Subnets that compute the same have the same name.
    """
    kept = kept_blocks(options, subnet.d)
    d, k, e = (
        "".join(_DIGITS[value] for value in values)
        for values in (subnet.d, [subnet.ks[block] for block in kept], [subnet.e[block] for block in kept])
    )
    return f"d{d}-k{k}-e{e}"


def subnet_named(options: SupernetOptions, name: str) -> SubnetConfig:
    """The subnet that `subnet_name` calls so; what it says nothing of is the largest.

    Raises:
        OptionError: no subnet of this supernet has that name.
    """
    parts = NAMED.fullmatch(name)
    if parts is None:
        raise OptionError(f"subnet {name!r}: is not d...-k...-e..., with one sign for each stage or block")
    d, k, e = ([_DIGITS.index(sign) for sign in part] for part in parts.groups())
    whole = largest(options)
    depth = subnet_config(options, {"d": d}).d
    kept = kept_blocks(options, depth)
    if not len(k) == len(e) == len(kept):
        raise OptionError(
            f"subnet {name!r}: its d keeps {len(kept)} blocks, k is for {len(k)} and e for {len(e)} of them"
        )
    ks, es = list(whole.ks), list(whole.e)
    for block, kernel, ratio in zip(kept, k, e, strict=True):
        ks[block], es[block] = kernel, ratio
    return subnet_config(options, {"ks": ks, "e": es, "d": d})


def kept_blocks(options: SupernetOptions, d: Sequence[int]) -> list[int]:
    """The places in ``ks`` and ``e`` of the blocks that the depths keep."""
    return [stage * options.deepest + k for stage, depth in enumerate(d) for k in range(depth)]


def _choice(name: str, value: object, length: int, allowed: Sequence[int]) -> tuple[int, ...]:
    given = list(value) if isinstance(value, (list, tuple)) else [value] * length
    if len(given) != length:
        what = "stage" if name == "d" else "block of the supernet, also of those that d leaves out"
        raise OptionError(f"{name} has {len(given)} numbers, and must have {length}: one per {what}")
    chosen: list[int] = []
    for item in given:
        if isinstance(item, bool) or not isinstance(item, int) or item not in allowed:
            several = "; several are written [3,4,...]" if isinstance(item, str) else ""
            raise OptionError(
                f"{name}: {item!r} is outside the supernet's space, which has {', '.join(map(str, allowed))}{several}"
            )
        chosen.append(item)
    return tuple(chosen)


_LISTS = ("ks_list", "expand_ratio_list", "depth_list")


def check_config(config: Mapping[str, object]) -> dict[str, object]:
    """``config`` with lists as tuples, every name known and every value of the right kind.

    Raises:
        OptionError: what is wrong, and which values are taken.
    """
    checked: dict[str, object] = {}
    for name, value in config.items():
        if name in _LISTS:
            value = tuple(value) if isinstance(value, (list, tuple)) else value
            if not isinstance(value, tuple) or not value or not all(positive(item) for item in value):
                raise OptionError(
                    f"{name}={config[name]!r}: must be a list of positive whole numbers, such as [3, 5, 7]"
                )
            value = tuple(sorted(set(value)))
        elif name == "bits":
            if not isinstance(value, int) or value not in BITS:
                raise OptionError(f"bits={value!r}: OQA's networks have {', '.join(map(str, BITS))} bits")
        elif name == "width_mult":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 16:
                raise OptionError(f"width_mult={value!r}: must be a positive number, such as 1.0")
        elif name == "num_classes":
            if not positive(value):
                raise OptionError(f"num_classes={value!r}: must be a positive whole number")
        elif name not in ("ks", "e", "d", "subnet", "recalibrate"):
            names = ["subnet", "recalibrate", "ks", "e", "d", "bits", "width_mult", "num_classes", *_LISTS]
            raise no_option("OQA", name, names)
        checked[name] = value
    return checked
