"""A training's state on disk: written whole or not at all, and only resumed with the recipe that it was begun with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save
from torch import Tensor

from edgekit.errors import CheckpointError, OptionError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash or a full disk leaves either the old one or the new one.

    Raises:
        CheckpointError: it could not be written; an older file of this name is untouched.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = (
            "the one written before is intact; make room and go on with --resume"
            if path.exists()
            else "make room"
        )
        raise CheckpointError(f"{path} could not be written ({error}); {kept}") from error


def save_training(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write a training's tensors and facts (JSON values) as one safetensors file.

    Raises:
        CheckpointError: the disk is full or not writable; what was saved before is untouched.
    """
    owned = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(owned, {"training": json.dumps(facts)}))


def read_training(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts that `save_training` wrote.

    Raises:
        CheckpointError: it is none, or damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["training"])
        return load_file(path), facts
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a training checkpoint of edgekit ({error}); start anew without it"
        ) from error


def refuse_other_recipe(path: Path, ours: Mapping[str, object], theirs: Mapping[str, object]) -> None:
    """Check that a checkpoint's recipe is the one asked for; both are JSON values.

    Raises:
        OptionError: an option differs; the message names each with both values.
    """
    ours = json.loads(json.dumps(ours))
    differing = [
        f"{name} was {theirs.get(name)!r}, now {ours[name]!r}"
        for name in ours
        if theirs.get(name) != ours[name]
    ]
    if differing:
        raise OptionError(
            f"{path} was made with other options: {'; '.join(differing)}. "
            "Resume with the same ones, or start another training with --init and another --out"
        )


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
