"""Spatial propagation as an ONNX Scan over columns, a few nodes a step.

before: h[i, t] = (1 - a - l - b) x[i, t] + a h[i - 1, t - 1] + l h[i, t - 1] + b h[i + 1, t - 1], one node a column and term
after:  Scan over t:  h = own[t] + (gates[t] * [h[above], h, h[below]]) @ [1; 1; 1]

A torch custom operator stands for the loop, so that a trace holds one node; its emitter writes the Scan. Channels lie last,
which lets a step fetch a neighbour's channels as one run of memory, and a matrix product is the fastest of the sums.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, shape_of


@torch.library.custom_op("edgekit::propagate_columns", mutates_args=())
def propagate_columns(start: Tensor, own: Tensor, gates: Tensor) -> Tensor:
    """h of own (T, H, C) and gates (T, H, 3 C), those from above, level and below side by side, after a column ``start`` (H, C)
    every row of which is its own neighbour.

    At the border the row itself stands for its missing neighbour: gates that lead outside must be 0.
    """
    rows = _neighbours(own.shape[1])
    beside = start.unsqueeze(1).expand(-1, 3, -1)
    columns = []
    for column, gate in zip(own, gates.reshape(*own.shape[:2], 3, -1), strict=True):
        columns.append(column + (gate * beside).sum(dim=1))
        beside = columns[-1][rows]
    return torch.stack(columns)


@propagate_columns.register_fake
def _(start: Tensor, own: Tensor, gates: Tensor) -> Tensor:
    return torch.empty_like(own)


@emits("edgekit.propagate_columns.default")
def emit_propagate_columns(graph: GraphBuilder, start: ir.Value, own: ir.Value, gates: ir.Value) -> ir.Value:
    """A Scan whose state (H, 3, C) is what the next column reads: state and output differ, so neither is copied."""
    _, height, channels = shape_of(own)
    body = graph.body("column")
    state = body.input("neighbours", (height, 3, channels))
    x = body.input("x", (height, channels))
    gate = body.input("gate", (height, 3 * channels))
    beside = body.reshape(state, (height, 3 * channels))
    sums = body.constant(np.tile(np.eye(channels, dtype=np.float32), (3, 1)))
    after = body.op("Gemm", body.op("Mul", beside, gate), sums, x)
    after = body.typed(after, (height, channels), own.dtype)
    fetched = body.op("Gather", after, body.constant(_neighbours(height).numpy().astype(np.int32)), axis=0)
    fetched = body.typed(fetched, (height, 3, channels), own.dtype)
    initial = graph.op(
        "Expand", graph.reshape(start, (height, 1, channels)), graph.ints((height, 3, channels))
    )
    graph.typed(initial, (height, 3, channels), own.dtype)
    step = body.graph({"neighbours_next": fetched, "column": after})
    return graph.multi("Scan", 2, initial, own, gates, body=step, num_scan_inputs=2)[1]


def _neighbours(height: int) -> Tensor:
    """(H, 3): the rows above, level and below."""
    rows = torch.arange(height)
    return torch.stack((rows - 1, rows, rows + 1), dim=1).clamp(0, height - 1)
