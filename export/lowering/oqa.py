"""OQA's containers: one subnet in float32, in signed INT8 and in unsigned 8-bit form, all three on the same integer grid."""

from __future__ import annotations

from torch import nn

from edgekit.export.lowering import Shapes, lowers
from edgekit.export.lowering.oqa_grid import GridLayer, QdqLayer, with_layers
from edgekit.export.lowering.oqa_u8 import U8Net
from edgekit.models.oqa import OqaNet


@lowers(OqaNet)
def lower_oqa(module: nn.Module, shapes: Shapes) -> dict[str, nn.Module]:
    """``u8`` for ONNX Runtime, for one picture at a time; ``grid`` for what computes in float; ``qdq`` for TensorRT's INT8."""
    assert isinstance(module, OqaNet)
    batch, _, height, width = next(iter(shapes.values()))
    forms: dict[str, nn.Module] = {"u8": U8Net(module, (height, width)).eval()} if batch == 1 else {}
    return forms | {"grid": with_layers(module, GridLayer), "qdq": with_layers(module, QdqLayer)}
