"""What every layer of a dense network copies against what it adds, by ONNX Runtime's own profile of a graph.

A layer adds its new features. It copies what nodes write that compute nothing, between its 3x3 convolution and the next layer's:
`Concat`, `Slice` and `Split` join or cut the features so far ("joined"); `Gather`, `Transpose` and the reordering into and out of the
runtime's blocked layout set values elsewhere ("moved"). What is moved after a pooling is moved for the next layer; what is joined there
is counted beside the layers, as its transition's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import onnx

from benchmarks.graph_profile import recorded
from edgekit.models.condensenet import CondenseNetOptions
from edgekit.program import Program, steps_of

JOINING = ("Concat", "Slice", "Split")
MOVING = ("Gather", "Transpose", "ReorderInput", "ReorderOutput")


@dataclass(frozen=True)
class LayerCopies:
    """One layer, in bytes: its new features, what was joined or cut for it, what was moved for it."""

    added: int
    joined: int
    moved: int


@dataclass(frozen=True)
class Copies:
    """The layers of every block of one graph, and the bytes that its transitions join."""

    blocks: tuple[tuple[LayerCopies, ...], ...]
    transitions: int

    @property
    def worst_layer(self) -> float:
        """The most that a layer joins and moves, of what it adds."""
        return max((layer.joined + layer.moved) / layer.added for block in self.blocks for layer in block)

    @property
    def worst_so_far(self) -> float:
        """The same summed over a block's layers up to any of them: a layer may join for those before it."""
        worst = 0.0
        for block in self.blocks:
            copied = accumulate(layer.joined + layer.moved for layer in block)
            added = accumulate(layer.added for layer in block)
            worst = max(worst, *(c / a for c, a in zip(copied, added, strict=True)))
        return worst


def program_copies(program: Program) -> int:
    """The bytes that steps of a program set elsewhere without computing anything."""
    found = 0
    for name, said in steps_of(program):
        if name == "copy":
            found += said["count"]
        elif name == "phases":
            found += said["channels"] * said["stride"] ** 2 * said["rows"] * said["columns"]
    return found * program.constants.itemsize


def copies(graph: bytes, options: CondenseNetOptions, side: int) -> Copies:
    """Run a CondenseNet's graph for pictures of ``side`` px a side, in any form, and say what its layers copy."""
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / "rewritten.onnx"
        ran = recorded(graph, threads=1, runs=1, optimised=rewritten)
        places = _places(onnx.load(rewritten).graph)
    joined, moved = [0] * sum(options.stages), [0] * sum(options.stages)
    transitions = 0
    for node in ran:
        layer, pooled = places[node.node]
        if layer >= 0 and layer + pooled < len(joined):
            if node.operator in MOVING:
                moved[layer + pooled] += node.written
            elif node.operator in JOINING and pooled:
                transitions += node.written
            elif node.operator in JOINING:
                joined[layer] += node.written
    rows = zip(_added(options, side), joined, moved, strict=True)
    blocks = tuple(tuple(LayerCopies(*next(rows)) for _ in range(layers)) for layers in options.stages)
    return Copies(blocks, transitions)


def _added(options: CondenseNetOptions, side: int) -> Sequence[int]:
    """The bytes of every layer's new features."""
    at = -(-side // options.stem_stride)
    sizes = [
        (layers, growth * (at >> block) ** 2)
        for block, (layers, growth) in enumerate(zip(options.stages, options.growth, strict=True))
    ]
    return [4 * size for layers, size in sizes for _ in range(layers)]


def _places(graph: onnx.GraphProto) -> dict[str, tuple[int, bool]]:
    """The last layer before each node of a graph, from 0, -1 for none; and whether its features were pooled since."""
    stages: dict[str, tuple[int, int]] = {}  # by tensor: layers so far, poolings so far
    poolings: dict[int, int] = {}  # by layer: poolings before it
    found: dict[str, tuple[int, int]] = {}
    for node in graph.node:
        layers, pools = map(max, zip((0, 0), *(stages.get(name, (0, 0)) for name in node.input), strict=True))
        if node.op_type == "Conv" and _side(node) == 3:
            layers += 1
            poolings[layers] = pools
        pools += node.op_type in ("AveragePool", "GlobalAveragePool")
        found[node.name] = layers, pools
        stages.update(dict.fromkeys(node.output, (layers, pools)))
    # The stem's is the first of the 3x3 convolutions.
    return {name: (layers - 2, pools > poolings.get(layers, 0)) for name, (layers, pools) in found.items()}


def _side(conv: onnx.NodeProto) -> int:
    """Of a convolution's window, px."""
    return next((max(a.ints) for a in conv.attribute if a.name == "kernel_shape"), 1)
