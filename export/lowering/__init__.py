"""Equivalent forms of a stage that runtimes run faster or take at all; each file is one rewriting, and this is their register.

A lowering is registered for a type of stage module and returns variants by name: modules that take and give the same tensors
as the stage's own module. Which variant wins depends on the backend and the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
Lowering = Callable[[nn.Module, Shapes], dict[str, nn.Module]]

_LOWERINGS: dict[type[nn.Module], Lowering] = {}

# The first of these that a stage has is its default, before anything was measured on the device.
PREFERENCES: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("relaid", "winograd", "planes", "scan", "u8", "grid", "plain"),
    # Users report 3-D convolutions ten times as slow as elsewhere in TensorRT on Xavier NX.
    "tensorrt": ("batched", "scan", "grid", "plain"),
}


def lowers(kind: type[nn.Module]) -> Callable[[Lowering], Lowering]:
    """Register a function as the lowering of stages whose module is a ``kind``."""

    def register(lowering: Lowering) -> Lowering:
        _LOWERINGS[kind] = lowering
        return lowering

    return register


def variants(module: nn.Module, shapes: Shapes) -> dict[str, nn.Module]:
    """Every lowered form of a stage's ``module``, by name; ``{"plain": module}`` if nothing is registered for its type.

    ``shapes`` are the shapes of the stage's inputs, in the order in which the module takes them.
    """
    # Registration happens on import; imported here because those files import this one.
    from edgekit.export.lowering import anynet, msdnet, oqa  # noqa: F401

    lowering = _LOWERINGS.get(type(module))
    return {"plain": module} if lowering is None else lowering(module, shapes)


def default_variant(names: Mapping[str, object], backend: str) -> str:
    """The name that ``backend`` starts with among ``names``."""
    return next(name for name in (*PREFERENCES[backend], *names) if name in names)
