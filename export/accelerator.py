"""What a Jetson's deep learning accelerator (DLA) leaves to the GPU.

Recalled from the DLA chapter of TensorRT's developer guide, and checked against no device: `edgekit build` times the truth. A
node that may run there may still be refused for its sizes.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

MAY_RUN = frozenset(
    {"Conv", "ConvTranspose", "Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "PRelu", "Add", "Sub", "Mul", "Max", "Min", "MaxPool",
     "AveragePool", "GlobalAveragePool", "Concat", "BatchNormalization", "Resize", "LRN", "Abs", "QuantizeLinear",
     "DequantizeLinear", "Slice"}
)  # fmt: skip
PICTURE = 4  # dimensions of what its layers take


def left_to_the_gpu(model: ir.Model) -> Iterator[ir.Node]:
    """The nodes that the DLA does not take; the bodies of loops and scans are never its own."""
    for node in model.graph.all_nodes():
        data = node.inputs[0] if node.inputs else None
        rank = None if data is None or data.shape is None else len(data.shape)
        inside = node.graph is not model.graph
        if inside or node.op_type not in MAY_RUN or (rank is not None and rank != PICTURE):
            yield node
