"""Parity of low-bit networks: every block at the reference's own input, compared by the share of equal codes.

Two float32 summations of one layer differ in the last digit, and where a value lies that close to the middle between two codes,
the code flips. Each flip moves the next layers' sums, so whole networks drift apart although every layer is right. Hence the
graph is opened between its blocks, each of which then gets what the reference had there.

before: image -> block 1 -> block 2 -> ... -> logits
after:  image -> block 1 -> out,  in -> block 2 -> out,  ...,  in -> logits          all in one run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch import Tensor, nn

from edgekit.errors import ExportError, ParityError
from edgekit.export.lowering import Form, Opening
from edgekit.export.parity import ParityRow, table
from edgekit.export.staging import StageRun

MOST_FLIPPED = 1e-3  # share of the codes of a block's output that may differ
# The same where products are in float16: each value in front of a code is rounded to 11 bits, which moves 0.2 % of the codes of
# a layer, and a block has three.
HALF_FLIPPED = 1e-2
# Of the answer, relative, from the last opening on: one flipped code among its thousand inputs
MOST_APART = 1e-2


@dataclass(frozen=True)
class _Opened:
    """A graph opened at some of its values."""

    graph: bytes
    values: Mapping[str, str]  # by the block that writes it


def prove_blocks(run: StageRun, graphs: Mapping[str, bytes], forms: Mapping[str, Form]) -> list[ParityRow]:
    """Compare every block of every variant of a stage with the reference's.

    Raises:
        ParityError: too many codes differ; the message holds the table.
    """
    rows: list[ParityRow] = []
    for variant, graph in graphs.items():
        openings = forms[variant].openings
        half = any(computed == "float16" for _, _, computed, _ in forms[variant].layers)
        reference = _references(run, [opening.name for opening in openings])
        opened = _open(graph, openings, f"{run.stage.name}.{variant}")
        rows += _rows(run, variant, opened, openings, reference, HALF_FLIPPED if half else MOST_FLIPPED)
    if not all(row.passed for row in rows):
        raise ParityError(
            "exported blocks do not compute what the network's compute:\n"
            + table(rows)
            + "\nThis is a fault of edgekit; "
            "--no-parity writes the bundle all the same"
        )
    return rows


def _references(run: StageRun, names: Sequence[str]) -> dict[str, Tensor]:
    """What the modules of these names return on the stage's inputs."""
    module, found = run.stage.module, dict[str, Tensor]()

    def keep(name: str) -> object:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            found[name] = output

        return module.get_submodule(name).register_forward_hook(hook)

    handles = [keep(name) for name in names]
    try:
        with torch.no_grad():
            module(*run.inputs.values())
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
    return found


def _open(graph: bytes, openings: Sequence[Opening], source: str) -> _Opened:
    """``graph`` with the last value of every block as an output, and an input of its own for what reads it."""
    model = onnx.load_from_string(graph)
    shapes = {value.name: value for value in model.graph.value_info}
    values: dict[str, str] = {}
    for opening in openings:
        inside = [
            node
            for node in model.graph.node
            if node.name.startswith((f"{opening.name}/", f"{opening.name}."))
        ]
        if not inside:
            raise ExportError(f"{source}: no node of its graph belongs to {opening.name}")
        last = inside[-1].output[0]
        values[opening.name] = last
        for node in model.graph.node:
            if node not in inside:
                for k, name in enumerate(node.input):
                    if name == last:
                        node.input[k] = f"{last}/given"
        described = shapes[last]
        model.graph.output.append(described)
        given = helper.make_tensor_value_info(f"{last}/given", onnx.TensorProto.FLOAT, None)
        given.type.CopyFrom(described.type)
        model.graph.input.append(given)
    return _Opened(model.SerializeToString(), values)


def _rows(
    run: StageRun, variant: str, opened: _Opened, openings: Sequence[Opening], reference: Mapping[str, Tensor], most: float
) -> list[ParityRow]:  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(opened.graph, options, providers=["CPUExecutionProvider"])
    feeds = {name: tensor.numpy() for name, tensor in run.inputs.items()}
    wanted: dict[str, np.ndarray] = {}
    for opening in openings:
        array = reference[opening.name].numpy()
        wanted[opening.name] = (
            np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if opening.channels_last else array
        )
        feeds[f"{opened.values[opening.name]}/given"] = wanted[opening.name]
    names = [*opened.values.values(), *run.stage.outputs]
    given = dict(zip(names, session.run(names, feeds), strict=True))
    rows = [
        _codes_row(run, variant, opening, given[opened.values[opening.name]], wanted[opening.name], most)
        for opening in openings
    ]
    for name in run.stage.outputs:
        want = run.outputs[name].numpy()
        apart = float(np.abs(given[name] - want).max() / max(np.abs(want).max(), 1e-12))
        rows.append(
            ParityRow(
                run.stage.name, variant, name, "relative", apart, apart, MOST_APART, apart <= MOST_APART
            )
        )
    return rows


def _codes_row(
    run: StageRun, variant: str, opening: Opening, given: np.ndarray, want: np.ndarray, most: float
) -> ParityRow:
    codes = [np.rint(np.clip(array / opening.step, 0, opening.top)) for array in (given, want)]
    apart = np.abs(codes[0] - codes[1])
    share, worst = float((apart > 0).mean()), float(apart.max())
    passed = share <= most and bool(np.isfinite(given).all())
    return ParityRow(run.stage.name, variant, opening.name, "of the codes", share, worst, most, passed)
