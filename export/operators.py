"""Would a TensorRT version's parser take this graph? Checked node by node against the recorded tables of its releases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.export.operator_rules import RULES, Refusal, constant
from edgekit.export.tensorrt_table import Version, versions

INT32 = np.iinfo(np.int32)
MOST_DIMENSIONS = 8  # nvinfer1::Dims::MAX_DIMS


@dataclass(frozen=True)
class Finding:
    """One thing that a TensorRT version would refuse.

    Attributes:
        node: the node's name, which begins with the module's path in the user's network.
        operator: its ONNX operator.
        reason: why it is refused.
        advice: what to do about it.
    """

    node: str
    operator: str
    reason: str
    advice: str

    def __str__(self) -> str:
        return f"{self.node} ({self.operator}): {self.reason}; {self.advice}"


def check(model: ir.Model, tensorrt: Version) -> list[Finding]:
    """Everything in ``model`` that ``tensorrt`` would refuse, in the order of the nodes."""
    findings: list[Finding] = []
    opset = model.graph.opset_imports.get("", 0)
    if opset > tensorrt.max_opset:
        findings.append(
            Finding(str(model.graph.name), "opset", f"opset {opset}, and {tensorrt} reads up to {tensorrt.max_opset}",
                    f"export at opset {tensorrt.max_opset} or lower")
        )  # fmt: skip
    for node in _nodes(model.graph):
        for reason, advice in _refusals(node, tensorrt):
            findings.append(Finding(str(node.name), node.op_type, reason, advice))
    return findings


def without_int8(model: ir.Model, device: str) -> list[Finding]:
    """The nodes that quantise, for a device that cannot compute in INT8."""
    return [
        Finding(
            str(node.name),
            node.op_type,
            f"{device} has no INT8",
            "export with --precision float32: FP16 is built there",
        )
        for node in _nodes(model.graph)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]


def _refusals(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    if node.domain not in ("", "ai.onnx"):
        yield f"the operator set {node.domain!r} is not ONNX's own", "write it with standard operators"
        return
    if node.op_type not in tensorrt.operators:
        first = next((known for known in versions() if node.op_type in known.operators), None)
        since = f", {first} is the first that has it" if first else ""
        yield (
            f"{tensorrt} does not import it{since}",
            "write it with other operators, or choose a newer target",
        )
        return
    yield from _type_refusals(node, tensorrt)
    for value in node.outputs:
        if value.shape is not None and len(value.shape) > MOST_DIMENSIONS:
            yield (
                f"a tensor of {len(value.shape)} dimensions",
                f"TensorRT has at most {MOST_DIMENSIONS}; merge some",
            )
    for rule in RULES.get(node.op_type, []):
        yield from rule(node, tensorrt)


def _type_refusals(node: ir.Node, tensorrt: Version) -> Iterator[Refusal]:
    data = node.inputs[1] if node.op_type == "Where" else node.inputs[0] if node.inputs else None
    judged = [
        value for value in (data, node.outputs[0] if node.op_type == "Cast" else None) if value is not None
    ]
    for value in judged:
        kind = _trt_type(value, tensorrt)
        known = tensorrt.operators[node.op_type]  # the tables before 7.2 name no types
        if kind is not None and known and kind not in known:
            takes = ", ".join(sorted(known))
            yield f"{value.name} is {kind}, and {tensorrt} takes {takes} here", "cast it to one of them first"
    if tensorrt.number < (10, 0):
        for argument in node.inputs:
            if argument is not None and _beyond_32_bits(constant(argument)):
                yield (
                    f"{argument.name} holds numbers beyond 32 bits",
                    "TensorRT 8 has no INT64; use smaller numbers",
                )


def _beyond_32_bits(array: np.ndarray | None) -> bool:
    if array is None or array.dtype != np.int64 or not array.size:
        return False
    return bool(array.max() > INT32.max or array.min() < INT32.min)


_TYPES = {
    ir.DataType.FLOAT: "FP32", ir.DataType.FLOAT16: "FP16", ir.DataType.BFLOAT16: "BF16", ir.DataType.INT32: "INT32",
    ir.DataType.INT8: "INT8", ir.DataType.UINT8: "UINT8", ir.DataType.BOOL: "BOOL", ir.DataType.DOUBLE: "FP64",
    ir.DataType.INT64: "INT64",
}  # fmt: skip


def _trt_type(value: ir.Value, tensorrt: Version) -> str | None:
    """TensorRT's name of a data type; before TensorRT 10 its parser reads INT64 as INT32."""
    if value.dtype is None:
        return None
    name = _TYPES.get(value.dtype, value.dtype.name)
    return "INT32" if name == "INT64" and tensorrt.number < (10, 0) else name


def _nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every node, those in the bodies of loops and scans too."""
    yield from graph.all_nodes()
