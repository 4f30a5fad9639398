"""The authors' checkpoints of MSDNet: which options a file's tensors tell, which they contradict, and the network filled.

What shapes alone tell is read off; what they leave open (which pruning mode drops scales here, which share a reduction keeps)
is settled by trying: the options are those whose network has exactly the file's tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from itertools import product

import torch
from torch import Tensor

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.checkpoint import load_weights
from edgekit.models.msdnet import CLASSES, MSDNet, MSDNetOptions, plan
from edgekit.models.options import no_option, positive

Shapes = dict[str, tuple[int, ...]]
_NAMES = [field.name for field in fields(MSDNetOptions)]
_WHOLE = ("num_classes", "nBlocks", "base", "step", "nScales", "nChannels", "growthRate")
_WORDS = {"data": tuple(CLASSES), "stepmode": ("even", "lin_grow"), "prune": ("min", "max")}
_MULTIPLES = 8  # grFactor is looked for up to this multiple of the smallest numbers that the widths allow


def from_weights(weights: Mapping[str, Tensor], config: Mapping[str, object], source: str) -> MSDNet:
    """Build the network that the weights belong to, and fill it.

    Raises:
        CheckpointError: the weights are not an MSDNet's, or some are missing, left over or not finite.
        OptionError: ``config`` names an option that MSDNet does not have, or contradicts the weights.
    """
    if any(name.startswith("isc_modules.") for name in weights):
        raise CheckpointError(f"{source}: these are the weights of an IMTA; export it with --model imta")
    net = MSDNet(infer_options(weights, config, source))
    load_weights(net, weights, source)
    return net.eval()


def infer_options(weights: Mapping[str, Tensor], config: Mapping[str, object], source: str) -> MSDNetOptions:
    """The options whose network has these tensors; ``config`` decides where several do.

    Raises:
        CheckpointError: no options fit.
        OptionError: ``config`` names an option that MSDNet does not have, or contradicts the weights.
    """
    told = check_config(config)
    wanted = {name: tuple(t.shape) for name, t in weights.items() if not name.endswith("num_batches_tracked")}
    try:
        candidates = list(_candidates(wanted))
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"{source}: not an MSDNet checkpoint (it has no usable {error})") from error
    _check_classes(told, candidates[0].num_classes, source)
    first: MSDNetOptions | None = None
    for candidate in candidates:
        agreed = replace(candidate, **told)  # type: ignore[arg-type]
        if _shapes(agreed) == wanted:
            return agreed
        if first is None and _shapes(candidate) == wanted:
            first = candidate
    if first is None:
        load_weights(MSDNet(candidates[0]), weights, source)
        raise CheckpointError(f"{source}: not a network that the options of MSDNet describe")
    alone = [name for name, value in told.items() if _shapes(replace(first, **{name: value})) != wanted]  # type: ignore[arg-type]
    raise OptionError(
        f"{source}: "
        + "; ".join(
            f"{name}={_shown(told[name])} contradicts the weights, which have {name}={_shown(getattr(first, name))}"
            for name in alone or told
        )
    )


def check_config(config: Mapping[str, object]) -> dict[str, object]:
    """``config`` with every name known, every value of the right kind and range, and lists such as ``1-2-4`` as tuples.

    Raises:
        OptionError: what is wrong, and which values are taken.
    """
    checked: dict[str, object] = {}
    for name, value in config.items():
        if name not in _NAMES:
            raise no_option("MSDNet", name, _NAMES)
        if name in _WHOLE and not positive(value):
            raise OptionError(f"{name}={value!r}: must be a positive whole number")
        if name in _WORDS and value not in _WORDS[name]:
            raise OptionError(f"{name}={value!r}: must be {' or '.join(_WORDS[name])}")
        if name == "bottleneck" and not isinstance(value, bool):
            raise OptionError(f"{name}={value!r}: must be true or false")
        if name == "reduction" and not _share(value):
            raise OptionError(f"{name}={value!r}: must be a share of the channels, 0 to 1, such as 0.5")
        if name in ("grFactor", "bnFactor"):
            value = _factors(name, value)
        checked[name] = value
    for name in ("grFactor", "bnFactor"):
        factors, scales = checked.get(name), checked.get("nScales")
        if isinstance(factors, tuple) and scales is not None and len(factors) != scales:
            raise OptionError(f"{name}={_shown(factors)}: nScales={scales} needs {scales} numbers")
    return checked


def _factors(name: str, value: object) -> tuple[int, ...]:
    numbers: object = value
    if isinstance(value, str) and re.fullmatch(r"\d+(-\d+)*", value):
        numbers = [int(part) for part in value.split("-")]
    if isinstance(value, int):
        numbers = [value]
    if not isinstance(numbers, (list, tuple)) or not numbers or not all(positive(n) for n in numbers):
        raise OptionError(f"{name}={value!r}: must be positive whole numbers, one a scale, such as 1-2-4")
    return tuple(numbers)


def _check_classes(told: dict[str, object], seen: int, source: str) -> None:
    data = told.get("data")
    if isinstance(data, str) and "num_classes" not in told and CLASSES[data] != seen:
        raise OptionError(
            f"{source}: data={data} has {CLASSES[data]} classes, the weights have {seen}; if these are classes of your own, "
            f"say num_classes={seen}"
        )


def _candidates(shapes: Shapes) -> Iterator[MSDNetOptions]:
    """Options that the weights may have, likeliest first; KeyError or IndexError names what is no MSDNet's."""
    parts = _parts(shapes)
    small = "blocks.0.0.layers.0.net.0.weight" in shapes
    stem = "blocks.0.0.layers.0.net.0.weight" if small else "blocks.0.0.layers.0.0.weight"
    widths = [shapes[stem][0]]
    while (name := f"blocks.0.0.layers.{len(widths)}.net.0.weight") in shapes:
        widths.append(shapes[name][0])
    classes = shapes["classifier.0.linear.weight"][0]
    depths = [sum("layers" in kinds for kinds in block) - (k == 0) for k, block in enumerate(parts)]
    seen = {
        "data": ("cifar100" if classes == CLASSES["cifar100"] else "cifar10") if small else "ImageNet",
        "num_classes": classes,
        "nBlocks": len(parts),
        "base": depths[0],
        "nScales": len(widths),
        "bottleneck": any(name.endswith("conv_normal.net.3.weight") for name in shapes),
    }
    common = math.gcd(*widths)
    growth, narrow = _growth(shapes, parts, len(widths)), _bottlenecks(shapes, parts, len(widths))
    multiples = [m for m in range(1, _MULTIPLES + 1) if common % m == 0]
    for multiple, (stepmode, step), prune in product(multiples, _steps(depths), ("max", "min")):
        factors = tuple(width * multiple // common for width in widths)
        rates = {(g + odd) // f for g, f in zip(growth, factors, strict=True) for odd in (0, 1) if g >= f}
        reductions = _reductions(shapes, factors)  # none: these are not the factors
        for rate, reduction in product(sorted(rates), reductions):
            yield MSDNetOptions(
                **seen, nChannels=common // multiple, growthRate=rate, grFactor=factors, bnFactor=narrow,  # type: ignore[arg-type]
                stepmode=stepmode, step=step, prune=prune, reduction=reduction,
            )  # fmt: skip


def _parts(shapes: Shapes) -> list[list[set[str]]]:
    """For every block and part of it, whether it holds ``layers`` or the reductions ``m``."""
    found: dict[tuple[int, int], set[str]] = {}
    for name in shapes:
        match = re.match(r"blocks\.(\d+)\.(\d+)\.(layers|m)\.", name)
        if match:
            found.setdefault((int(match[1]), int(match[2])), set()).add(match[3])
    blocks = [
        [found[b, i] for i in range(sum(key[0] == b for key in found))]
        for b in range(len({b for b, _ in found}))
    ]
    if not blocks:
        raise KeyError("blocks.0.0")
    return blocks


def _units(shapes: Shapes, parts: list[list[set[str]]], scales: int) -> Iterator[tuple[str, int]]:
    """The prefix and the scale of everything that grows a map."""
    for block, kinds in enumerate(parts):
        for index, kind in enumerate(kinds):
            prefix = f"blocks.{block}.{index}.layers"
            if (block, index) == (0, 0) or "layers" not in kind:
                continue
            count = 0
            while f"{prefix}.{count}.conv_normal.net.0.weight" in shapes:
                count += 1
            for unit in range(count):
                yield f"{prefix}.{unit}", scales - count + unit


def _growth(shapes: Shapes, parts: list[list[set[str]]], scales: int) -> list[int]:
    """What a layer adds to every scale, at least (each half is rounded down)."""
    added = [0] * scales
    for prefix, scale in _units(shapes, parts, scales):
        last = 3 if f"{prefix}.conv_normal.net.3.weight" in shapes else 0
        sources = [f"{prefix}.{kind}.net.{last}.weight" for kind in ("conv_down", "conv_normal")]
        added[scale] = max(added[scale], sum(shapes[name][0] for name in sources if name in shapes))
    return added


def _bottlenecks(shapes: Shapes, parts: list[list[set[str]]], scales: int) -> tuple[int, ...]:
    """The smallest ``bnFactor`` that gives the widths of the 1x1 convolutions."""
    factors = [1] * scales
    for prefix, scale in _units(shapes, parts, scales):
        for kind, source in (("conv_down", scale - 1), ("conv_normal", scale)):
            second = shapes.get(f"{prefix}.{kind}.net.3.weight")
            if second is not None:
                factors[source] = max(factors[source], -(-second[1] // second[0]))
    return tuple(factors)


def _steps(depths: list[int]) -> list[tuple[str, int]]:
    """Which step modes give the blocks after the first these depths."""
    found = []
    if len(set(depths[1:])) <= 1:
        found.append(("even", depths[1] if len(depths) > 1 else 1))
    if (
        len(depths) > 1
        and depths[1] > 1
        and all(d == (depths[1] - 1) * k + 1 for k, d in enumerate(depths) if k)
    ):
        found.append(("lin_grow", depths[1] - 1))
    if not found:
        raise KeyError(f"step mode: its blocks have {', '.join(map(str, depths))} layers")
    return found


def _reductions(shapes: Shapes, factors: tuple[int, ...]) -> list[float]:
    """The roundest ``reduction`` that gives the widths of all reductions, and what there may be if there are none."""
    low, high = 0.0, math.inf
    for name, shape in shapes.items():
        match = re.fullmatch(r"blocks\.\d+\.\d+\.m\.(\d+)\.net\.0\.weight", name)
        if match:
            count = sum(
                other.startswith(name.rpartition(".m.")[0] + ".m.") and other.endswith("net.0.weight")
                for other in shapes
            )
            factor = factors[len(factors) - count + int(match[1])]
            if shape[0] % factor or shape[1] % factor:
                return []
            after, before = shape[0] // factor, shape[1] // factor
            low, high = max(low, after / before), min(high, (after + 1) / before)
    if high == math.inf:
        return [0.5, 0.0]
    for digits in range(1, 5):
        fitting = [n / 10**digits for n in range(10**digits + 1) if low <= n / 10**digits < high]
        if fitting:
            return [min(fitting, key=lambda share: abs(share - 0.5))]
    return [low]


def _shapes(options: MSDNetOptions) -> Shapes:
    """The tensors that a network with these options has; none if there is no such network."""
    if not len(options.grFactor) == len(options.bnFactor) == options.nScales:
        return {}
    layers = [layer for block in plan(options) for layer in block]
    if any(layer.channels < 1 or layer.finest >= options.nScales or layer.reduced == 0 for layer in layers):
        return {}
    if options.growthRate * min(options.grFactor) < 2:  # which a layer that reads two scales could not halve
        return {}
    with torch.device("meta"):
        net = MSDNet(options)
    return {
        name: tuple(tensor.shape)
        for name, tensor in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _shown(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def jsonable(options: MSDNetOptions) -> dict[str, object]:
    """The options as JSON values."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(options).items()}
