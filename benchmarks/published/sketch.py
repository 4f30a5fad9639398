"""Draws a network as a graph of shapes: what it would compute and move, without a weight of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

Sides = int | tuple[int, int]


class Sketch:
    """A graph under construction; every method takes and returns tensors, batch norms are folded where they can be.

    Attributes:
        image: what the network reads, NCHW.
    """

    def __init__(self, channels: int, height: int, width: int, batch: int = 1) -> None:
        self._nodes: list[ir.Node] = []
        self.image = ir.Value(name="image", shape=ir.Shape((batch, channels, height, width)))

    def model(self, *results: ir.Value) -> ir.Model:
        """The finished graph."""
        graph = ir.Graph(
            [self.image], list(results), nodes=self._nodes, opset_imports={"": 13}, name="sketch"
        )
        return ir.Model(graph, ir_version=8)

    def conv(
        self,
        x: ir.Value,
        channels: int,
        kernel: Sides,
        stride: int = 1,
        padding: Sides | None = None,
        groups: int = 1,
        dilation: int = 1,
        relu: bool = True,
    ) -> ir.Value:
        """A convolution, by default of ``same`` padding, and a rectifier after it."""
        kh, kw = _pair(kernel)
        ph, pw = (dilation * (kh - 1) // 2, dilation * (kw - 1) // 2) if padding is None else _pair(padding)
        n, c, h, w = sizes(x)
        weight = _weight((channels, c // groups, kh, kw))
        out = (
            n,
            channels,
            (h + 2 * ph - dilation * (kh - 1) - 1) // stride + 1,
            (w + 2 * pw - dilation * (kw - 1) - 1) // stride + 1,
        )
        y = self._node(
            "Conv", [x, weight], out, group=groups, strides=[stride, stride], dilations=[dilation, dilation]
        )
        return self.relu(y) if relu else y

    def dense(self, x: ir.Value, features: int, relu: bool = False) -> ir.Value:
        """A matrix product of everything that ``x`` holds of a picture."""
        n, *rest = sizes(x)
        flat = self._node("Reshape", [x], (n, int(np.prod(rest))))
        y = self._node("Gemm", [flat, _weight((int(np.prod(rest)), features))], (n, features))
        return self.relu(y) if relu else y

    def relu(self, x: ir.Value) -> ir.Value:
        """A rectifier."""
        return self._node("Relu", [x], sizes(x))

    def norm(self, x: ir.Value) -> ir.Value:
        """A batch norm that no convolution comes before."""
        return self._node("BatchNormalization", [x, _weight((sizes(x)[1],))], sizes(x))

    def add(self, x: ir.Value, y: ir.Value, relu: bool = False) -> ir.Value:
        """A sum of two tensors."""
        z = self._node("Add", [x, y], sizes(x))
        return self.relu(z) if relu else z

    def concat(self, *values: ir.Value) -> ir.Value:
        """Channels of several tensors."""
        n, _, h, w = sizes(values[0])
        return self._node("Concat", list(values), (n, sum(sizes(one)[1] for one in values), h, w))

    def pool(
        self, x: ir.Value, kernel: int, stride: int, padding: int | None = None, kind: str = "MaxPool"
    ) -> ir.Value:
        """A pooling, by default of ``same`` padding."""
        p = (kernel - 1) // 2 if padding is None else padding
        n, c, h, w = sizes(x)
        return self._node(
            kind, [x], (n, c, (h + 2 * p - kernel) // stride + 1, (w + 2 * p - kernel) // stride + 1)
        )

    def mean(self, x: ir.Value) -> ir.Value:
        """The mean of every channel."""
        n, c, *_ = sizes(x)
        return self._node("GlobalAveragePool", [x], (n, c, 1, 1))

    def shuffle(self, x: ir.Value) -> ir.Value:
        """ShuffleNet's exchange of channels between groups: a transposition."""
        return self._node("Transpose", [x], sizes(x))

    def half(self, x: ir.Value) -> ir.Value:
        """The first half of the channels."""
        n, c, h, w = sizes(x)
        return self._node("Slice", [x], (n, c // 2, h, w))

    def resize(self, x: ir.Value, times: int) -> ir.Value:
        """Every pixel ``times`` times in both directions."""
        n, c, h, w = sizes(x)
        return self._node("Resize", [x], (n, c, h * times, w * times))

    def _node(
        self, operator: str, inputs: Sequence[ir.Value], shape: tuple[int, ...], **attributes: int | list[int]
    ) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes=attributes)
        node.name = f"{operator}{len(self._nodes)}"
        node.outputs[0].shape = ir.Shape(shape)
        self._nodes.append(node)
        return node.outputs[0]


def sizes(value: ir.Value) -> tuple[int, ...]:
    """A tensor's shape."""
    assert value.shape is not None
    return tuple(int(side) for side in value.shape)  # type: ignore[arg-type]


def _pair(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


def _weight(shape: tuple[int, ...]) -> ir.Value:
    """A constant of this shape that takes no memory."""
    return ir.Value(shape=ir.Shape(shape), const_value=ir.tensor(np.broadcast_to(np.float32(0.0), shape)))
