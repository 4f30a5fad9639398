"""The families that edgekit knows, and how a name the user types becomes a staged model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import OptionError
from edgekit.models.staged import StagedModel

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Family:
    """One architecture: where its code is, what it is for, and what ``build`` does without a size.

    ``builder`` is ``package.module:function``, called as ``function(checkpoint, config, size)``; it is imported only when
    the family is used, since torch takes a second to import. Where ``default_size`` is None the builder is given no size, and
    takes that of the pictures that the network was trained on.
    """

    name: str
    summary: str
    paper: str
    task: str
    builder: str
    default_size: tuple[int, int] | None


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Make ``family`` known under its name."""
    _FAMILIES[family.name] = family
    return family


def families() -> list[Family]:
    """Every known family, by name."""
    return [_FAMILIES[name] for name in sorted(_FAMILIES)]


def build(
    model: str, checkpoint: str | Path | None, config: Mapping[str, object], size: tuple[int, int] | None
) -> StagedModel:
    """Build the staged model that ``model`` names: a family, or ``package.module:function`` of the user's own.

    A family without ``checkpoint`` takes the weights that edgekit ships. A user's function is called with the keywords
    ``checkpoint``, ``config`` and ``size`` that it declares.

    Raises:
        OptionError: nothing has this name, or the function cannot be imported, returns something else, or takes no
            checkpoint, config or size although one was given.
        CheckpointError: the weights cannot be used.
    """
    family = _FAMILIES.get(model)
    if family is not None:
        staged = _resolve(family.builder)(checkpoint, config, size or family.default_size)
    elif ":" in model:
        staged = _call_users(model, {"checkpoint": checkpoint, "config": config, "size": size})
    else:
        raise OptionError(
            f"model {model!r} is unknown; edgekit knows {', '.join(sorted(_FAMILIES))}, "
            "and takes your own as package.module:function"
        )
    if not isinstance(staged, StagedModel):
        raise OptionError(
            f"{model} returned a {type(staged).__name__}, which is no StagedModel: "
            "it needs family, task, options, inputs, stages() and reference()"
        )
    return staged


def _resolve(path: str) -> Callable[..., object]:
    module, _, function = path.partition(":")
    try:
        resolved = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"model {path!r} cannot be imported: {error}") from error
    if not callable(resolved):
        raise OptionError(f"model {path!r} is not a function")
    return resolved  # type: ignore[no-any-return]


def _call_users(path: str, offered: Mapping[str, object]) -> object:
    import inspect

    function = _resolve(path)
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    taken = {name: value for name, value in offered.items() if takes_all or name in parameters}
    lost = [name for name, value in offered.items() if name not in taken and value not in (None, {})]
    if lost:
        raise OptionError(f"{path} has no parameter {', '.join(lost)}, so what was given for it would be lost: declare it")
    return function(**taken)


register(
    Family(
        "anynet",
        "stereo disparity in stages, each refining the last",
        "arXiv 1810.11408",
        "stereo",
        "edgekit.models.anynet:build",
        (375, 1242),
    )
)
register(
    Family(
        "condensenet",
        "pictures classified by a dense network whose groups learn what to read",
        "arXiv 1711.09224",
        "classification",
        "edgekit.models.condensenet_checkpoint:build",
        None,
    )
)
