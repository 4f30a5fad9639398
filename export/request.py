"""What a caller of `edgekit.export` asks for, refused in a sentence where it is of the wrong kind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgekit.errors import OptionError


@dataclass(frozen=True)
class Request:
    """What to export; see `edgekit.export.exporter.export`."""

    model: str
    checkpoint: str | os.PathLike[str] | None = None
    target: str = "jetson"
    size: tuple[int, int] | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    out: str | os.PathLike[str] | None = None
    overwrite: bool = False
    parity: bool = True
    alternatives: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    precision: str | None = None
    batch: int | None = 1
    measure: bool = True
    classes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what nothing below could say well.

        Raises:
            OptionError: an argument is of another kind than it must be.
        """
        named = str, os.PathLike
        for argument, value, kinds, kind in (
            ("model", self.model, (str,), "the name of a network"),
            ("target", self.target, (str,), "the name of a device; see `edgekit targets`"),
            ("checkpoint", self.checkpoint, (*named, type(None)), "a path, or None for the shipped weights"),
            ("out", self.out, (*named, type(None)), "a path, or None"),
            ("config", self.config, (Mapping,), "options by their names"),
            ("alternatives", self.alternatives, (Mapping,), "networks by their names"),
        ):
            if not isinstance(value, kinds):
                raise OptionError(f"{argument}={value!r}: must be {kind}")
            if isinstance(value, Mapping) and not all(isinstance(name, str) for name in value):
                raise OptionError(f"{argument}={value!r}: names must be text")
        names = self.classes
        if names is not None and (
            not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names)
        ):
            raise OptionError(
                f"classes={names!r}: must be the classes' names in their order, a list of texts"
            )
