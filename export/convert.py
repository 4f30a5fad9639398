"""A torch module to an ONNX graph of opset 13: torch.export traces it, and edgekit's own emitters write the operators.

torch's exporter cannot write opset 13 any more (only its deprecated TorchScript path still does, and that leaves a graph of
shape arithmetic behind), while TensorRT 8.2, which Jetson TX2 stays on, reads nothing newer. Hence emitters of our own:
static shapes, constants folded by torch itself, whole numbers of 32 bits, nodes named by the user's modules, and no node that
does nothing.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir
import onnx_ir.passes.common
import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind, OutputKind

from edgekit.errors import ExportError
from edgekit.export.emitters import ADVICE, EMITTERS
from edgekit.export.graph import IR_VERSION, GraphBuilder, TensorMeta

DTYPES = {  # torch's, and what the graph holds: TensorRT 8 has neither INT64 nor DOUBLE
    torch.float32: ir.DataType.FLOAT,
    torch.float64: ir.DataType.FLOAT,
    torch.float16: ir.DataType.FLOAT16,
    torch.int64: ir.DataType.INT32,
    torch.int32: ir.DataType.INT32,
    torch.int16: ir.DataType.INT32,
    torch.int8: ir.DataType.INT8,
    torch.uint8: ir.DataType.UINT8,
    torch.bool: ir.DataType.BOOL,
}
_SHAPE_ONLY = frozenset({  # their results depend on no element of their tensors, only on its shape
    "aten.zeros_like.default", "aten.ones_like.default", "aten.full_like.default", "aten.empty_like.default",
    "aten.new_zeros.default", "aten.new_ones.default", "aten.new_full.default", "aten.new_empty.default",
})  # fmt: skip
_SILENT = frozenset(
    {
        "aten._assert_tensor_metadata.default",
        "aten._assert_scalar.default",
        "aten.sym_constrain_range.default",
    }
)


def convert(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], name: str = "graph"
) -> ir.Model:
    """Convert ``module``, called with ``inputs`` in their order, to an ONNX model whose results are named ``outputs``.

    The tensors in ``inputs`` only give shapes and data types.

    Raises:
        ExportError: the module cannot be traced, or uses an operator that has no emitter; the message names the module's
            path in the network.
    """
    program = _trace(module, tuple(inputs.values()), name)
    if any(_needs_decomposition(node, folded) for node, folded in _calls(program)):
        program = _decompose(program, name)
    _check_emitters(program, name)
    graph = _Translation(program, name).graph(inputs, outputs)
    model = ir.Model(graph, ir_version=IR_VERSION, producer_name="edgekit")
    return infer_shapes(model)


def serialize(model: ir.Model) -> bytes:
    """The bytes of the ONNX file; the same model always gives the same bytes."""
    proto = ir.to_proto(model)
    known = {constant.name for constant in proto.graph.initializer}
    # Constants say it themselves
    described = [value for value in proto.graph.value_info if value.name not in known]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(described)
    return proto.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def infer_shapes(model: ir.Model) -> ir.Model:
    """The model with shape and data type noted at every value.

    Raises:
        ExportError: ONNX's own inference contradicts what torch said.
    """
    try:
        proto = onnx.shape_inference.infer_shapes(
            ir.to_proto(model), check_type=True, strict_mode=True, data_prop=True
        )
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(
            f"{model.graph.name}: the graph contradicts ONNX's shape inference: {error}"
        ) from error
    return ir.from_proto(proto)


def _trace(module: nn.Module, inputs: tuple[Tensor, ...], name: str) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module.eval(), inputs)
    except Exception as error:  # torch.export raises whatever the user's forward does
        raise ExportError(
            f"{name}: torch.export cannot trace {type(module).__name__}: {_first_line(error)}; its forward must take tensors, "
            "and may not branch on their values"
        ) from error


def _decompose(program: torch.export.ExportedProgram, name: str) -> torch.export.ExportedProgram:
    """Without in-place operators, and with the operators that have no emitter split into core ATen."""
    table = torch.export.default_decompositions()
    for overload in list(table):
        if str(overload) in EMITTERS:
            del table[overload]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return program.run_decompositions(table)  # type: ignore[no-any-return]
    except Exception as error:
        raise ExportError(
            f"{name}: torch cannot split its operators into simpler ones: {_first_line(error)}"
        ) from error


def _calls(program: torch.export.ExportedProgram) -> Iterator[tuple[fx.Node, bool]]:
    """Every operator call, and whether it only reads constants, so that torch can compute it now."""
    reads_input: set[fx.Node] = set()
    user_inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in user_inputs:
                reads_input.add(node)
        elif node.op == "call_function":
            shape_only = str(node.target) in _SHAPE_ONLY
            folded = (
                shape_only or not any(n in reads_input for n in node.all_input_nodes)
            ) and not _is_random(node)
            if not folded:
                reads_input.add(node)
            yield node, folded


def _is_random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _needs_decomposition(node: fx.Node, folded: bool) -> bool:
    if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
        return True
    return not folded and not _is_written(node)


def _is_written(node: fx.Node) -> bool:
    return node.target is operator.getitem or str(node.target) in EMITTERS or str(node.target) in _SILENT


def _check_emitters(program: torch.export.ExportedProgram, name: str) -> None:
    missing: dict[str, str] = {}
    for node, folded in _calls(program):
        if not isinstance(node.meta.get("val"), (Tensor, list, tuple)) and str(node.target) not in _SILENT:
            raise ExportError(
                f"{name}: the shape of a tensor depends on the values of others (in {module_path(node) or 'the stage itself'}), "
                "and a graph's shapes are fixed: instead of picking elements by a mask, keep them all with torch.where"
            )
        if not folded and not _is_written(node):
            missing.setdefault(str(node.target), module_path(node))
    if missing:
        lines = [f"{op} (in {path or 'the stage itself'}){_advice(op)}" for op, path in missing.items()]
        raise ExportError(
            f"{name}: no ONNX emitter for {'; '.join(lines)}. Write the module with other operators, give it a lowering, or "
            "register an emitter with edgekit.export.emitters.emits"
        )


def _advice(target: str) -> str:
    """``target`` is an overload, ``aten.rand.default``; advice is kept by operator, ``aten.rand``."""
    advice = ADVICE.get(target.rpartition(".")[0])
    return f": {advice}" if advice else ""


def module_path(node: fx.Node) -> str:
    """Where in the user's network a traced operator was called, as a dotted module path."""
    stack = node.meta.get("nn_module_stack") or {}
    return next((str(path) for path, _ in reversed(list(stack.values())) if path), "")


class _Translation:
    """Walks a traced program and writes it into a graph; constants stay torch tensors until an operator needs them."""

    def __init__(self, program: torch.export.ExportedProgram, name: str) -> None:
        self.program = program
        self.builder = GraphBuilder(name)
        # What torch would have there: a Tensor (a constant), an ir.Value, or a tuple of them. fx types its arguments so
        # loosely that anything but Any is a cast at every use.
        self.known: dict[fx.Node, Any] = {}
        self.names: dict[int, str] = {}  # id of a parameter's tensor -> its name in the user's network
        self.materialized: dict[int, tuple[Tensor, ir.Value]] = {}

    def graph(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> ir.Graph:
        """The whole program as a graph with these names."""
        self._bind_placeholders(inputs)
        with torch.no_grad():
            for node, folded in _calls(self.program):
                if str(node.target) not in _SILENT:
                    self.known[node] = self._compute(node) if folded else self._emit(node)
        return self.builder.graph(dict(zip(outputs, self._results(len(outputs)), strict=True)))

    def _bind_placeholders(self, inputs: Mapping[str, Tensor]) -> None:
        named = iter(inputs.items())
        by_name = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        for spec in self.program.graph_signature.input_specs:
            node = by_name[spec.arg.name]
            if spec.kind is InputKind.USER_INPUT:
                name, tensor = next(named)
                self.known[node] = self.builder.input(name, tensor.shape, dtype_of(tensor))
                continue
            held = (
                self.program.state_dict if spec.target in self.program.state_dict else self.program.constants
            )
            tensor = held[str(spec.target)].detach()
            self.known[node] = tensor
            self.names[id(tensor)] = str(spec.target)

    def _compute(self, node: fx.Node) -> object:
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._as_tensor)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _as_tensor(self, node: fx.Node) -> Any:
        """What torch computes a constant from; an operator that only reads shapes gets any tensor of that shape."""
        known, meta = self.known[node], node.meta["val"]
        return torch.zeros((), dtype=meta.dtype).expand(meta.shape) if isinstance(known, ir.Value) else known

    def _emit(self, node: fx.Node) -> object:
        if node.target is operator.getitem:
            source, index = node.args
            item = self.known[source][index]  # type: ignore[index]
            if item is None and node.users:
                raise ExportError(
                    f"{module_path(node)}: {source} has no ONNX operator that gives its result {index}"
                )
            return item
        self.builder.scope = module_path(node)
        self.builder.results = _metas(node)
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self._as_values(self.known[n]))
        emitted = EMITTERS[str(node.target)](self.builder, *args, **kwargs)
        values = emitted if isinstance(emitted, tuple) else (emitted,)
        for value, meta in zip(values, self.builder.results, strict=True):
            if value is not None:
                self.builder.typed(value, meta.shape, meta.dtype)
        return emitted

    def _as_values(self, known: Any) -> Any:
        if isinstance(known, Tensor):
            return self._materialize(known)
        if isinstance(known, (list, tuple)):
            return type(known)(self._as_values(item) for item in known)
        return known

    def _materialize(self, tensor: Tensor) -> ir.Value:
        if id(tensor) not in self.materialized:  # the tensor is kept, so that its id stays its own
            value = self.builder.constant(
                tensor.detach().cpu().numpy(), dtype_of(tensor), self.names.get(id(tensor))
            )
            self.materialized[id(tensor)] = tensor, value
        return self.materialized[id(tensor)][1]

    def _results(self, expected: int) -> list[ir.Value]:
        specs = self.program.graph_signature.output_specs
        # Writing into an input is the module's own affair
        kept = (
            OutputKind.USER_OUTPUT,
            OutputKind.USER_INPUT_MUTATION,
        )
        written = [spec.target for spec in specs if spec.kind not in kept]
        if written:
            raise ExportError(
                f"{self.builder.name}: it changes its own buffer {written[0]} when called; a stage keeps no state"
            )
        (returned,) = next(node for node in self.program.graph.nodes if node.op == "output").args
        results = [r for r, spec in zip(returned, specs, strict=True) if spec.kind is OutputKind.USER_OUTPUT]
        if len(results) != expected:
            raise ExportError(
                f"{self.builder.name}: its module returns {len(results)} tensors, its stage names {expected}"
            )
        return [self._as_values(self.known[result]) for result in results]


def dtype_of(tensor: Tensor) -> ir.DataType:
    """The data type that a torch tensor has in the graph.

    Raises:
        ExportError: a graph cannot hold it.
    """
    if tensor.dtype not in DTYPES:
        raise ExportError(
            f"a {tensor.dtype} tensor of shape {tuple(tensor.shape)}: graphs hold {', '.join(map(str, DTYPES))}"
        )
    return DTYPES[tensor.dtype]


def _metas(node: fx.Node) -> tuple[TensorMeta, ...]:
    value = node.meta["val"]
    tensors = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(TensorMeta(tuple(int(side) for side in t.shape), dtype_of(t)) for t in tensors)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
