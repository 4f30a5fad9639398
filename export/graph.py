"""The ONNX graph under construction: what an emitter writes nodes and constants into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import ExportError

OPSET = 13
IR_VERSION = 7  # of ONNX 1.8, which brought opset 13: ONNX Runtime 1.10 and TensorRT 8.2 read it
INT32 = np.iinfo(np.int32)

Attribute = int | float | str | Sequence[int] | Sequence[float] | ir.Graph
Number = bool | int | float


@dataclass(frozen=True)
class TensorMeta:
    """Shape and ONNX data type of a tensor."""

    shape: tuple[int, ...]
    dtype: ir.DataType


@dataclass
class GraphBuilder:
    """Collects nodes and constants of one graph, and gives them readable names.

    Attributes:
        name: the graph's name.
        scope: module path in the user's network of what is being emitted; prefixes the names of nodes.
        results: what the operator being emitted returns, one entry a tensor.
    """

    name: str = "graph"
    scope: str = ""
    results: tuple[TensorMeta, ...] = ()
    nodes: list[ir.Node] = field(default_factory=list)
    inputs: list[ir.Value] = field(default_factory=list)
    constants: dict[str, ir.Value] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _contents: dict[tuple[object, ...], ir.Value] = field(default_factory=dict)

    @property
    def result(self) -> TensorMeta:
        """What the operator being emitted returns, when it returns one tensor."""
        return self.results[0]

    def input(self, name: str, shape: Iterable[int], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        """Add a graph input."""
        value = ir.Value(name=self._unique(name), shape=ir.Shape(shape), type=ir.TensorType(dtype))
        self.inputs.append(value)
        return value

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Attribute) -> ir.Value:
        """Append a node with one output, and return that output."""
        return self.multi(op_type, 1, *inputs, **attributes)[0]

    def multi(
        self, op_type: str, outputs: int, *inputs: ir.Value | None, **attributes: Attribute
    ) -> tuple[ir.Value, ...]:
        """Append a node with several outputs, and return them."""
        return self._append("", op_type, outputs, inputs, attributes)

    def foreign(
        self, domain: str, op_type: str, *inputs: ir.Value | None, **attributes: Attribute
    ) -> ir.Value:
        """Append a node of a runtime's own operator set, with one output, and return that output."""
        return self._append(domain, op_type, 1, inputs, attributes)[0]

    def _append(
        self,
        domain: str,
        op_type: str,
        outputs: int,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute],
    ) -> tuple[ir.Value, ...]:
        name = self._unique(f"{self.scope}/{op_type}" if self.scope else op_type)
        dtype = _dtype_of_result(op_type, inputs, attributes)
        values = [ir.Value(name=name if outputs == 1 else f"{name}:{k}", type=dtype) for k in range(outputs)]
        self.nodes.append(
            ir.node(op_type, inputs, _converted(attributes), domain=domain, outputs=values, name=name)
        )
        return tuple(values)

    def constant(
        self, value: npt.ArrayLike, dtype: ir.DataType | None = None, name: str | None = None
    ) -> ir.Value:
        """An initializer that holds ``value``, in float32 where that is a float; equal unnamed constants are one.

        Raises:
            ExportError: a whole number does not fit 32 bits, which TensorRT 8 cannot hold.
        """
        array = np.asarray(value)
        if array.dtype.kind in "iu" and array.size and (array.max() > INT32.max or array.min() < INT32.min):
            raise ExportError(
                f"{self.scope or self.name}: the constant {array.max() if array.max() > INT32.max else array.min()} "
                "does not fit 32 bits, and TensorRT 8 has no 64-bit numbers; keep it within +-2^31"
            )
        if dtype is not None or array.dtype == np.float64:
            array = array.astype((dtype or ir.DataType.FLOAT).numpy())
        array = np.ascontiguousarray(array).reshape(array.shape)
        key = (array.dtype.str, array.shape, array.tobytes())
        if name is None and key in self._contents:
            return self._contents[key]
        constant = self._initializer(array, self._unique(name or _content_name(array)))
        if name is None:
            self._contents[key] = constant
        return constant

    def ints(self, values: Iterable[int]) -> ir.Value:
        """A 1-D INT64 constant, for the shapes, axes and pads of operators that demand INT64."""
        return self.constant(np.array(list(values), np.int64))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """``value`` as ``dtype``; nothing is emitted where it is that already."""
        if value.dtype == dtype:
            return value
        if (array := self.array(value)) is not None:
            return self.constant(array, dtype)
        cast = self.op("Cast", value, to=int(dtype))
        cast.shape = value.shape
        return cast

    def operand(self, value: ir.Value | Number, dtype: ir.DataType) -> ir.Value:
        """An operator's argument, tensor or number, as a tensor of ``dtype``."""
        return self.cast(value, dtype) if isinstance(value, ir.Value) else self.constant(value, dtype)

    def reshape(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """``value`` in another shape; nothing is emitted where it has that already, or is a constant."""
        if value.shape is not None and shape_of(value) == tuple(shape):
            return value
        if (array := self.array(value)) is not None:
            return self.constant(array.reshape(shape))
        return self.typed(self.op("Reshape", value, self.ints(shape)), shape, value.dtype)

    @staticmethod
    def array(value: ir.Value) -> np.ndarray | None:
        """The array behind a constant, None for what is computed."""
        return None if value.const_value is None else value.const_value.numpy()

    @staticmethod
    def typed(value: ir.Value, shape: Iterable[int], dtype: ir.DataType | None) -> ir.Value:
        """``value`` with its shape and data type noted."""
        value.shape = ir.Shape(tuple(shape))
        if dtype is not None:
            value.type = ir.TensorType(dtype)
        return value

    def body(self, name: str) -> GraphBuilder:
        """A builder for the body of a ``Scan`` or ``Loop`` of this graph; pass its `graph` as an attribute of `op`."""
        return GraphBuilder(
            name=name, scope=f"{self.scope}/{name}" if self.scope else name, _names=self._names
        )

    def graph(self, outputs: Mapping[str, ir.Value]) -> ir.Graph:
        """The finished graph, whose outputs carry the names that ``outputs`` gives them.

        A value that is an input or a constant itself, or has several names, passes through an Identity, since ONNX gives an
        output one name.
        """
        named: list[ir.Value] = []
        taken: set[ir.Value] = set(self.inputs) | set(self.constants.values())
        reserved = set(outputs) | {value.name for value in self.inputs}
        for node in self.nodes:  # an intermediate result may not hold a name that an output needs
            for value in node.outputs:
                if value.name in reserved:
                    value.name = self._unique(f"{value.name}/inner")
        for name, value in outputs.items():
            if value in taken:
                value = self.typed(self.op("Identity", value), shape_of(value), value.dtype)
            taken.add(value)
            value.name = name
            named.append(value)
        return ir.Graph(
            self.inputs, named, nodes=self.nodes, initializers=list(self.constants.values()),
            opset_imports={"": OPSET} | {node.domain: 1 for node in self.nodes if node.domain}, name=self.name,
        )  # fmt: skip

    def _initializer(self, array: np.ndarray, name: str) -> ir.Value:
        tensor = ir.tensor(array, name=name)
        constant = ir.Value(
            name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self.constants[name] = constant
        return constant

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else self._unique(f"{name}_{count}")


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a value."""
    if value.shape is None:
        raise ExportError(f"{value.name}: its shape is not known")
    return tuple(int(side) for side in value.shape)  # type: ignore[arg-type]


def rank_of(value: ir.Value) -> int:
    """The number of dimensions of a value."""
    return len(shape_of(value))


_COMPARISONS = frozenset({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN"})


def _dtype_of_result(
    op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Attribute]
) -> ir.TensorType | None:
    """What most operators return: the data type of their first input; an emitter notes the few exceptions itself."""
    if op_type in _COMPARISONS:
        return ir.TensorType(ir.DataType.BOOL)
    if op_type == "Cast":
        return ir.TensorType(ir.DataType(int(attributes["to"])))  # type: ignore[arg-type]
    first = inputs[1 if op_type == "Where" else 0] if inputs else None
    return None if first is None or first.dtype is None else ir.TensorType(first.dtype)


def _converted(attributes: Mapping[str, Attribute]) -> dict[str, ir.Attr]:
    return {name: ir.convenience.convert_attribute(name, value) for name, value in attributes.items()}


def _content_name(array: np.ndarray) -> str:
    """Small constants are named by what they hold, so that a graph viewer shows it."""
    if array.size > 6:
        return f"constant_{'x'.join(map(str, array.shape))}"
    text = "_".join(f"{number:.6g}" for number in array.ravel().tolist())
    return re.sub(r"[^\w.+-]", "", f"{array.dtype.name}_{text}")
