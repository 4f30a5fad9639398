"""What a node of a graph says, as programs need it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.export.native.planes import Floats


class Unsupported(ExportError):
    """A graph has something that programs have not."""


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """A value's sides."""
    assert value is not None and value.shape is not None
    sides = tuple(value.shape)
    if not all(isinstance(side, int) for side in sides):
        raise Unsupported(f"{value.name}: its shape is not known beforehand")
    return tuple(int(str(side)) for side in sides)


def is_constant(value: ir.Value | None) -> bool:
    """Whether it is known before the graph runs."""
    return value is not None and value.const_value is not None


def constant(node: ir.Node, number: int) -> Floats:
    """A constant input of a node; `Unsupported` where it is none."""
    value = node.inputs[number]
    if value is None or value.const_value is None:
        raise cannot(node, f"its input {number} is not constant")
    return value.const_value.numpy()


def ints(node: ir.Node, name: str, default: Sequence[int] | None = None) -> Sequence[int]:
    """An attribute of several whole numbers."""
    found = node.attributes.get(name)
    if found is None:
        assert default is not None
        return default
    return list(found.as_ints())


def integer(node: ir.Node, name: str, default: int) -> int:
    """An attribute that is a whole number."""
    found = node.attributes.get(name)
    return default if found is None else int(found.as_int())


def number(node: ir.Node, name: str, default: float) -> float:
    """An attribute that is a number."""
    found = node.attributes.get(name)
    return default if found is None else float(found.as_float())


def cannot(node: ir.Node, why: str) -> Unsupported:
    """The error for a node that programs cannot run."""
    return Unsupported(f"{node.op_type} at {node.name}: {why}")
