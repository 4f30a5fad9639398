"""OQA's containers: one subnet in float32, in signed INT8 and in two unsigned 8-bit forms, all on the same integer grid."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from edgekit.export.lowering import Form, LayerForm, Opening, Shapes, lowers
from edgekit.export.lowering.oqa_codes import CodesLayer
from edgekit.export.lowering.oqa_grid import GridLayer, int8_layer, with_layers
from edgekit.export.lowering.oqa_half import HalfLayer, in_half
from edgekit.export.lowering.oqa_u8 import FloatDepthwise, U8Block, U8Net
from edgekit.models.lsq import activation_levels
from edgekit.models.oqa import OqaNet, QuantLayer

# ONNX Runtime's own operators; operators of ONNX's own, of which TensorRT takes no UINT8, and ONNX Runtime fuses none.
WRITTEN_FOR = {"u8": "onnxruntime", "codes": "openvino"}


@lowers(OqaNet)
def lower_oqa(module: nn.Module, shapes: Shapes) -> dict[str, nn.Module]:
    """``u8`` for ONNX Runtime, for one picture at a time; ``codes`` for OpenVINO; ``qdq`` for TensorRT's INT8; ``grid`` in float."""
    assert isinstance(module, OqaNet)
    batch, _, height, width = next(iter(shapes.values()))
    forms: dict[str, nn.Module] = {"u8": U8Net(module, (height, width)).eval()} if batch == 1 else {}
    forms |= {"grid": with_layers(module, GridLayer), "qdq": with_layers(module, int8_layer)}
    forms["codes"] = with_layers(module, CodesLayer)
    halves = in_half(module, (height, width))
    for name, lowered in forms.items():
        runtime = WRITTEN_FOR.get(name)
        bits = module.mix.conv.bits
        precision = "float32" if name == "grid" else "int8"
        layers = _layers(module, lowered, name, {} if name == "u8" else halves)
        openings = _openings(module, channels_last=name == "u8")
        lowered.form = Form(bits, precision, layers, runtime, openings)  # type: ignore[assignment]
    return forms


def _layers(
    net: OqaNet, lowered: nn.Module, container: str, halves: Mapping[str, HalfLayer]
) -> tuple[LayerForm, ...]:
    """Every convolution and matrix product: its name in the subnet, stored bits, and in what it is computed."""
    quantised = net.quantised()
    if isinstance(lowered, U8Net):
        inside_float = _float_depthwise(lowered)
    elif container == "codes":
        inside_float = set()
    else:
        inside_float = {name for name, layer in quantised.items() if layer.conv.groups > 1}
    found: list[LayerForm] = []
    for name, module in net.named_modules():
        if name in quantised:
            computed = "float32" if container == "grid" or name in inside_float else "int8"
            half = halves.get(name) if computed == "float32" else None
            told = None if half is None else (half.reach, half.flipped)
            found.append((name, quantised[name].conv.bits, computed, told))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            found.append((name, 32, "float32", None))
    return tuple(found)


def _openings(net: OqaNet, channels_last: bool) -> tuple[Opening, ...]:
    """Behind every block; what follows the last one is the final layer."""
    readers = [block.expand for block in net.blocks[1:]] + [net.final]
    return tuple(
        Opening(
            f"blocks.{number}",
            float(reader.conv.sa.abs()),
            activation_levels(reader.conv.bits)[1],
            channels_last,
        )
        for number, reader in enumerate(readers)
        if isinstance(reader, QuantLayer)
    )


def _float_depthwise(lowered: U8Net) -> set[str]:
    return {
        f"blocks.{number}.depthwise"
        for number, block in enumerate(lowered.blocks)
        if isinstance(block, U8Block) and any(isinstance(step, FloatDepthwise) for step in block.steps)
    }
