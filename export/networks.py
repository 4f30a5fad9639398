"""The networks of one bundle on their way into it: built, run once, brought into the order of their cost, and converted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from edgekit.errors import ExportError, OptionError, meant
from edgekit.export.sample_inputs import sample_inputs
from edgekit.export.staging import StageRun, check_stages, exits_of, run_stages
from edgekit.models import registry
from edgekit.models.staged import Alternative, ImageInput, StagedModel


@dataclass(frozen=True)
class Wanted:
    """One network to build: what `edgekit.export` takes as ``model``, ``checkpoint``, ``size`` and ``config``.

    ``accuracy`` and ``source`` are noted for its last exit.
    """

    model: str
    checkpoint: Path | None = None
    size: tuple[int, int] | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    accuracy: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class Network:
    """One network, run once.

    Attributes:
        name: the user's.
        model: as it was built.
        samples: the inputs it was run on, by name.
        runs: its stages, under the names that they have in the bundle.
        exits: what the uncut network answers, by stage.
        accuracies: of its exits, where they are known, by stage.
        source: see `edgekit.models.staged.Alternative`.
        options: the model's, and what its classes are called.
    """

    name: str
    model: StagedModel
    samples: Mapping[str, Tensor]
    runs: Sequence[StageRun]
    exits: Mapping[str, Tensor]
    accuracies: Mapping[str, float]
    source: str | None
    options: Mapping[str, object]

    @property
    def macs(self) -> int:
        """Multiply-adds of all its stages."""
        return sum(run.macs for run in self.runs)


MOST_PIXELS = 2**26  # 8192x8192: a picture of it is 0.8 GB as a tensor, and no index leaves 32 bits
FIELDS = ("accuracy", "checkpoint", "config", "model", "size", "source")


def wanted(base: Wanted, alternatives: Mapping[str, Mapping[str, object]]) -> dict[str, Wanted]:
    """What each alternative asks for; what it does not say is as in ``base``, and its ``config`` goes over that one.

    Raises:
        OptionError: a field is unknown or of the wrong kind.
    """
    found: dict[str, Wanted] = {}
    for name, given in alternatives.items():
        for key in given:
            if key not in FIELDS:
                raise OptionError(
                    f"alternative {name}: there is no field {key!r}{meant(key, FIELDS)}; it takes {', '.join(FIELDS)}"
                )
        config, size, accuracy = given.get("config", {}), given.get("size", base.size), given.get("accuracy")
        if not isinstance(config, Mapping):
            raise OptionError(f"alternative {name}: config must be an object of options, not {config!r}")
        if accuracy is not None and not isinstance(accuracy, (int, float)):
            raise OptionError(f"alternative {name}: accuracy must be a number, not {accuracy!r}")
        checkpoint, model, source = (given.get(key) for key in ("checkpoint", "model", "source"))
        for key, value in (("checkpoint", checkpoint), ("model", model), ("source", source)):
            if value is not None and not isinstance(value, (str, os.PathLike)):
                raise OptionError(f"alternative {name}: {key} must be a text, not {value!r}")
        found[name] = Wanted(
            model=str(model or base.model),
            checkpoint=base.checkpoint if checkpoint is None else Path(str(checkpoint)),
            size=None if size is None else checked_size(size),
            config={**base.config, **config},
            accuracy=None if accuracy is None else float(accuracy),
            source=None if source is None else str(source),
        )
    return found


def checked_size(size: object) -> tuple[int, int]:
    """``size`` as (height, width) in px.

    Raises:
        OptionError: it is something else, or larger than any memory here would hold the network's tensors of.
    """
    sides = tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(sides) != 2 or not all(
        isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides
    ):
        raise OptionError(f"size={size!r}: must be (height, width) in px, such as (384, 1248)")
    if sides[0] * sides[1] > MOST_PIXELS:
        raise OptionError(
            f"size {sides[0]}x{sides[1]}: at most {MOST_PIXELS // 10**6} million px (height x width)"
        )
    return sides[0], sides[1]


def build(name: str | None, request: Wanted) -> list[Alternative]:
    """The networks of one request, under their names.

    Raises:
        OptionError, CheckpointError: it cannot be built, or is not of the size that was asked for.
    """
    built = registry.build_all(request.model, request.checkpoint, request.config, request.size)
    for one in built:
        _check_inputs(one.model, request)
    if name is None:
        return built
    if len(built) > 1:
        raise OptionError(f"alternative {name} builds {len(built)} networks; give each of them its own name")
    return [replace(built[0], name=name, accuracy=request.accuracy, source=request.source)]


def run(
    alternatives: Sequence[Alternative], begin: Callable[[str], None], classes: Sequence[str] | None = None
) -> list[Network]:
    """Every network run once on sample pictures, the cheapest first, its stages numbered on from those before.

    ``begin`` is told what is done; ``classes`` are the names of the classes, where the caller knows them.

    Raises:
        ExportError: stages do not fit together, or the networks do not answer the same question.
        OptionError: two have the same name, or there is another number of classes.
    """
    names = [one.name for one in alternatives]
    if len(set(names)) < len(names):
        raise OptionError(f"two alternatives have one name: {', '.join(names)}")
    networks = []
    for one in alternatives:
        try:
            stages = list(one.model.stages())
            check_stages(stages, [spec.name for spec in one.model.inputs])
            begin("running the network" if len(alternatives) == 1 else f"running {one.name}")
            samples = sample_inputs(one.model.inputs, one.model.task)
            runs = run_stages(one.model, stages, samples)
            exits = _reference(one.model, runs, samples)
        except ExportError as error:
            if len(alternatives) == 1:
                raise
            raise ExportError(f"{one.name}: {error}") from error
        options = {**one.model.options, **_classes(one.model, exits, classes)}
        networks.append(
            Network(one.name, one.model, samples, runs, exits, _accuracies(one, runs), one.source, options)
        )
    networks.sort(key=lambda network: network.macs)
    _check_together(networks)
    numbered, before = [], 0
    for network in networks:
        numbered.append(_numbered(network, before))
        before += len(network.runs)
    return numbered


def own_inputs(networks: Sequence[Network], index: int) -> Sequence[ImageInput]:
    """The inputs of a network that are not those of the first; none where they are."""
    inputs = networks[index].model.inputs
    return () if list(inputs) == list(networks[0].model.inputs) else inputs


def _classes(
    model: StagedModel, exits: Mapping[str, Tensor], classes: Sequence[str] | None
) -> dict[str, object]:
    """The option that names the classes; none where they were not told.

    Raises:
        OptionError: the network has none, or another number of them.
    """
    if classes is None:
        return {}
    if model.task != "classification":
        raise OptionError(f"classes: {model.family} is a network for {model.task}, which has none")
    known = next(iter(exits.values())).shape[1]
    if len(classes) != known:
        raise OptionError(f"{len(classes)} names of classes, and the network has {known} classes; name each")
    return {"classes": list(classes)}


def _accuracies(one: Alternative, runs: Sequence[StageRun]) -> dict[str, float]:
    """What the model itself knows of its exits; what was told along with it is the last one's."""
    known = dict(getattr(one.model, "accuracies", {}))
    last = [run.stage.name for run in runs if run.stage.exit is not None][-1]
    return known if one.accuracy is None else {**known, last: one.accuracy}


def _numbered(network: Network, before: int) -> Network:
    names = {run.stage.name: f"stage{before + k}" for k, run in enumerate(network.runs, 1)}
    runs = [replace(run, stage=replace(run.stage, name=names[run.stage.name])) for run in network.runs]
    exits = {names[stage]: exit_ for stage, exit_ in network.exits.items()}
    accuracies = {names[stage]: share for stage, share in network.accuracies.items() if stage in names}
    return replace(network, runs=runs, exits=exits, accuracies=accuracies)


def _check_together(networks: Sequence[Network]) -> None:
    """Refuse networks that nobody could choose among."""
    first = networks[0]
    for other in networks[1:]:
        for what, one, two in (
            ("the task", first.model.task, other.model.task),
            ("the inputs", _names(first.model), _names(other.model)),
            ("exits of the shape", _shape(first), _shape(other)),
        ):
            if one != two:
                raise ExportError(
                    f"alternatives answer the same question: {first.name} has {what} {one}, {other.name} {two}"
                )


def _names(model: StagedModel) -> str:
    return ", ".join(spec.name for spec in model.inputs)


def _shape(network: Network) -> tuple[int, ...]:
    return tuple(next(iter(exits_of(network.runs).values())).shape)


def _check_inputs(model: StagedModel, request: Wanted) -> None:
    """Refuse a model whose pictures are not of the size that was asked for."""
    for spec in model.inputs:
        if request.size is not None and (spec.height, spec.width) != request.size:
            height, width = request.size
            raise OptionError(
                f"size {height}x{width} was asked for, and {request.model} built its input {spec.name} for "
                f"{spec.height}x{spec.width}; let it use the size it is given"
            )


def _reference(
    model: StagedModel, runs: Sequence[StageRun], samples: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The uncut network's exits by stage.

    Raises:
        ExportError: it raises, or they are no tensors, not as many as the stages have, or of other shapes.
    """
    try:
        with torch.no_grad():
            given: object = model.reference(*samples.values())
    except Exception as error:  # whatever the user's network raises
        raise ExportError(f"reference() raised {type(error).__name__}: {error}") from error
    found = list(given) if isinstance(given, (tuple, list)) else [given]
    exits = [exit_ for exit_ in found if isinstance(exit_, Tensor)]
    other = next((type(exit_).__name__ for exit_ in found if not isinstance(exit_, Tensor)), None)
    if other is not None or isinstance(given, Tensor):
        came = f"a {other}" if other is not None else "one tensor"
        raise ExportError(f"reference() returns {came}, where it must return a list of tensors, one an exit")
    expected = {r.stage.name: r.outputs[r.stage.exit] for r in runs if r.stage.exit is not None}
    if len(exits) != len(expected):
        raise ExportError(
            f"reference() returns {len(exits)} exits, the stages have {len(expected)}: {', '.join(expected)}"
        )
    for (name, tensor), exit_ in zip(expected.items(), exits, strict=True):
        if tensor.shape != exit_.shape:
            raise ExportError(
                f"{name}: its exit has shape {tuple(tensor.shape)}, reference() gives {tuple(exit_.shape)} there"
            )
    return dict(zip(expected, exits, strict=True))
