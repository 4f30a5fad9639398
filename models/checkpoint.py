"""Reading other people's checkpoint files safely: any torch format, nothing unpickled that could run code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from edgekit.errors import CheckpointError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the weights of a checkpoint file without the ``module.`` prefix that DataParallel leaves.

    Takes ``torch.save`` files of every age (legacy, tar and zip format), bare or wrapped in a training dictionary, and
    safetensors.

    Raises:
        CheckpointError: the file is missing, truncated, holds no weights, or would have to run code to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    weights = _find_weights(loaded)
    if not weights:
        raise CheckpointError(f"{path}: holds no weights (looked at the top level and under {', '.join(_WRAPPERS)})")
    while all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    return weights


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}); copy it again") from error


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise CheckpointError(
                f"{path}: refused, it contains more than tensors and plain values, and reading that could run code; "
                "load it where you trust it and save only its state_dict"
            ) from error
        raise CheckpointError(f"{path}: damaged or not a torch checkpoint ({error}); copy it again") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged or not a torch checkpoint ({error}); copy it again") from error


def _find_weights(loaded: object) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        return {}
    for key in _WRAPPERS:
        if isinstance(loaded.get(key), Mapping):
            return _find_weights(loaded[key])
    return {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put ``weights`` into ``model``; ``num_batches_tracked``, which inference does not read, may be absent.

    Raises:
        CheckpointError: tensors are missing, left over, of another shape, or hold NaN or Inf.
    """
    expected = model.state_dict()
    needed = {name for name in expected if not name.endswith("num_batches_tracked")}
    missing = sorted(needed - weights.keys())
    unknown = sorted(weights.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{source}: not a {type(model).__name__} with these options: "
            f"{len(missing)} tensors missing{_some(missing)}, {len(unknown)} unknown{_some(unknown)}"
        )
    for name in sorted(needed):
        if weights[name].shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: {name} is {tuple(weights[name].shape)}, these options need {tuple(expected[name].shape)}"
            )
        if not torch.isfinite(weights[name]).all():
            raise CheckpointError(f"{source}: {name} holds NaN or Inf; the file is damaged or its training diverged")
    model.load_state_dict({name: weights.get(name, tensor) for name, tensor in expected.items()})


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
