"""How a name that the user types becomes a staged model: a family's, or a function of his own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from edgekit.errors import OptionError, meant
from edgekit.models.families import FAMILIES
from edgekit.models.staged import Alternative, StagedModel


def build(
    model: str, checkpoint: str | Path | None, config: Mapping[str, object], size: tuple[int, int] | None
) -> StagedModel:
    """Build the one staged model that ``model`` names: a family, or ``package.module:function`` of the user's own.

    Raises:
        OptionError, CheckpointError: as `build_all`; or there are several.
    """
    built = build_all(model, checkpoint, config, size)
    if len(built) > 1:
        raise OptionError(
            f"{model} builds {len(built)} networks ({', '.join(one.name for one in built)}), not one"
        )
    return built[0].model


def build_all(
    model: str, checkpoint: str | Path | None, config: Mapping[str, object], size: tuple[int, int] | None
) -> list[Alternative]:
    """Build what ``model`` names: one staged model, under the model's own name, or alternatives of rising cost.

    A builder returns a `StagedModel`, or a list of `Alternative`. A family without ``checkpoint`` takes the weights that
    edgekit ships. A user's function is called with the keywords ``checkpoint``, ``config`` and ``size`` that it declares.

    Raises:
        OptionError: nothing has this name, or the function cannot be imported, returns something else, or takes no
            checkpoint, config or size although one was given.
        CheckpointError: the weights cannot be used.
    """
    family = FAMILIES.get(model)
    if family is not None:
        built = _resolve(family.builder)(checkpoint, config, size or family.default_size)
    elif ":" in model:
        built = _call_users(model, {"checkpoint": checkpoint, "config": config, "size": size})
    else:
        raise OptionError(
            f"model {model!r} is unknown{meant(model, FAMILIES)}; edgekit knows {', '.join(sorted(FAMILIES))}, "
            "and takes your own as package.module:function"
        )
    several = built if isinstance(built, list) and built else [Alternative(model.rpartition(":")[2], built)]  # type: ignore[arg-type]
    for one in several:
        staged = one.model if isinstance(one, Alternative) else one
        if not isinstance(one, Alternative) or not isinstance(staged, StagedModel):
            raise OptionError(
                f"{model} returned a {type(staged).__name__}, which is not a StagedModel: "
                "it needs family, task, options, inputs, stages() and reference()"
            )
    return list(several)


def _resolve(path: str) -> Callable[..., object]:
    module, _, function = path.partition(":")
    try:
        resolved = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise OptionError(
            f"model {path!r} cannot be imported: {error}; run edgekit in the folder that holds the module, or install it"
        ) from error
    if not callable(resolved):
        raise OptionError(f"model {path!r} is not a function")
    return resolved  # type: ignore[no-any-return]


def _call_users(path: str, offered: Mapping[str, object]) -> object:
    import inspect

    function = _resolve(path)
    signature = inspect.signature(function)
    parameters = signature.parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    taken = {name: value for name, value in offered.items() if takes_all or name in parameters}
    lost = [name for name, value in offered.items() if name not in taken and value not in (None, {})]
    if lost:
        raise OptionError(
            f"{path} has no parameter {', '.join(lost)}, so what was given for it would be lost: declare it"
        )
    try:
        signature.bind(**taken)
    except TypeError as error:
        raise OptionError(
            f"{path}: {error}; a builder is called with the keywords checkpoint, config and size, those that it declares"
        ) from error
    return function(**taken)
