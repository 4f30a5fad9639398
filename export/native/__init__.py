"""Programs for the backend `native`: a stage's graph translated into convolutions over planes that are never moved.

Concatenations, indices and shuffles disappear, since they only name other planes; a batch norm and its ReLU join the convolution
before them, or are computed while the one behind them reads; weights that are all zero for a group's outputs are not multiplied.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.export.native.memory import written
from edgekit.export.native.translation import Translation, Unsupported
from edgekit.program import Program

__all__ = ["Unsupported", "program"]


def program(model: ir.Model) -> Program:
    """The program that computes what ``model`` computes, for one picture in float32.

    Raises:
        Unsupported: it has an operator, or a use of one, that programs have not; the message names the node.
    """
    translation = Translation(model.graph)
    return written(translation.steps, translation.grids, translation.inputs, translation.outputs)
