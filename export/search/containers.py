"""The two containers that networks are searched in: ONNX Runtime's 8-bit one, and the float one that TensorRT runs on a Jetson."""

from __future__ import annotations

import copy

import torch
from torch import nn

from edgekit.export.lowering.oqa_grid import GridLayer, with_layers
from edgekit.export.lowering.oqa_plan import integer_layer
from edgekit.export.lowering.oqa_u8 import U8Block, U8Head, U8Net, U8Tail
from edgekit.export.search.latency import Part
from edgekit.models.oqa import Block, OqaNet, QuantLayer, h_swish

Size = tuple[int, int]


def _sides(net: OqaNet, size: Size) -> list[Size]:
    """Height and width of what goes into every block, and of what comes out of the last one."""
    found = [(-(-size[0] // 2), -(-size[1] // 2))]
    for block in net.blocks:
        assert isinstance(block, Block)
        height, width = found[-1]
        stride = block.depthwise.conv.stride
        found.append((-(-height // stride), -(-width // stride)))
    return found


def _inputs(net: OqaNet, number: int) -> int:
    block = net.blocks[number]
    assert isinstance(block, Block)
    first = block.depthwise if block.expand is None else block.expand
    return first.conv.weight.shape[1] * first.conv.groups


class U8:
    """For ONNX Runtime: unsigned 8-bit codes, channels last."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def head(self, net: OqaNet) -> Part:
        """First layer and first block."""
        height, width = _sides(net, self.size)[1]
        first = _block(net, 0)
        module = nn.Sequential(U8Head(net), U8Block("blocks.0", first, height * width))
        return Part(module, torch.zeros(1, 3, *self.size))

    def block(self, net: OqaNet, number: int) -> Part:
        """One inverted residual block."""
        sides = _sides(net, self.size)
        height, width = sides[number + 1]
        module = U8Block(f"blocks.{number}", _block(net, number), height * width)
        return Part(module, torch.zeros(1, *sides[number], _inputs(net, number)))

    def tail(self, net: OqaNet) -> Part:
        """The last layers."""
        height, width = _sides(net, self.size)[-1]
        inputs = net.final.conv.weight.shape[1]
        return Part(U8Tail(net, height * width), torch.zeros(1, height, width, inputs))

    def whole(self, net: OqaNet) -> Part:
        """The network."""
        return Part(U8Net(net, self.size), torch.zeros(1, 3, *self.size))


class GridHead(nn.Module):
    """First layer and first block."""

    def __init__(self, net: OqaNet) -> None:
        super().__init__()
        self.first, self.norm, self.block = net.first, net.first_norm, grid_block(net, 0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.block(h_swish(self.norm(self.first(image))))  # type: ignore[no-any-return]


class GridTail(nn.Module):
    """The last layers."""

    def __init__(self, net: OqaNet) -> None:
        super().__init__()
        self.final = GridLayer(integer_layer("final", net.final))
        self.mix = GridLayer(integer_layer("mix", net.mix))
        self.classifier = net.classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.final(x).mean((2, 3), keepdim=True)
        return self.classifier(self.mix(x).flatten(1))  # type: ignore[no-any-return]


class Grid:
    """For every device: float32 on the grid."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def head(self, net: OqaNet) -> Part:
        """First layer and first block."""
        return Part(GridHead(net), torch.zeros(1, 3, *self.size))

    def block(self, net: OqaNet, number: int) -> Part:
        """One inverted residual block."""
        sides = _sides(net, self.size)[number]
        return Part(grid_block(net, number), torch.zeros(1, _inputs(net, number), *sides))

    def tail(self, net: OqaNet) -> Part:
        """The last layers."""
        sides = _sides(net, self.size)[-1]
        return Part(GridTail(net), torch.zeros(1, net.final.conv.weight.shape[1], *sides))

    def whole(self, net: OqaNet) -> Part:
        """The network."""
        return Part(with_layers(net, GridLayer), torch.zeros(1, 3, *self.size))


def grid_block(net: OqaNet, number: int) -> Block:
    """A copy of a block in float32 on the grid."""
    block = copy.deepcopy(_block(net, number))
    layers = {name: layer for name, layer in block.named_modules() if isinstance(layer, QuantLayer)}
    for name, layer in layers.items():
        block.set_submodule(name, GridLayer(integer_layer(name, layer)))
    return block


def _block(net: OqaNet, number: int) -> Block:
    block = net.blocks[number]
    assert isinstance(block, Block)
    return block
