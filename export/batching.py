"""Graphs for more than one picture at a time: a fixed number, or any number.

Everything between torch and the graph knows static shapes only. A graph for any number of pictures is found by converting for
two and for three: where the two graphs differ, and only there, a shape depends on the number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from edgekit.errors import ExportError, OptionError
from edgekit.export.staging import StageRun, exits_of
from edgekit.export.targets import Target
from edgekit.models.staged import ImageInput, Stage, StagedModel

ALONE = 1e-3  # relative: how far a picture's answer may be from the one that it gets by itself
DIMENSION = "pictures"  # the name of the first side in a graph for any number of them


class Batched:
    """A staged model that is given ``batch`` pictures at once; a `StagedModel`."""

    def __init__(self, model: StagedModel, batch: int) -> None:
        self._model = model
        self.family, self.task, self.options = model.family, model.task, model.options
        self.inputs: Sequence[ImageInput] = [replace(spec, batch=batch) for spec in model.inputs]

    def stages(self) -> Sequence[Stage]:
        """The model's own stages."""
        return self._model.stages()

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The model's own exits, for all pictures."""
        return self._model.reference(*inputs)


def batched(model: StagedModel, batch: int | None, target: Target) -> StagedModel:
    """The model for ``batch`` pictures at once; None for any number.

    Raises:
        OptionError: there is no such number, the task has one picture (or pair) at a time, or the target's engines are built
            for fixed shapes.
    """
    if batch == 1 and not isinstance(batch, bool):
        return model
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise OptionError(
            f"batch={batch!r}: must be a positive whole number, or None (--batch any) for any number"
        )
    if model.task != "classification":
        raise OptionError(
            f"batch: {model.family} answers one frame at a time; batches are for classification"
        )
    if batch is None and target.tensorrt:
        raise OptionError(
            f"batch any: engines for {target.name} are built for fixed shapes; give a number, or --target cpu"
        )
    return model if batch is None else Batched(model, batch)


def check_apart(
    model: StagedModel, samples: Mapping[str, Tensor], runs: Sequence[StageRun], batch: int | None
) -> None:
    """Refuse a network for ``batch`` pictures at once, None for any number, that does not keep them apart.

    Raises:
        ExportError: a tensor between stages has not one row a picture, a picture's answer depends on those beside it, or the
            network takes no more than one.
    """
    if batch == 1:
        return
    count = batch or 1
    read = {name for run in runs for name in run.stage.inputs}
    for run in runs:
        for name, tensor in run.outputs.items():
            if name in read and tensor.shape[:1] != (count,):
                raise ExportError(
                    f"{run.stage.name} hands on {name} of shape {tuple(tensor.shape)}: of {batch or 'any number of'} pictures, the "
                    "first side of every tensor between stages must be their number"
                )
    pictures = {
        name: torch.cat((tensor, tensor.flip(-1))) if batch is None else tensor
        for name, tensor in samples.items()
    }
    try:
        with torch.no_grad():
            together = model.reference(*pictures.values())
            alone = model.reference(*(tensor[:1] for tensor in pictures.values()))
    except Exception as error:  # whatever the user's network raises
        raise ExportError(
            f"reference() raised {type(error).__name__} when it was given several pictures at once, or one of them alone: {error}"
        ) from error
    for stage, one, own in zip(exits_of(runs), together, alone, strict=True):
        if one.shape[:1] == own.shape[:1] or (one[:1] - own).abs().max() > ALONE * own.abs().max():
            raise ExportError(
                f"{stage}: what it answers to one picture depends on those beside it, so that it cannot be given several at once"
            )


def repeated(inputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """A stage's inputs of one picture, for ``count`` of them; see `check_apart`."""
    return {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in inputs.items()}


def any_number(two: bytes, three: bytes) -> bytes:
    """The graph for any number of pictures, from the same graph for two and for three.

    Raises:
        ExportError: something other than a shape depends on the number.
    """
    model, other = onnx.load_from_string(two), onnx.load_from_string(three)
    graph, name = model.graph, model.graph.name
    constants, others = _constants(model), _constants(other)
    if [node.op_type for node in graph.node] != [node.op_type for node in other.graph.node]:
        raise ExportError(f"{name}: the graph for two pictures has other operators than that for three")
    for node, counterpart in zip(graph.node, other.graph.node, strict=True):
        if list(node.attribute) != list(counterpart.attribute):
            raise ExportError(f"{node.name}: its attributes depend on the number of pictures")
        for index, (own, its) in enumerate(zip(node.input, counterpart.input, strict=True)):
            if own not in constants or np.array_equal(constants[own], others[its]):
                continue
            if node.op_type != "Reshape" or index != 1:
                raise ExportError(
                    f"{node.name}: its constant {own} depends on the number of pictures; write the module so that only shapes do"
                )
            shape = _open(node.name, constants[own], others[its])
            node.input[1] = f"{node.name}.shape"
            graph.initializer.append(numpy_helper.from_array(shape, node.input[1]))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = DIMENSION
    del graph.value_info[:]
    read = {name for node in graph.node for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"{name}: no graph for any number of pictures: {error}") from error
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}


def _open(node: str, two: np.ndarray, three: np.ndarray) -> np.ndarray:
    """A Reshape's target with -1 where it grows with the number of pictures."""
    grows = two != three if two.shape == three.shape else np.ones(2, bool)
    if grows.sum() != 1 or (two[grows] * 3 != three[grows] * 2).any():
        raise ExportError(
            f"{node}: its shape {two.tolist()} depends on the number of pictures in more than one side"
        )
    shape = two.copy()
    shape[grows] = -1
    return shape
