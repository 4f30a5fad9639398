"""Reshapes of reshapes become one, and those that undo each other none."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.export.convert import convert
from edgekit.export.passes import simplify


class _Reshaped(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.view(6, 4).unsqueeze(0)
        return rows.view(3, 8).view(4, 6), rows.view(2, 3, 4) + x


def test_a_chain_of_reshapes_is_one_and_a_round_trip_is_none(onnxruntime_of) -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    model = simplify(convert(_Reshaped(), {"x": x}, ["a", "b"]))
    assert sorted(node.op_type for node in model.graph) == ["Add", "Reshape"]
    for got, want in zip(onnxruntime_of(model, x), _Reshaped()(x), strict=True):
        np.testing.assert_array_equal(got, want.numpy())
