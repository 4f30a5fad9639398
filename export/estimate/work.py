"""Reads a graph as TensorRT would run it: which kernels are left after fusion, and what each computes and moves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

# Renames memory, or is computed when the engine is built.
FREE = frozenset(
    {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Constant", "ConstantOfShape", "Shape", "Dropout", "QuantizeLinear",
     "DequantizeLinear", "Range"}
)  # fmt: skip
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
POINTWISE = frozenset(
    {"Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Clip", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Greater",
     "HardSigmoid", "LeakyRelu", "Less", "Log", "Max", "Min", "Mul", "Neg", "Not", "PRelu", "Pow", "Reciprocal", "Relu", "Round",
     "Sigmoid", "Sign", "Softplus", "Sqrt", "Sub", "Tanh", "Where"}
)  # fmt: skip
POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
REDUCTIONS = (
    "Reduce",
    "Softmax",
    "LogSoftmax",
    "ArgMax",
    "ArgMin",
    "LRN",
    "InstanceNormalization",
    "TopK",
    "CumSum",
)
LOOPS = frozenset({"Scan", "Loop"})
FEW_CHANNELS = 4  # of a picture: its first convolution fills no unit of 8 or 16 channels


@dataclass(frozen=True)
class Work:
    """One kernel, or one of a loop's that runs ``times`` times.

    Attributes:
        name: of the node that it is named after.
        kind: what its efficiency depends on: ``winograd`` (3x3, stride 1), ``pointwise`` (1x1), ``spatial`` (any other dense
            convolution), ``first`` (of a picture's channels), ``depthwise``, ``grouped``, ``volume`` (3-D), ``matrix``; or, for
            what only moves memory, ``elementwise``, ``pool``, ``concat``, ``reduce``, ``move``.
        flops: two for every multiply-add.
        weights: elements of parameters that it reads.
        moved: elements of activations that it reads and writes.
        blocks: thread blocks' worth of output, 64 positions by 64 channels each: what can keep multiprocessors busy.
        times: how often it runs.
    """

    name: str
    kind: str
    flops: float
    weights: float
    moved: float
    blocks: float
    times: int = 1


def work_of(model: ir.Model) -> list[Work]:
    """Every kernel of a graph whose shapes are all known, in order.

    A product takes with it the elementwise operators that follow it alone, and an addition of what is there already; other
    elementwise operators that follow each other are one kernel (TensorRT's developer guide, "Types of Fusions").
    """
    return list(_Fusion(model.graph).kernels())


class _Fusion:
    """The kernels of one graph, in the order of its nodes."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._places = {id(node): place for place, node in enumerate(graph)}
        self._taken: set[int] = set()

    def kernels(self) -> Iterator[Work]:
        for node in self._graph:
            if id(node) in self._taken or node.op_type in FREE or not _varies(node):
                continue
            if node.op_type in LOOPS:
                yield from _loop(node)
            elif node.op_type in PRODUCTS:
                yield _product(node, self._followers(node))
            elif node.op_type in POINTWISE:
                yield _moving(node, self._followers(node), "elementwise")
            elif node.op_type == "Concat":
                # A copy each: DenseNets on Xavier and Nano, which concatenate ever more tensors, cost a launch for every one.
                for value in node.inputs:
                    if value is not None and not self._written_in_place(value):
                        yield Work(str(node.name), "concat", 0.0, 0.0, 2.0 * _count(value), 0.0)
            else:
                yield _moving(node, [], _kind_of_moving(node.op_type))

    def _written_in_place(self, value: ir.Value) -> bool:
        """Whether a kernel that this concatenation alone reads can write where the concatenation wants it."""
        while (
            (producer := value.producer()) is not None
            and len(value.uses()) == 1
            and not value.is_graph_output()
        ):
            if producer.op_type in PRODUCTS:
                return True
            if producer.op_type not in POINTWISE or producer.inputs[0] is None:
                return False
            value = producer.inputs[0]
        return False

    def _followers(self, node: ir.Node) -> list[ir.Node]:
        """The elementwise operators after ``node`` that nobody else waits for, and that wait for nobody else."""
        chain: list[ir.Node] = []
        last = node
        while True:
            result = last.outputs[0]
            readers = {use.node for use in result.uses()}
            if len(readers) != 1 or result.is_graph_output():
                return chain
            last = readers.pop()
            inside = last.op_type in POINTWISE or last.op_type == "Reshape"
            if not inside or id(last) in self._taken or not self._ready(last, node, chain):
                return chain
            chain.append(last)
            self._taken.add(id(last))

    def _ready(self, reader: ir.Node, node: ir.Node, chain: list[ir.Node]) -> bool:
        """Whether everything else that ``reader`` reads exists when ``node`` runs."""
        own = {id(node), *(id(one) for one in chain)}
        others = [value.producer() for value in reader.inputs if value is not None and not _constant(value)]
        return all(
            id(one) in own or self._places.get(id(one), -1) < self._places[id(node)]
            for one in others
            if one is not None
        )


def _varies(node: ir.Node) -> bool:
    """Whether a node depends on anything but constants."""
    return any(value is not None and not _constant(value) for value in node.inputs)


def _constant(value: ir.Value) -> bool:
    return value.const_value is not None


def _product(node: ir.Node, chain: list[ir.Node]) -> Work:
    data, factor, result = node.inputs[0], node.inputs[1], node.outputs[0]
    assert data is not None and factor is not None
    out = _sizes(result)
    weights = _count(factor) if _constant(factor) else 0.0
    if node.op_type in ("Gemm", "MatMul"):
        flops = 2.0 * math.prod(out) * _shared_side(node)
        kind, rows, channels = "matrix", math.prod(out[:-1]), out[-1]
    else:
        kernel, groups = _sizes(factor)[2:], int(node.attributes.get_int("group", 1))
        per_output = _sizes(factor)[1] * math.prod(kernel)
        flops = 2.0 * per_output * math.prod(out)
        if node.op_type == "ConvTranspose":  # every element read is spread over the kernel
            flops = 2.0 * _count(data) * per_output
        kind = _kind_of_convolution(node, _sizes(data)[1], kernel, groups)
        rows, channels = out[0] * math.prod(out[2:]), out[1]
    other = 0.0 if weights else _count(factor)
    blocks = math.ceil(rows / 64) * math.ceil(channels / 64)
    moved = _count(data) + other + _count(result) + _also_read(node, chain)
    return Work(str(node.name), kind, flops, weights, moved, float(blocks))


def _kind_of_convolution(node: ir.Node, channels: int, kernel: tuple[int, ...], groups: int) -> str:
    if len(kernel) == 3:
        return "volume"
    if groups > 1:
        return "depthwise" if groups == channels else "grouped"
    if channels <= FEW_CHANNELS:
        return "first"
    if set(kernel) == {1}:
        return "pointwise"
    strides = set(node.attributes.get_ints("strides", [1]))
    dilations = set(node.attributes.get_ints("dilations", [1]))
    if kernel == (3, 3) and strides == {1} and dilations == {1} and node.op_type == "Conv":
        return "winograd"
    return "spatial"


def _moving(node: ir.Node, chain: list[ir.Node], kind: str) -> Work:
    last = chain[-1] if chain else node
    written = sum(_count(value) for value in last.outputs)
    read = sum(_count(value) for value in node.inputs if value is not None and not _constant(value))
    if kind == "move":
        read = min(read, written)  # of a slice or a gather: what it takes, not what it takes it from
    return Work(str(node.name), kind, 0.0, 0.0, read + written + _also_read(node, chain), 0.0)


def _kind_of_moving(operator: str) -> str:
    if operator in POOLS:
        return "pool"
    return "reduce" if operator.startswith(REDUCTIONS) else "move"


def _loop(node: ir.Node) -> Iterator[Work]:
    """A scan's body, as often as it has steps; whatever else carries a loop round is in the launches of its kernels."""
    body = node.attributes["body"].as_graph()
    count = int(node.attributes.get_int("num_scan_inputs", 0))
    axes = list(node.attributes.get_ints("scan_input_axes", [0] * count))
    given = [value for value in node.inputs if value is not None]
    steps = _sizes(given[-count])[axes[0]] if count else 1
    for one in _Fusion(body).kernels():
        yield replace(one, times=one.times * steps)


def _also_read(node: ir.Node, chain: list[ir.Node]) -> float:
    """Elements that fused operators read beside what they are handed."""
    inside = {id(node), *(id(one) for one in chain)}
    return sum(
        _count(value)
        for one in chain
        for value in one.inputs
        if value is not None and not _constant(value) and id(value.producer()) not in inside
    )


def _shared_side(node: ir.Node) -> int:
    data = node.inputs[0]
    assert data is not None
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transA", False)
    return _sizes(data)[0 if transposed else -1]


def _count(value: ir.Value) -> float:
    return float(math.prod(_sizes(value)))


def _sizes(value: ir.Value) -> tuple[int, ...]:
    """The shape in numbers; a batch that is left open counts as one picture."""
    if value.shape is None:
        return ()
    return tuple(side if isinstance(side, int) else 1 for side in value.shape)
