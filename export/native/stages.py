"""Which stages have programs of their own making, beside those that are made of graphs."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edgekit.export.staging import StageRun
from edgekit.program import Program

Builder = Callable[[StageRun], Program]
BUILDERS: dict[type[nn.Module], Builder] = {}


def programs_of(kind: type[nn.Module]) -> Callable[[Builder], Builder]:
    """Register what writes the program of a stage whose module is of this class."""

    def register(builder: Builder) -> Builder:
        BUILDERS[kind] = builder
        return builder

    return register
