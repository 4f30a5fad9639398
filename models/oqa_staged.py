"""From an OQA checkpoint to a network ready for export: what its shapes tell, what they contradict, and the subnet asked for."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.lsq import began_as, check_steps, fits
from edgekit.models.oqa import OqaNet, Supernet
from edgekit.models.oqa_catalogue import PublishedSubnet, find
from edgekit.models.oqa_space import (
    BITS,
    FINAL_WIDTHS,
    NAMED,
    STAGE_WIDTHS,
    SubnetConfig,
    SupernetOptions,
    check_config,
    expanded,
    largest,
    subnet_config,
    subnet_named,
    widths,
)
from edgekit.models.recalibration import is_folder, pictures_in, recalibrate
from edgekit.models.shipped import shipped
from edgekit.models.staged import Alternative, ImageInput, Stage

LARGEST_SIZE = 224  # px, of the published subnets; taken where nothing says a size
SHIPPED_SIZE = 32  # px, of the pictures that edgekit's own weights learned from
REDUCTION = 32
IMAGENET_CLASSES = 1000
EVALUATED = 0.875  # of the shorter side, ImageNet's way: the centre of a picture resized to size / 0.875
_BLOCK = "blocks.{}.mobile_inverted_conv."


class StagedOqa:
    """One subnet at one picture size, in one stage; a `StagedModel`."""

    family = "oqa"
    task = "classification"

    def __init__(
        self, net: OqaNet, supernet: SupernetOptions, subnet: SubnetConfig, size: tuple[int, int], name: str | None = None
    ) -> None:  # fmt: skip
        height, width = size
        if min(size) < REDUCTION:
            raise OptionError(f"size {height}x{width}: OQA needs at least {REDUCTION}x{REDUCTION} px")
        self.net = net.eval()
        self.supernet, self.subnet = supernet, subnet
        options = {**asdict(supernet), **asdict(subnet)}
        self.options: Mapping[str, object] = {
            **({} if name is None else {"subnet": name}),
            **{key: list(value) if isinstance(value, tuple) else value for key, value in options.items()},
        }
        self.notes: tuple[str, ...] = ()
        self.accuracies: Mapping[str, float] = {}
        crop = EVALUATED if supernet.num_classes == IMAGENET_CLASSES else 1.0
        self.inputs: Sequence[ImageInput] = (ImageInput("image", height, width, crop=crop),)

    def stages(self) -> list[Stage]:
        """The subnet whole: it has one exit."""
        return [Stage("stage1", self.net, ("image",), ("logits1",), "logits1")]

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The logits (1, classes)."""
        return [self.net(*inputs)]


def infer_options(
    weights: Mapping[str, Tensor], config: Mapping[str, object], source: str
) -> SupernetOptions:
    """Read what the shapes tell of a supernet, and take the rest from ``config``.

    The shapes tell the widths, the classes, the kernels, and the largest expansion and depth; never the bits, which only
    step sizes that training has not moved tell.

    Raises:
        CheckpointError: the weights are not an OQA supernet's.
        OptionError: ``config`` contradicts them, or does not say what they leave open.
    """
    config = check_config(config)
    try:
        depth, rest = divmod(
            _count(weights, _BLOCK + "point_linear.conv.conv.weight", first=1), len(STAGE_WIDTHS)
        )
        if depth == 0 or rest:
            raise CheckpointError(
                f"{source}: not an OQA supernet: its elastic blocks do not make up five equal stages"
            )
        middle, inputs = weights[_BLOCK.format(2) + "inverted_bottleneck.conv.conv.weight"].shape[:2]
        seen: dict[str, object] = {
            "width_mult": _width_mult(weights, config.get("width_mult"), depth, source),
            "num_classes": int(weights["classifier.linear.weight"].shape[0]),
            "ks_list": _kernels(weights),
            "expand_ratio_list": _upto(
                "expand_ratio_list", config, (3, 4, 6), _ratio(int(inputs), int(middle)), source
            ),
            "depth_list": _upto("depth_list", config, (2, 3, 4), depth, source),
        }
    except KeyError as error:
        raise CheckpointError(f"{source}: not an OQA supernet (it has no {error})") from error
    for name, value in seen.items():
        if name in config and config[name] != value:
            raise OptionError(
                f"{source}: {name}={config[name]!r} contradicts the weights, which have {name}={value!r}"
            )
    check_steps(weights, source)
    return SupernetOptions(bits=_bits(weights, config.get("bits"), source), **seen)  # type: ignore[arg-type]


def _bits(weights: Mapping[str, Tensor], wanted: object, source: str) -> int:
    begun = began_as(weights)
    if wanted is None:
        if begun is None:
            raise OptionError(
                f"{source}: a checkpoint does not tell how many bits it was trained for; say bits=4, 3 or 2"
            )
        return begun
    assert isinstance(wanted, int)
    if not fits(weights, wanted):
        told = f"{begun} bits" if begun is not None else f"another width than {wanted} bits"
        raise OptionError(
            f"{source}: bits={wanted} contradicts its step sizes, which were trained for {told}"
        )
    return wanted


def _width_mult(weights: Mapping[str, Tensor], wanted: object, depth: int, source: str) -> float:
    """The multiplier that gives the widths seen; of several, the one asked for, else the one nearest to the widths' ratio."""
    seen = (
        int(weights["first_conv.conv.weight"].shape[0]),
        tuple(
            int(weights[(_BLOCK + "point_linear.conv.conv.weight").format(1 + stage * depth)].shape[0])
            for stage in range(len(STAGE_WIDTHS))
        ),
        (
            int(weights["final_expand_layer.conv.weight"].shape[0]),
            int(weights["feature_mix_layer.conv.weight"].shape[0]),
        ),
    )
    ratio = round(seen[2][1] / FINAL_WIDTHS[1], 4)
    candidates = [round(ratio + step / 1000, 4) for step in sorted(range(-8, 9), key=abs)]
    for candidate in ([float(wanted)] if isinstance(wanted, (int, float)) else []) + candidates:
        if candidate > 0 and widths(SupernetOptions(4, width_mult=candidate)) == seen:
            return candidate
    raise CheckpointError(f"{source}: not an OQA supernet: no width_mult gives its channels {seen}")


def _ratio(inputs: int, middle: int) -> int:
    """The expand ratio of a block that has ``middle`` channels."""
    for ratio in range(1, 17):
        if expanded(inputs, ratio) == middle:
            return ratio
    raise KeyError(f"expand ratio from {inputs} to {middle} channels")


def _kernels(weights: Mapping[str, Tensor]) -> tuple[int, ...]:
    prefix = _BLOCK.format(1) + "depth_conv.conv."
    kernels = {int(weights[prefix + "conv.weight"].shape[-1])}
    for name in weights:
        matrix = re.fullmatch(re.escape(prefix) + r"(\d+)to(\d+)_matrix", name)
        if matrix:
            kernels |= {int(matrix[1]), int(matrix[2])}
    return tuple(sorted(kernels))


def _upto(
    name: str, config: Mapping[str, object], usual: tuple[int, ...], highest: int, source: str
) -> tuple[int, ...]:
    """The list asked for, else the usual one as far as the weights go; its largest is what the weights hold."""
    given = config.get(name)
    if isinstance(given, tuple):
        if max(given) != highest:
            raise OptionError(
                f"{source}: {name}={list(given)} contradicts the weights, which go up to {highest}"
            )
        return given
    return tuple(sorted({value for value in usual if value < highest} | {highest}))


def _count(weights: Mapping[str, Tensor], pattern: str, first: int) -> int:
    count = 0
    while pattern.format(first + count) in weights:
        count += 1
    return count


def supernet_of(weights: Mapping[str, Tensor], config: Mapping[str, object], source: str) -> Supernet:
    """The supernet that the weights belong to, filled.

    Raises:
        CheckpointError: the weights are not an OQA supernet's, or some are missing, left over or not finite.
        OptionError: ``config`` contradicts them.
    """
    supernet = Supernet(infer_options(weights, config, source))
    supernet.load(weights, source)
    return supernet.eval()


def build(
    checkpoint: str | os.PathLike[str] | None, config: Mapping[str, object], size: tuple[int, int] | None
) -> StagedOqa | list[Alternative]:
    """Subnets of a checkpoint: those of ``config["subnet"]`` (names of the catalogue, or `subnet_name`'s), or that of its
    ``ks``, ``e`` and ``d``.

    Several names make alternatives of rising cost. Without ``size`` the pictures have the catalogue's size, or 224 x 224 px.

    Raises:
        CheckpointError: the file cannot be used.
        OptionError: ``config`` or ``size`` is wrong or contradicts the weights.
    """
    if checkpoint is None:
        return _shipped(config, size)
    names = _names(config)
    named = {name: find(name) for name in names if not NAMED.fullmatch(name)}
    for known in named.values():
        _check_told(known, config, size)
    if len({known.bits for known in named.values()}) > 1:
        raise OptionError(
            f"subnet: {', '.join(named)} have different bits, and a supernet has one; "
            "export each from its own checkpoint"
        )
    rest = {name: value for name, value in config.items() if name not in ("subnet", "recalibrate")}
    if named:
        rest["bits"] = next(iter(named.values())).bits
    elif names and rest.keys() & {"ks", "e", "d"}:
        raise OptionError(f"subnet {names[0]}: its name says ks, e and d already; leave them out")
    pictures = config.get("recalibrate")
    if pictures is not None and is_folder(str(pictures)):
        pictures_in(str(pictures))  # refused before the network is built
    supernet = supernet_of(read_state_dict(checkpoint), rest, str(Path(checkpoint)))
    options, usual = supernet.options, size or (LARGEST_SIZE, LARGEST_SIZE)
    if not names:
        models = [_staged(supernet, subnet_config(options, rest), usual)]
    else:
        models = [
            _staged(supernet, _within(options, named[name]), size or (named[name].image_size,) * 2, name)
            if name in named
            else _staged(supernet, subnet_named(options, name), usual, name)
            for name in names
        ]
    if pictures is not None:
        for model in models:
            used = recalibrate(model.net, str(pictures), model.inputs[0], _say)
            model.notes += (f"batch norms recalibrated on {used} pictures",)
    if len(models) == 1:
        return models[0]
    return [
        Alternative(name, model, named[name].imagenet_top1 / 100, "published")
        if name in named
        else Alternative(name, model)
        for name, model in zip(names, models, strict=True)
    ]


def _shipped(config: Mapping[str, object], size: tuple[int, int] | None) -> StagedOqa | list[Alternative]:
    """The same of the supernet that edgekit ships at these bits, 4 unless ``config`` says otherwise."""
    bits = config.get("bits", max(BITS))
    ours = shipped("oqa" if bits == max(BITS) else f"oqa-b{bits}")
    built = build(ours.weights, {**ours.options(), **config}, size or (SHIPPED_SIZE, SHIPPED_SIZE))
    for staged in [one.model for one in built] if isinstance(built, list) else [built]:
        assert isinstance(staged, StagedOqa)
        staged.options = {**staged.options, **ours.classes()}
        if staged.subnet == largest(staged.supernet):  # the one that its batch norms were settled for
            staged.accuracies = {"stage1": ours.accuracies()["largest"]}
    return built


def _say(done: int, of: int) -> None:
    if done < of and not sys.stderr.isatty():
        return  # what replaces its line on a terminal would fill a log
    end = "\n" if done == of else "\r"
    print(f"recalibrating batch norms: {done} of {of} pictures", end=end, file=sys.stderr, flush=True)


def _staged(
    supernet: Supernet, subnet: SubnetConfig, size: tuple[int, int], name: str | None = None
) -> StagedOqa:
    return StagedOqa(supernet.subnet(subnet), supernet.options, subnet, size, name)


def _names(config: Mapping[str, object]) -> list[str]:
    """The subnets that ``config`` names, each once; published ones by cost."""
    given = config.get("subnet", [])
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise OptionError(
            f"subnet={given!r}: must be a name of edgekit models oqa or of edgekit search, or a list of them"
        )
    unique = list(dict.fromkeys(names))
    return sorted(unique, key=lambda name: 0.0 if NAMED.fullmatch(name) else find(name).macs_m)


def _check_told(known: PublishedSubnet, config: Mapping[str, object], size: tuple[int, int] | None) -> None:
    told = {"bits": known.bits, "ks": known.subnet.ks, "e": known.subnet.e, "d": known.subnet.d}
    for key, value in told.items():
        given = config.get(key, value)
        if (tuple(given) if isinstance(given, list) else given) != value:
            raise OptionError(
                f"subnet {known.name} has {key}={value}, {key}={given!r} was given too; leave it out"
            )
    if size is not None and size != (known.image_size, known.image_size):
        warnings.warn(
            f"{known.name} was published for pictures of {known.image_size}x{known.image_size} px; at {size[0]}x{size[1]} "
            "its published accuracy and MACs do not hold",
            stacklevel=2,
        )


def _within(options: SupernetOptions, known: PublishedSubnet) -> SubnetConfig:
    return subnet_config(options, {"ks": known.subnet.ks, "e": known.subnet.e, "d": known.subnet.d})
