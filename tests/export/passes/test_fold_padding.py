"""A convolution pads by itself wherever that is the same function."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.convert import convert
from edgekit.export.passes import simplify


class _Padded(nn.Module):
    def __init__(self, pads: list[int], value: float = 0.0, mode: str = "constant") -> None:
        super().__init__()
        self.conv, self.pads, self.value, self.mode = nn.Conv2d(3, 4, 3, padding=1), pads, value, mode

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, self.pads, self.mode, self.value if self.mode == "constant" else None)
        return self.conv(padded)  # type: ignore[no-any-return]


def _operators(onnxruntime_of, module: nn.Module) -> Counter[str]:
    x = torch.randn(1, 3, 6, 7)
    model = simplify(convert(module.eval(), {"x": x}, ["y"]))
    with torch.no_grad():
        np.testing.assert_allclose(onnxruntime_of(model, x)[0], module(x).numpy(), rtol=1e-4, atol=1e-4)
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("pads", [[1, 0], [0, 2, 1, 0], [1, 1, 1, 1]])
def test_zeros_around_a_picture_become_the_convolutions_own(onnxruntime_of, pads: list[int]) -> None:
    assert _operators(onnxruntime_of, _Padded(pads)) == {"Conv": 1}


@pytest.mark.parametrize(
    "module",
    [_Padded([1, 1], 2.0), _Padded([1, 1, 1, 1], mode="reflect")],
    ids=["value", "mode"],
)
def test_any_other_padding_stays(onnxruntime_of, module: nn.Module) -> None:
    assert _operators(onnxruntime_of, module)["Pad"] == 1
