"""CondenseNet's checkpoints: which options the weights of the authors' files tell, in training form and converted, and the network to export."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.checkpoint import load_weights, read_state_dict
from edgekit.models.condensenet import (
    CIFAR,
    CLASSIFIER_SHARE,
    DATA,
    CondensedConv,
    CondensedLinear,
    CondenseNet,
    CondenseNetOptions,
    check_mask,
    converted,
)
from edgekit.models.options import no_option, positive
from edgekit.models.shipped import shipped
from edgekit.models.staged import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    CIFAR100_MEAN,
    CIFAR100_STD,
    ImageInput,
    Stage,
)

CIFAR_SIDE, IMAGENET_SIDE = 32, 224
_LAYER = re.compile(r"features\.denseblock_(\d+)\.denselayer_(\d+)\.")

Weights = Mapping[str, Tensor]


class StagedCondenseNet:
    """A converted CondenseNet at one picture size, ready for export; a `StagedModel` of one stage."""

    family = "condensenet"
    task = "classification"

    def __init__(
        self, net: CondenseNet, size: tuple[int, int] | None = None, notes: Sequence[str] = ()
    ) -> None:
        if not net.converted:
            raise OptionError(
                "only a converted CondenseNet is exported; see edgekit.models.condensenet.converted"
            )
        options = net.options
        side = CIFAR_SIDE if options.data in CIFAR else IMAGENET_SIDE
        height, width = size or (side, side)
        shrink = options.stem_stride * 2 ** (len(options.stages) - 1)
        if any(
            (-(-n // options.stem_stride) * options.stem_stride // shrink) // options.last_pool != 1
            for n in (height, width)
        ):
            least = options.last_pool * shrink
            raise OptionError(
                f"size {height}x{width}: a CondenseNet for {options.data} with {len(options.stages)} blocks takes "
                f"{least} to {2 * least - options.stem_stride} px a side; it was trained on {side}x{side}"
            )
        self.net = net.eval()
        self.options: Mapping[str, object] = jsonable(options)
        self.notes = tuple(notes)
        self.accuracies: Mapping[str, float] = {}
        recipe = {"cifar10": (CIFAR10_MEAN, CIFAR10_STD), "cifar100": (CIFAR100_MEAN, CIFAR100_STD)}
        # As ImageNet's classifiers are evaluated.
        picture = ImageInput("image", height, width, crop=224 / 256)
        if options.data in recipe:
            mean, std = recipe[options.data]
            picture = ImageInput("image", height, width, mean=mean, std=std, crop=1.0)
        self.inputs = (picture,)

    def stages(self) -> list[Stage]:
        """The whole network: it has one exit."""
        return [Stage("stage1", self.net, ("image",), ("logits1",), "logits1")]

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The logits of the converted network."""
        (image,) = inputs
        return [self.net(image)]


def infer_options(
    weights: Weights, config: Mapping[str, object], source: str
) -> tuple[CondenseNetOptions, bool]:
    """The options that the weights tell, the rest from ``config``; and whether the weights are converted.

    Raises:
        CheckpointError: the weights are not a CondenseNet's, only half of them are converted, or their masks are damaged.
        OptionError: ``config`` names an option that CondenseNet does not have, or contradicts the weights.
    """
    config = check_config(config)
    is_converted = _form(weights, source)
    stages = _stages(weights, source)
    try:
        seen: dict[str, object] = {
            "stages": stages,
            "growth": tuple(
                int(weights[_name(b, 0, "conv_2.conv.weight")].shape[0]) for b in range(len(stages))
            ),
            "num_classes": int(
                weights["classifier.linear.weight" if is_converted else "classifier.weight"].shape[0]
            ),
        }
        outputs, inputs_per_group = weights[_name(0, 0, "conv_1.conv.weight")].shape[:2]
        seen["bottleneck"] = int(outputs) // int(weights[_name(0, 0, "conv_2.conv.weight")].shape[0])
        seen["group_3x3"] = int(outputs) // max(int(weights[_name(0, 0, "conv_2.conv.weight")].shape[1]), 1)
        inputs = int(weights["features.init_conv.weight"].shape[0])
        if is_converted:
            seen["group_1x1"] = int(weights[_name(0, 0, "conv_1.index")].shape[0]) // max(
                int(inputs_per_group), 1
            )
            seen["condense_factor"] = inputs // max(int(inputs_per_group), 1)
        else:
            seen |= _condensation(weights, config, source)
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f"{source}: not a CondenseNet checkpoint (it has no usable {error})") from error
    for name, value in seen.items():
        if 0 in (value if isinstance(value, tuple) else (value,)):
            raise CheckpointError(
                f"{source}: its tensors make {name} 0: a group has no inputs or no outputs; the file is damaged"
            )
        if name in config and config[name] != value:
            told = list(value) if isinstance(value, tuple) else value
            given = list(g) if isinstance(g := config[name], tuple) else g
            raise OptionError(
                f"{source}: {name}={given!r} contradicts the weights, which have {name}={told!r}"
            )
    if "data" not in config:
        classes = seen["num_classes"]
        config["data"] = f"cifar{classes}" if classes in (10, 100) and len(stages) == 3 else "imagenet"
    options = CondenseNetOptions(**{**config, **seen})  # type: ignore[arg-type]
    try:
        options.check()
    except OptionError as error:
        told = {**config, **seen}
        assumed = [f"{n}={getattr(options, n)}" for n in ("group_1x1", "condense_factor") if n not in told]
        hint = f"; no mask tells {' and '.join(assumed)}, which --config may say otherwise" if assumed else ""
        raise CheckpointError(f"{source}: its channels do not divide: {error}{hint}") from error
    return options, is_converted


def check_config(config: Mapping[str, object]) -> dict[str, object]:
    """``config`` with every name known and every value of the right kind; ``stages`` and ``growth`` also as 4-6-8.

    Raises:
        OptionError: what is wrong, and which values are taken.
    """
    defaults = asdict(CondenseNetOptions())
    checked: dict[str, object] = {}
    for name, value in config.items():
        if name not in defaults:
            raise no_option("CondenseNet", name, defaults)
        default = defaults[name]
        if name == "data":
            if value not in DATA:
                raise OptionError(f"data={value!r}: must be {', '.join(DATA)}")
        elif isinstance(default, tuple):
            if isinstance(value, str) and re.fullmatch(r"\d+(-\d+)*", value):
                value = [int(part) for part in value.split("-")]
            if not isinstance(value, (list, tuple)) or not value or not all(positive(v) for v in value):
                shown = "-".join(map(str, default))
                raise OptionError(f"{name}={config[name]!r}: must be positive whole numbers, such as {shown}")
            value = tuple(value)
        elif isinstance(default, float):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise OptionError(f"{name}={value!r}: must be a number from 0 to below 1")
            value = float(value)
        elif not positive(value):
            raise OptionError(f"{name}={value!r}: must be a positive whole number, such as {default}")
        checked[name] = value
    return checked


def from_weights(weights: Weights, config: Mapping[str, object], source: str) -> CondenseNet:
    """Build the network that the weights belong to, in their own form, and fill it.

    Raises:
        CheckpointError: the weights are not a CondenseNet's, are damaged, or an index points outside its features.
        OptionError: ``config`` contradicts them.
    """
    options, is_converted = infer_options(weights, config, source)
    net = CondenseNet(options, is_converted)
    load_weights(net, weights, source)
    _check_buffers(net, source)
    return net.eval()


def build(
    checkpoint: str | os.PathLike[str] | None, config: Mapping[str, object], size: tuple[int, int] | None
) -> StagedCondenseNet:
    """The staged CondenseNet of a checkpoint file, converted if it is in training form, for pictures of ``size`` (height, width).

    Without a file they are the weights that edgekit ships.

    Raises:
        CheckpointError: the file cannot be used.
        OptionError: ``config`` is wrong or contradicts the weights, or the size does not fit.

    ``config`` takes, beside `CondenseNetOptions`' names, ``classifier_share``: how many of a trained classifier's inputs its
    conversion keeps, 0.5 as the authors' does; 1 keeps the training network's answers.
    """
    if checkpoint is None:
        ours = shipped("condensenet")
        staged = build(ours.weights, {**ours.options(), **config}, size)
        staged.options = {**staged.options, **ours.classes()}
        staged.accuracies = {"stage1": ours.accuracies()["stage1"]}
        return staged
    source = os.fspath(checkpoint)
    share = config.get("classifier_share")
    if share is not None and (
        isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1
    ):
        raise OptionError(
            f"classifier_share={share!r}: must be a number above 0 and up to 1, the classifier's inputs that are kept"
        )
    net = from_weights(
        read_state_dict(source), {name: v for name, v in config.items() if name != "classifier_share"}, source
    )
    notes = []
    if not net.converted:
        if (
            isinstance(net.classifier, torch.nn.Linear)
            and share is not None
            and int(net.classifier.in_features * share) == 0
        ):
            raise OptionError(
                f"classifier_share={share!r}: keeps none of the classifier's {net.classifier.in_features} inputs; give a larger one"
            )
        net = converted(net, source, CLASSIFIER_SHARE if share is None else float(share))
        assert isinstance(net.classifier, CondensedLinear)
        kept, of = net.classifier.index.numel(), net.classifier.inputs
        if kept == of:
            said = f"the classifier keeps all of its {of} inputs, so logits are the training network's"
        else:
            authors = ", as the authors' conversion does" if share is None else ""
            said = (
                f"the classifier keeps {kept} of its {of} inputs{authors}, so logits differ from the training network's "
                "(--config classifier_share=1 keeps them all)"
            )
        notes.append(
            f"{source} is in training form and was converted: {said}; parity is proven against the converted network in torch"
        )
    elif share is not None:
        raise OptionError(
            f"{source} is converted already: classifier_share={share!r} can only be chosen for a training's own file"
        )
    return StagedCondenseNet(net, size, notes)


def jsonable(options: CondenseNetOptions) -> dict[str, object]:
    """The options as the manifest holds them: without what only training knows."""
    kept = {
        name: value
        for name, value in asdict(options).items()
        if name not in ("dropout_rate", "group_lasso_lambda")
    }
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def _name(block: int, layer: int, rest: str) -> str:
    return f"features.denseblock_{block + 1}.denselayer_{layer + 1}.{rest}"


def _form(weights: Weights, source: str) -> bool:
    """Whether all of the weights are converted.

    Raises:
        CheckpointError: some are and some are not.
    """
    done = [name for name in weights if name.endswith(".index")]
    open_ = [name for name in weights if name.endswith("._mask")]
    if "classifier.weight" in weights:
        open_.append("classifier.weight")
    if done and open_:
        raise CheckpointError(
            f"{source}: half converted: {done[0].removesuffix('.index')} is and {open_[0].removesuffix('._mask')} is not; "
            "take the training's own file (edgekit converts it), or convert all of it"
        )
    if not done and not open_:
        raise CheckpointError(f"{source}: not a CondenseNet checkpoint (it has neither masks nor indices)")
    return bool(done)


def _stages(weights: Weights, source: str) -> tuple[int, ...]:
    layers = Counter(int(found[1]) for found in {m[0]: m for m in map(_LAYER.match, weights) if m}.values())
    if sorted(layers) != list(range(1, len(layers) + 1)) or not layers:
        raise CheckpointError(
            f"{source}: not a CondenseNet checkpoint (its dense blocks are {sorted(layers) or 'missing'})"
        )
    return tuple(layers[block] for block in sorted(layers))


def _condensation(weights: Weights, config: Mapping[str, object], source: str) -> dict[str, object]:
    """Groups and condense factor as the masks tell them; nothing where nothing was dropped yet."""
    masks = {}
    for name, tensor in weights.items():
        if name.endswith("._mask"):
            if tensor.dim() != 4:
                raise ValueError(name)
            masks[name] = tensor[:, :, 0, 0]
    pruned = {name: mask for name, mask in masks.items() if not bool((mask == 1).all())}
    if not pruned:
        return {}
    # By chance the groups of a small layer keep the same inputs, which makes fewer of them: in a tie, take the more.
    periods = Counter(map(_period, pruned.values()))
    groups = config.get("group_1x1") or max(periods, key=lambda period: (periods[period], period))
    assert isinstance(groups, int)
    for name, mask in pruned.items():
        check_mask(mask, groups, f"{source}: {name.removesuffix('._mask')}")
    found: dict[str, object] = {"group_1x1": groups}
    # Each stage that is done dropped 1 / condense_factor of the inputs: the same quotient in every layer, unless damaged.
    factors = Counter(
        round(float(weights[name.replace("_mask", "_stage")]) * mask.shape[1] / count)
        for name, mask in pruned.items()
        if (count := float(weights[name.replace("_mask", "_count")])) > 0
    )
    if factors:
        found["condense_factor"] = factors.most_common(1)[0][0]
    return found


def _period(mask: Tensor) -> int:
    """The smallest number of groups whose outputs, o % groups, keep the same inputs."""
    outputs = mask.shape[0]
    return next(
        g
        for g in range(1, outputs + 1)
        if outputs % g == 0 and torch.equal(mask, mask[:g].repeat(outputs // g, 1))
    )


def _check_buffers(net: CondenseNet, source: str) -> None:
    for name, module in net.named_modules():
        if isinstance(module, CondensedConv | CondensedLinear):
            wrong = module.index[(module.index < 0) | (module.index >= module.inputs)]
            if wrong.numel():
                raise CheckpointError(
                    f"{source}: {name}.index points at feature {int(wrong[0])} of {module.inputs}; the file is damaged"
                )
