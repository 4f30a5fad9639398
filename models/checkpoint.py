"""Reading other people's checkpoint files safely: any torch format, nothing unpickled that could run code."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from edgekit import archives
from edgekit.errors import CheckpointError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile, in any order
_DEEPEST = 8  # wrappers around each other; a dictionary that holds itself has no end
_TAR_MAGIC = slice(257, 262)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the weights of a checkpoint file without the prefixes that DataParallel and ``torch.compile`` leave.

    Takes ``torch.save`` files of every age (legacy, tar and zip format), bare or wrapped in a training dictionary, and
    safetensors.

    Raises:
        CheckpointError: the file is missing, truncated, holds no weights, or would have to run code to be read.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a directory; name the checkpoint file in it")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    weights = _find_weights(loaded, path)
    if not weights:
        raise CheckpointError(
            f"{path}: holds no weights (looked at the top level and under {', '.join(_WRAPPERS)})"
        )
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}); copy it again") from error


def _read_torch(path: Path) -> object:
    absurd = archives.too_large(str(path), path.stat().st_size)
    if absurd is not None:
        raise CheckpointError(f"{path}: refused, {absurd}; get it from where it was trained")
    try:
        # What torch finds unusual about a file is no news to who exports it: it is read, or refused below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises of a damaged file depends on where the damage is
        if not _begins_as_torch(path):
            raise CheckpointError(
                f"{path}: not a torch checkpoint or a .safetensors file; perhaps it is a web page saved in its place, a git-lfs "
                "pointer, or compressed: get the file itself"
            ) from error
        if isinstance(error, UnpicklingError) and (
            "weights_only" in str(error) or "Unsupported" in str(error)
        ):
            raise CheckpointError(
                f"{path}: refused, it contains more than tensors and plain values, and reading that could run code; "
                "load it where you trust it and save only its state_dict"
            ) from error
        raise CheckpointError(
            f"{path}: damaged or not a torch checkpoint ({error or type(error).__name__}); copy it again"
        ) from error


def _begins_as_torch(path: Path) -> bool:
    """Whether the file is a zip archive, a pickle, or (torch before 0.1.10) a tar archive."""
    with open(path, "rb") as file:
        begin = file.read(_TAR_MAGIC.stop)
    return begin.startswith((b"PK\x03\x04", b"\x80")) or begin[_TAR_MAGIC] == b"ustar"


def _find_weights(loaded: object, path: Path) -> dict[str, Tensor]:
    for _ in range(_DEEPEST):
        if not isinstance(loaded, Mapping):
            return {}
        inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    weights = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}  # type: ignore[attr-defined]
    for name, tensor in weights.items():
        if (
            tensor.layout != torch.strided
            or tensor.is_quantized
            or tensor.is_complex()
            or tensor.device.type != "cpu"
        ):
            raise CheckpointError(
                f"{path}: {name} is no plain tensor of numbers ({tensor.layout}, {tensor.dtype}, {tensor.device.type}); "
                "save it as a dense one"
            )
    return weights


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put ``weights`` into ``model``; ``num_batches_tracked``, which inference does not read, may be absent.

    Raises:
        CheckpointError: tensors are missing, left over, of another shape or kind, or hold NaN or Inf.
    """
    expected = model.state_dict()
    needed = {name for name in expected if not name.endswith("num_batches_tracked")}
    missing = sorted(needed - weights.keys())
    unknown = sorted(weights.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{source}: no {type(model).__name__} with these options: "
            f"{len(missing)} tensors missing{_some(missing)}, {len(unknown)} unknown{_some(unknown)}"
        )
    for name in sorted(expected.keys() & weights.keys()):
        given, wanted = weights[name], expected[name]
        # Old versions of torch kept num_batches_tracked as one element, now it has no sides
        if given.shape != wanted.shape and not (name not in needed and given.numel() == 1):
            raise CheckpointError(
                f"{source}: {name} is {tuple(given.shape)}, these options need {tuple(wanted.shape)}"
            )
        if given.is_complex() or (given.is_floating_point() and not wanted.is_floating_point()):
            raise CheckpointError(f"{source}: {name} holds {given.dtype}, where {wanted.dtype} is needed")
        if not torch.isfinite(given).all():
            raise CheckpointError(
                f"{source}: {name} holds NaN or Inf; the file is damaged or its training diverged"
            )
    model.load_state_dict({name: weights.get(name, tensor) for name, tensor in expected.items()})


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
