"""Equivalent forms of a stage that runtimes run faster or take at all; each file is one rewriting, and this is their register.

A lowering is registered for a type of stage module and returns variants by name: modules that take and give the same tensors
as the stage's own module. Which variant wins depends on the backend and the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Opening:
    """A place between two blocks of a low-bit network, where its graph is opened to compare the blocks one by one.

    Attributes:
        name: of the block before it, in the stage's module and in the variant's.
        step, top: of the codes that the next block makes of its output.
        channels_last: whether the variant's tensor is (N, H, W, C) there.
    """

    name: str
    step: float
    top: int
    channels_last: bool


LayerForm = tuple[str, int, str, tuple[int, float | None] | None]


@dataclass(frozen=True)
class Form:
    """What a variant stores and computes, where that is not float32 throughout; a lowered module's attribute ``form``.

    Attributes:
        bits: of its quantised weights, as stored.
        precision: in which its products are computed, for what can be: ``float32`` or ``int8``.
        layers: of every layer its name, stored bits, precision, and where it is known what FP16 makes of it: the largest
            magnitude of a partial sum, and the share of codes that flip (None where none follow).
        runtime: the only backend that it is for, such as the one that has its operators; None for every one.
        openings: where to compare it with the reference; none for a network that is compared as a whole.
    """

    bits: int = 32
    precision: str = "float32"
    layers: tuple[LayerForm, ...] = ()
    runtime: str | None = None
    openings: tuple[Opening, ...] = ()


PLAIN = Form()
Shapes = Mapping[str, tuple[int, ...]]
Lowering = Callable[[nn.Module, Shapes], dict[str, nn.Module]]


@dataclass(frozen=True)
class Parts:
    """Parts of a stage that have several forms each, to be timed one by one and put together again.

    Attributes:
        forms: by part, modules of one input that compute the same; the simplest first.
        inputs: what each part is timed on.
        build: the whole stage with the form chosen for each part.
    """

    forms: Mapping[str, Mapping[str, nn.Module]]
    inputs: Mapping[str, Tensor]
    build: Callable[[Mapping[str, str]], nn.Module]


Choosing = Callable[[nn.Module, Shapes], Parts]

_LOWERINGS: dict[type[nn.Module], Lowering] = {}
_CHOICES: dict[type[nn.Module], Choosing] = {}

# The first of these that a stage has is its default, before anything was measured on the device.
PREFERENCES: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("measured", "winograd", "planes", "scan", "u8", "grid", "blocks", "plain"),
    "openvino": ("winograd", "planes", "scan", "codes", "grid", "chunks", "plain"),
    # Users report 3-D convolutions ten times as slow as elsewhere in TensorRT on Xavier NX.
    "tensorrt": ("batched", "scan", "grid", "chunks", "plain"),
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
    from edgekit.export.lowering import anynet, condensenet, msdnet, oqa  # noqa: F401

    lowering = _LOWERINGS.get(type(module))
    return {"plain": module} if lowering is None else lowering(module, shapes)


def chooses(kind: type[nn.Module]) -> Callable[[Choosing], Choosing]:
    """Register a function that names the parts of stages whose module is a ``kind``, and their forms."""

    def register(choosing: Choosing) -> Choosing:
        _CHOICES[kind] = choosing
        return choosing

    return register


def parts(module: nn.Module, shapes: Shapes) -> Parts | None:
    """The parts of a stage's ``module`` whose forms are worth choosing one by one; None if it is chosen as a whole."""
    choosing = _CHOICES.get(type(module))
    return None if choosing is None else choosing(module, shapes)


def default_variant(names: Iterable[str], backend: str) -> str:
    """The name that ``backend`` starts with among ``names``."""
    known = list(names)
    return next(name for name in (*PREFERENCES[backend], *known) if name in known)


def form_of(module: nn.Module) -> Form:
    """What a lowered module stores and computes."""
    form = getattr(module, "form", PLAIN)
    assert isinstance(form, Form)
    return form
