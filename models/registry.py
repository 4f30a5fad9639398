"""The families that edgekit knows, and how a name the user types becomes a staged model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import OptionError, meant
from edgekit.models.staged import Alternative, StagedModel

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
    family = _FAMILIES.get(model)
    if family is not None:
        built = _resolve(family.builder)(checkpoint, config, size or family.default_size)
    elif ":" in model:
        built = _call_users(model, {"checkpoint": checkpoint, "config": config, "size": size})
    else:
        raise OptionError(
            f"model {model!r} is unknown{meant(model, _FAMILIES)}; edgekit knows {', '.join(sorted(_FAMILIES))}, "
            "and takes your own as package.module:function"
        )
    several = built if isinstance(built, list) and built else [Alternative(model.rpartition(":")[2], built)]  # type: ignore[arg-type]
    for one in several:
        staged = one.model if isinstance(one, Alternative) else one
        if not isinstance(one, Alternative) or not isinstance(staged, StagedModel):
            raise OptionError(
                f"{model} returned a {type(staged).__name__}, which is no StagedModel: "
                "it needs family, task, options, inputs, stages() and reference()"
            )
    return list(several)


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
        raise OptionError(
            f"{path} has no parameter {', '.join(lost)}, so what was given for it would be lost: declare it"
        )
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
register(
    Family(
        "imta",
        "MSDNet whose exits build on the answer before",
        "arXiv 1908.06294",
        "classification",
        "edgekit.models.imta:build",
        None,
    )
)
register(
    Family(
        "msdnet",
        "pictures classified at several depths, the easy ones early",
        "arXiv 1703.09844",
        "classification",
        "edgekit.models.msdnet_stages:build",
        None,
    )
)
register(
    Family(
        "oqa",
        "pictures classified by subnets of 4, 3 or 2 bits, cut from one supernet",
        "arXiv 2010.04354",
        "classification",
        "edgekit.models.oqa_staged:build",
        None,
    )
)
