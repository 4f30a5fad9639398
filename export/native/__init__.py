"""Programs for the backend `native`: a stage's graph translated into convolutions over planes that are never moved.

Concatenations, indices and shuffles disappear, since they only name other planes; a batch norm and its ReLU join the convolution
before them, or are computed while the one behind them reads; weights that are all zero for a group's outputs are not multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgekit.export.convert import convert
from edgekit.export.lowering import PLAIN, Form
from edgekit.export.native import anynet  # noqa: F401 (registers its stages)
from edgekit.export.native.graphs import program, programs
from edgekit.export.native.halves import FEW_USES
from edgekit.export.native.nodes import Unsupported
from edgekit.export.native.stages import BUILDERS
from edgekit.export.passes import simplify
from edgekit.export.staging import StageRun
from edgekit.program import Program, decode, encode, steps_of

__all__ = ["NATIVE", "Unsupported", "add_programs", "halved", "program"]

NATIVE = "native"  # the backend, and the variant that is for it


def add_programs(
    runs: Sequence[StageRun],
    graphs: Mapping[str, dict[str, bytes]],
    forms: Mapping[str, dict[str, Form]],
    halve: bool = True,
) -> list[str]:
    """Add a program of every stage to the graphs of a float32 network.

    Args:
        runs: its stages.
        graphs, forms: by stage and variant, of which ``native`` is added or replaced.
        halve: keep weights that are used for few pixels in two bytes each; see `edgekit.export.native.halves`.

    Returns:
        Why a stage has none, where one has not.
    """
    if any(form != PLAIN for run in runs for name, form in forms[run.stage.name].items() if name != NATIVE):
        return []  # a program would hold its low-bit weights as floats
    try:
        found = _of_stages(runs, halve)
    except Unsupported as error:
        return [f"no program for the backend {NATIVE}: {error}"]
    for name, made in found.items():
        graphs[name][NATIVE], forms[name][NATIVE] = encode(made), Form(runtime=NATIVE)
    return []


def halved(graphs: Mapping[str, Mapping[str, bytes]]) -> list[str]:
    """What the user should know of weights in two bytes: of how many layers, where there are any."""
    programs = [decode(found[NATIVE], name) for name, found in graphs.items() if NATIVE in found]
    layers = sum(kind == "halved" for made in programs for kind, _ in steps_of(made))
    if not layers:
        return []
    return [
        f"the backend {NATIVE} keeps the weights of {layers} layers, which are used for at most {FEW_USES} pixels a picture, in two bytes"
        " each; --precision float32 keeps all of them in four"
    ]


def _of_stages(runs: Sequence[StageRun], halve: bool) -> dict[str, Program]:
    builders = {run.stage.name: BUILDERS.get(type(run.stage.module)) for run in runs}
    if any(build is None for build in builders.values()):
        answers = {run.stage.exit for run in runs if run.stage.exit is not None}
        return programs({run.stage.name: _graph(run) for run in runs}, answers, halve)
    made = {}
    for run in runs:
        build = builders[run.stage.name]
        assert build is not None
        try:
            made[run.stage.name] = build(run)
        except Unsupported as error:
            raise Unsupported(f"{run.stage.name}, {error}") from error
    return made


def _graph(run: StageRun) -> ir.Model:
    return simplify(convert(run.stage.module, run.inputs, run.stage.outputs, run.stage.name))
