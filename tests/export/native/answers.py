"""What a program answers, in numpy and in the kernels."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from edgekit.export.native import interpreter
from edgekit.kernels import Kernels
from edgekit.program import Program, decode, encode

Arrays = dict[str, np.ndarray]


def answers(
    kernels: Kernels, made: Program, inputs: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> list[Arrays]:
    """Of the program as a bundle keeps it: numpy's, and the kernels' twice."""
    kept = decode(encode(made), "a program")
    given = {name: x.numpy() for name, x in inputs.items()}
    found = [interpreter.run(kept, given, shapes)]
    handle = kernels.load(kept, [shapes[name] for name in kept.outputs], "a program")
    for _ in range(2):
        out = kernels.run(handle, [given[name] for name in kept.inputs])
        assert out is not None
        found.append(dict(zip(kept.outputs, out, strict=True)))
    return found


def agree(
    kernels: Kernels, made: Program, inputs: Sequence[Tensor], wanted: Sequence[Tensor], closely: float = 2e-5
) -> None:
    """That the program answers ``wanted``; ``closely`` is relative to the largest of each."""
    named = dict(zip(made.inputs, inputs, strict=True))
    shapes = {name: tuple(each.shape) for name, each in zip(made.outputs, wanted, strict=True)}
    for answer in answers(kernels, made, named, shapes):
        for name, want in zip(made.outputs, wanted, strict=True):
            limit = closely * max(1.0, float(want.abs().max()))
            np.testing.assert_allclose(answer[name], want.numpy(), rtol=0, atol=limit)
