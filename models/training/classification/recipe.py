"""What decides a classifier's trained weights, and the options of `edgekit train` that all classifiers share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgekit.errors import OptionError


@dataclass(frozen=True)
class ClassificationRecipe:
    """Everything but the data that decides the weights; families add options of their own by inheriting.

    Attributes:
        epochs: passes over the training pictures.
        minutes: end within this much training time instead, however few epochs that allows; 0 for no limit. The schedule is
            fitted to the time, so such a run ends as well as it can, but no two are the same to the bit.
        batch: pictures per step.
        seed: of the initial weights, the held-out pictures, the order, the crops and whatever else is random.
        rate: greatest step size of SGD with Nesterov's momentum, reached after the share ``warmup`` of the training.
        schedule: how it falls from there: ``cosine``, or ``linear``, to 0.
        decay: weight decay of the convolutions and matrices.
        clip: greatest length of the gradient, of all parameters together; 0 for no limit.
        smoothing: of the labels.
        averaging: decay per step of the running average of the weights that is measured and shipped; 0 for none.
        size: height and width of the pictures in px, scaled to it if they are others: those that the network will take.
        margin: px that the pictures are shifted by at most; 0 for no crops.
        mirror: whether every other picture is mirrored.
        early: share of the training in which pictures are scaled down to ``early_size`` px, for cheaper steps.
        early_size: px, as small as the family's classifiers take.
        precision: of the products in training: ``float32`` or ``bfloat16``.
        compiled: whether torch.compile fuses the step; slow to begin (about a minute), then faster.
        initial: weights to start from, or empty for a fresh start.
    """

    epochs: int = 30
    minutes: float = 0.0
    batch: int = 128
    seed: int = 1
    rate: float = 0.1
    warmup: float = 0.15
    schedule: str = "cosine"
    momentum: float = 0.9
    decay: float = 5e-4
    clip: float = 0.0
    smoothing: float = 0.0
    averaging: float = 0.998
    size: int = 32
    margin: int = 4
    mirror: bool = True
    early: float = 0.0
    early_size: int = 24
    precision: str = "float32"
    compiled: bool = False
    initial: str = ""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("warmup", "momentum", "smoothing", "averaging", "early"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)}: must be at least 0 and below 1")
        if not self.clip >= 0:
            raise OptionError(f"clip={self.clip}: must be 0 or more")
        for name, known in (("schedule", ("cosine", "linear")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in known:
                raise OptionError(f"{name}={getattr(self, name)!r}: must be {' or '.join(known)}")

    def rate_at(self, progress: float) -> float:
        """SGD's step size after this share of the training, 0 to 1."""
        if progress < self.warmup:
            return self.rate * (0.05 + 0.95 * progress / self.warmup)
        rest = max(0.0, 1 - (progress - self.warmup) / (1 - self.warmup))
        return self.rate * (rest if self.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * rest))


@dataclass(frozen=True)
class Training:
    """One call of a recipe, and what does not change its result.

    Attributes:
        out: directory for the checkpoint, the log, the picture of the log and, at the end, the weights and their card.
        data: what ``--data`` named.
        resume: go on from the checkpoint in ``out``.
        threads: of torch; 0 leaves torch's choice.
        save_every: steps between checkpoints.
        measure_every: epochs between measurements on the validation pictures.
        stop_after: stop (resumable) at this step, for trying things out.
    """

    out: Path
    data: str
    resume: bool = False
    threads: int = 0
    save_every: int = 200
    measure_every: int = 1
    stop_after: int | None = None


_HELP = {
    "epochs": "passes over the training pictures",
    "minutes": "end within this much training time, the schedule fitted to it; 0 for no limit",
    "batch": "pictures per step",
    "seed": "decides everything random",
    "rate": "greatest step size",
    "warmup": "share of the training in which the step size rises",
    "schedule": "how the step size falls: cosine or linear",
    "momentum": "Nesterov's momentum",
    "decay": "weight decay",
    "clip": "greatest length of the gradient, longer ones are shortened to it; 0 for no limit",
    "smoothing": "of the labels",
    "averaging": "decay of the running average of the weights that is shipped; 0 for none",
    "size": "height and width in px of the pictures, which are scaled to it",
    "margin": "px that pictures are shifted by at most",
    "mirror": "mirror every other picture",
    "early": "share of the training in which pictures are scaled down to --early-size px, for cheaper steps",
    "early_size": "height and width in px of the early pictures",
    "precision": "of the products in training: float32, or bfloat16 where the processor has it",
    "compiled": "fuse the step by torch.compile, which needs a C++ compiler: a slow start, then faster steps",
    "initial": "weights to start from instead of random ones",
}


def add_arguments(
    parser: argparse.ArgumentParser, default: ClassificationRecipe, help_of: Mapping[str, str] | None = None
) -> None:
    """Declare ``--data``, ``--out`` and so on, and an option for every field of the family's recipe."""
    add = parser.add_argument
    add(
        "--data",
        required=True,
        help="cifar10_jpeg.npz, `fashion-mnist`, or a folder with a folder of pictures a class",
    )
    add("--out", type=Path, required=True, help="directory for checkpoint, log, weights and card")
    told = {**_HELP, **(help_of or {})}
    for field in fields(default):
        value, name = getattr(default, field.name), field.name.replace("_", "-")
        words = told[field.name] + (" (default %(default)s)" if value != "" else "")
        if isinstance(value, bool):
            add(
                f"--{name}", action=argparse.BooleanOptionalAction, default=value, dest=field.name, help=words
            )
        elif isinstance(value, tuple):
            text = ",".join(str(one) for one in value)
            add(f"--{name}", default=text, dest=field.name, help=words)
        else:
            option = "--init" if field.name == "initial" else f"--{name}"
            add(option, type=type(value), default=value, dest=field.name, help=words)
    add("--threads", type=int, default=0, help="torch's threads (default: torch's choice)")
    add("--save-every", type=int, default=200, help="steps between checkpoints (default %(default)s)")
    add("--measure-every", type=int, default=1, help="epochs between measurements (default %(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint in OUT")
    add("--json", action="store_true", help="print one JSON document")


def recipe_of(arguments: argparse.Namespace, default: ClassificationRecipe) -> Any:
    """The recipe, of the kind of ``default``, that the arguments tell.

    Raises:
        OptionError: a value is out of range, or not a list of numbers where one is needed.
    """
    values: dict[str, object] = {}
    for field in fields(default):
        value, usual = getattr(arguments, field.name), getattr(default, field.name)
        if isinstance(usual, tuple):
            try:
                value = tuple(type(usual[0])(part) for part in str(value).split(","))
            except ValueError:
                raise OptionError(
                    f"--{field.name.replace('_', '-')} {value}: write numbers with commas between, such as "
                    + ",".join(str(one) for one in usual)
                ) from None
        values[field.name] = value
    return type(default)(**values)  # type: ignore[arg-type]


def training_of(arguments: argparse.Namespace) -> Training:
    """What the arguments tell beside the recipe."""
    return Training(
        arguments.out,
        arguments.data,
        arguments.resume,
        arguments.threads,
        arguments.save_every,
        arguments.measure_every,
    )
