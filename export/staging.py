"""A staged model run once through its reference modules: what every stage reads, writes and costs, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.errors import ExportError
from edgekit.export.macs import CostCounter
from edgekit.models.staged import Stage, StagedModel


@dataclass(frozen=True)
class StageRun:
    """One stage on real tensors.

    Attributes:
        stage: as the model declares it.
        inputs, outputs: tensors by name, in the stage's order.
        macs: multiply-adds of its convolutions and matrix products.
        parameters: elements of the parameters that it reads.
    """

    stage: Stage
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    macs: int
    parameters: int


def check_stages(stages: Sequence[Stage], inputs: Sequence[str]) -> None:
    """Refuse stages whose names do not fit together.

    Raises:
        ExportError: there are none or none has an exit, one is of the wrong kind, they are not called stage1, stage2, ..., two
            tensors have one name, a stage reads what nothing before it writes, or an exit is none of its stage's outputs.
    """
    if not stages:
        raise ExportError("stages() returns none; a bundle needs at least one stage with an exit")
    for number, stage in enumerate(stages, 1):
        _check_kind(stage, number)
    written: dict[str, str] = dict.fromkeys(inputs, "the network's input")
    if len(written) < len(inputs):
        raise ExportError(f"two inputs have one name: {', '.join(inputs)}")
    later = {name: stage.name for stage in stages for name in stage.outputs}
    names = [stage.name for stage in stages]
    wanted = [f"stage{k}" for k in range(1, len(stages) + 1)]
    if names != wanted:
        raise ExportError(
            f"the stages are called {', '.join(names)}; call them {', '.join(wanted)}, in the order in which they run"
        )
    for stage in stages:
        for name in stage.inputs:
            if name not in written:
                writer = later.get(name)
                where = (
                    "nothing writes it"
                    if writer is None
                    else "writes it itself"
                    if writer == stage.name
                    else f"{writer} writes it, which runs later"
                )
                raise ExportError(
                    f"{stage.name} reads {name!r}, but {where}; it can read {', '.join(written)}"
                )
        for name in stage.outputs:
            if name in written:
                raise ExportError(
                    f"{stage.name} writes {name!r}, a name that {written[name]} has already; give its output another one"
                )
            written[name] = stage.name
        if stage.exit is not None and stage.exit not in stage.outputs:
            raise ExportError(
                f"{stage.name}: its exit {stage.exit!r} is none of its outputs {', '.join(stage.outputs)}"
            )
    if all(stage.exit is None for stage in stages):
        raise ExportError("no stage has an exit; name the output that is an answer in Stage.exit")


def _check_kind(stage: object, number: int) -> None:
    if not isinstance(stage, Stage):
        raise ExportError(
            f"stages() gives a {type(stage).__name__} as stage {number}; it must be an edgekit.models.staged.Stage"
        )
    if not isinstance(stage.module, nn.Module):
        raise ExportError(
            f"{stage.name}: its module is a {type(stage.module).__name__}; it must be a torch.nn.Module, whose weights can be found"
        )
    for what, names in (("inputs", stage.inputs), ("outputs", stage.outputs)):
        if not isinstance(names, (tuple, list)) or not all(isinstance(n, str) and n for n in names):
            raise ExportError(
                f"{stage.name}: its {what} are {names!r}; they must be a tuple of names, such as ('image',)"
            )
        if len(set(names)) < len(names) and what == "inputs":
            raise ExportError(f"{stage.name} reads one tensor twice: {', '.join(names)}; once is enough")


def run_stages(model: StagedModel, stages: Sequence[Stage], inputs: Mapping[str, Tensor]) -> list[StageRun]:
    """Run every stage once on ``inputs``, each on the reference's own tensors.

    Raises:
        ExportError: a stage returns something else than it declares, raises, or exits differ in kind.
    """
    check_stages(stages, list(inputs))
    known: dict[str, Tensor] = dict(inputs)
    runs: list[StageRun] = []
    for stage in stages:
        taken = {name: known[name] for name in stage.inputs}
        module = stage.module.eval()
        try:
            with torch.no_grad(), CostCounter(module) as cost:
                returned: object = module(*taken.values())
        except Exception as error:  # whatever the user's module raises
            raise ExportError(
                f"{stage.name}: {type(module).__name__} raised {type(error).__name__}: {error}"
            ) from error
        outputs = _named(stage, returned)
        known.update(outputs)
        runs.append(StageRun(stage, taken, outputs, cost.macs, cost.parameters))
    _check_exits(model.task, runs)
    return runs


def exits_of(runs: Sequence[StageRun]) -> dict[str, Tensor]:
    """The answers by stage name."""
    return {run.stage.name: run.outputs[run.stage.exit] for run in runs if run.stage.exit is not None}


def _named(stage: Stage, returned: object) -> dict[str, Tensor]:
    tensors = (
        [returned]
        if isinstance(returned, Tensor)
        else list(returned)
        if isinstance(returned, (tuple, list))
        else None
    )
    if tensors is None or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise ExportError(
            f"{stage.name}: its module returns a {type(returned).__name__}; it must return a tensor, or a tuple of tensors in "
            f"the order of its outputs ({', '.join(stage.outputs)})"
        )
    if len(tensors) != len(stage.outputs):
        raise ExportError(
            f"{stage.name}: its module returns {len(tensors)} tensor{'s' * (len(tensors) != 1)}, its outputs are "
            f"{len(stage.outputs)}: {', '.join(stage.outputs)}"
        )
    return dict(zip(stage.outputs, tensors, strict=True))


def _check_exits(task: str, runs: Sequence[StageRun]) -> None:
    exits = exits_of(runs)
    shapes = {name: tuple(tensor.shape) for name, tensor in exits.items()}
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if len(set(shapes.values())) > 1:
        raise ExportError(
            f"exits of different kinds: {listed}; every exit answers the same question in the same shape"
        )
    rank = {"stereo": 4, "classification": 2}.get(task)
    if rank is None:
        raise ExportError(f"task {task!r} is unknown; edgekit knows stereo and classification")
    if any(len(shape) != rank for shape in shapes.values()):
        wanted = "disparities (1, 1, H, W)" if task == "stereo" else "logits (N, classes)"
        raise ExportError(f"exits of a {task} network are {wanted}: {listed}")
    for name, tensor in exits.items():
        if not torch.isfinite(tensor).all():
            raise ExportError(
                f"{name}: its exit holds NaN or Inf on an ordinary picture; the weights are damaged"
            )
