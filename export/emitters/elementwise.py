"""Arithmetic, comparisons and rounding, with torch's type promotion made explicit."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, Number

FLOAT, INT, BOOL = ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.BOOL
Operand = ir.Value | Number


def common_dtype(*operands: Operand) -> ir.DataType:
    """The data type that torch computes in: float beats whole number beats bool, and a tensor beats a number of its kind."""
    kinds = [_kind(operand) for operand in operands]
    tensors = [
        o.dtype
        for o, kind in zip(operands, kinds, strict=True)
        if isinstance(o, ir.Value) and kind == max(kinds)
    ]
    if tensors:
        return max(tensors, key=lambda dtype: dtype.bitwidth)  # type: ignore[union-attr,return-value]
    return (BOOL, INT, FLOAT)[max(kinds)]


def _kind(operand: Operand) -> int:
    if isinstance(operand, ir.Value):
        return (
            2
            if operand.dtype is not None and operand.dtype.is_floating_point()
            else 0
            if operand.dtype is BOOL
            else 1
        )
    return 0 if isinstance(operand, bool) else 2 if isinstance(operand, float) else 1


def binary(
    graph: GraphBuilder, op_type: str, a: Operand, b: Operand, dtype: ir.DataType | None = None
) -> ir.Value:
    """Both operands in one data type (that of the result unless given), broadcast against each other."""
    dtype = dtype or graph.result.dtype
    return graph.op(op_type, graph.operand(a, dtype), graph.operand(b, dtype))


@emits("aten.add.Tensor", "aten.add.Scalar")
def add(graph: GraphBuilder, a: Operand, b: Operand, alpha: Number = 1) -> ir.Value:
    """a + alpha b."""
    return binary(graph, "Add", a, _scaled(graph, b, alpha))


@emits("aten.sub.Tensor", "aten.sub.Scalar")
def sub(graph: GraphBuilder, a: Operand, b: Operand, alpha: Number = 1) -> ir.Value:
    """a - alpha b."""
    return binary(graph, "Sub", a, _scaled(graph, b, alpha))


@emits("aten.rsub.Tensor", "aten.rsub.Scalar")
def rsub(graph: GraphBuilder, a: Operand, b: Operand, alpha: Number = 1) -> ir.Value:
    """b - alpha a."""
    return binary(graph, "Sub", b, _scaled(graph, a, alpha))


def _scaled(graph: GraphBuilder, operand: Operand, alpha: Number) -> Operand:
    if alpha == 1:
        return operand
    return binary(graph, "Mul", operand, alpha) if isinstance(operand, ir.Value) else operand * alpha


@emits("aten.mul.Tensor", "aten.mul.Scalar")
def mul(graph: GraphBuilder, a: Operand, b: Operand) -> ir.Value:
    """a b; a bool times a bool is their conjunction."""
    return binary(graph, "And" if graph.result.dtype is BOOL else "Mul", a, b)


@emits("aten.div.Tensor", "aten.div.Scalar")
def div(graph: GraphBuilder, a: Operand, b: Operand) -> ir.Value:
    """a / b, always in float."""
    return binary(graph, "Div", a, b)


@emits("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(graph: GraphBuilder, a: Operand, b: Operand, rounding_mode: str | None = None) -> ir.Value:
    """a / b, rounded down ("floor") or towards zero ("trunc")."""
    if rounding_mode == "floor":
        return floor_divide(graph, a, b)
    if rounding_mode == "trunc" and graph.result.dtype is INT:
        return binary(graph, "Div", a, b)  # ONNX divides whole numbers towards zero
    quotient = binary(graph, "Div", a, b)
    return quotient if rounding_mode is None else _truncated(graph, quotient)


@emits("aten.floor_divide.default", "aten.floor_divide.Scalar")
def floor_divide(graph: GraphBuilder, a: Operand, b: Operand) -> ir.Value:
    """floor(a / b); by way of float for whole numbers, whose division ONNX rounds towards zero."""
    return graph.cast(graph.op("Floor", binary(graph, "Div", a, b, FLOAT)), graph.result.dtype)


@emits("aten.remainder.Tensor", "aten.remainder.Scalar")
def remainder(graph: GraphBuilder, a: Operand, b: Operand) -> ir.Value:
    """a - b floor(a / b): TensorRT 8.2 has no Mod."""
    quotient = graph.op("Floor", binary(graph, "Div", a, b, FLOAT))
    difference = binary(graph, "Sub", a, binary(graph, "Mul", quotient, b, FLOAT), FLOAT)
    return graph.cast(difference, graph.result.dtype)


@emits("aten.reciprocal.default")
def reciprocal(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """1 / x: TensorRT 8.2 has no Reciprocal."""
    return binary(graph, "Div", 1.0, x)


@emits("aten.pow.Tensor_Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def pow_(graph: GraphBuilder, base: Operand, exponent: Operand) -> ir.Value:
    """base ** exponent; squares and roots as what they are."""
    if isinstance(base, ir.Value) and exponent == 2:
        base = graph.cast(base, graph.result.dtype)
        return graph.op("Mul", base, base)
    if isinstance(base, ir.Value) and exponent == 0.5:
        return graph.op("Sqrt", graph.cast(base, graph.result.dtype))
    return graph.cast(binary(graph, "Pow", base, exponent, FLOAT), graph.result.dtype)


@emits("aten.square.default")
def square(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """x x."""
    return graph.op("Mul", x, x)


@emits("aten.maximum.default")
def maximum(graph: GraphBuilder, a: Operand, b: Operand) -> ir.Value:
    """The larger of both, element by element."""
    return binary(graph, "Max", a, b)


@emits("aten.minimum.default")
def minimum(graph: GraphBuilder, a: Operand, b: Operand) -> ir.Value:
    """The smaller of both, element by element."""
    return binary(graph, "Min", a, b)


@emits("aten.clamp.default", "aten.clamp.Tensor", "aten.clip.default")
def clamp(
    graph: GraphBuilder, x: ir.Value, min: Operand | None = None, max: Operand | None = None
) -> ir.Value:
    """x within bounds, either of which may be absent."""
    dtype = graph.result.dtype
    x = graph.cast(x, dtype)
    tensors = isinstance(min, ir.Value) or isinstance(max, ir.Value)
    if dtype is FLOAT and not tensors:
        low = None if min is None else graph.operand(min, dtype)
        return graph.op("Clip", x, *([low] if max is None else [low, graph.operand(max, dtype)]))
    if min is not None:  # TensorRT's Clip takes floats and single bounds only
        x = graph.op("Max", x, graph.operand(min, dtype))
    return x if max is None else graph.op("Min", x, graph.operand(max, dtype))


@emits("aten.clamp_min.default")
def clamp_min(graph: GraphBuilder, x: ir.Value, min: Operand) -> ir.Value:
    """x, but at least ``min``."""
    return clamp(graph, x, min=min)


@emits("aten.clamp_max.default")
def clamp_max(graph: GraphBuilder, x: ir.Value, max: Operand) -> ir.Value:
    """x, but at most ``max``."""
    return clamp(graph, x, max=max)


def _unary(*operators: str, op_type: str) -> None:
    def emitter(graph: GraphBuilder, x: ir.Value) -> ir.Value:
        return graph.op(op_type, graph.cast(x, graph.result.dtype))

    emits(*operators)(emitter)


for _name, _op_type in (
    ("abs", "Abs"), ("neg", "Neg"), ("exp", "Exp"), ("log", "Log"), ("sqrt", "Sqrt"), ("floor", "Floor"), ("ceil", "Ceil"),
    ("round", "Round"), ("sign", "Sign"), ("sin", "Sin"), ("cos", "Cos"), ("tan", "Tan"), ("asin", "Asin"),
    ("acos", "Acos"), ("atan", "Atan"), ("sinh", "Sinh"), ("cosh", "Cosh"), ("erf", "Erf"),
):  # fmt: skip
    _unary(f"aten.{_name}.default", op_type=_op_type)


@emits("aten.rsqrt.default")
def rsqrt(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """1 / sqrt(x)."""
    return binary(graph, "Div", 1.0, graph.op("Sqrt", x))


@emits("aten.log2.default")
def log2(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """Logarithm of base 2."""
    return binary(graph, "Mul", graph.op("Log", x), 1.4426950408889634)


@emits("aten.expm1.default")
def expm1(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """exp(x) - 1, without the extra digits that torch gives near 0."""
    return binary(graph, "Sub", graph.op("Exp", x), 1.0)


@emits("aten.log1p.default")
def log1p(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """log(1 + x), without the extra digits that torch gives near 0."""
    return graph.op("Log", binary(graph, "Add", x, 1.0))


@emits("aten.trunc.default")
def trunc(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """x rounded towards zero."""
    return _truncated(graph, x)


def _truncated(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    return graph.op("Mul", graph.op("Sign", x), graph.op("Floor", graph.op("Abs", x)))


def _comparison(name: str, op_type: str) -> None:
    def emitter(graph: GraphBuilder, a: Operand, b: Operand) -> ir.Value:
        dtype = common_dtype(a, b)
        return binary(graph, op_type, a, b, INT if dtype is BOOL else dtype)

    emits(f"aten.{name}.Tensor", f"aten.{name}.Scalar")(emitter)


for _name, _op_type in (
    ("eq", "Equal"),
    ("lt", "Less"),
    ("le", "LessOrEqual"),
    ("gt", "Greater"),
    ("ge", "GreaterOrEqual"),
):
    _comparison(_name, _op_type)


@emits("aten.ne.Tensor", "aten.ne.Scalar")
def ne(graph: GraphBuilder, a: Operand, b: Operand) -> ir.Value:
    """Where a and b differ."""
    dtype = common_dtype(a, b)
    return graph.op("Not", binary(graph, "Equal", a, b, INT if dtype is BOOL else dtype))


@emits("aten.logical_and.default", "aten.bitwise_and.Tensor", "aten.__and__.Tensor")
def logical_and(graph: GraphBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Where both hold."""
    return binary(graph, "And", a, b, BOOL)


@emits("aten.logical_or.default", "aten.bitwise_or.Tensor", "aten.__or__.Tensor")
def logical_or(graph: GraphBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Where either holds."""
    return binary(graph, "Or", a, b, BOOL)


@emits("aten.logical_not.default", "aten.bitwise_not.default")
def logical_not(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """Where x does not hold."""
    return graph.op("Not", graph.cast(x, BOOL))


@emits("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def where(graph: GraphBuilder, condition: ir.Value, a: Operand, b: Operand) -> ir.Value:
    """a where the condition holds, b elsewhere."""
    dtype = graph.result.dtype
    return graph.op("Where", condition, graph.operand(a, dtype), graph.operand(b, dtype))


@emits("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(graph: GraphBuilder, x: ir.Value, mask: ir.Value, value: Operand) -> ir.Value:
    """``value`` where the mask holds, x elsewhere."""
    return graph.op("Where", mask, graph.operand(value, graph.result.dtype), x)


@emits("aten.isnan.default")
def isnan(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """Where x is not a number."""
    return graph.op("IsNaN", x)


@emits("aten.lerp.Scalar", "aten.lerp.Tensor")
def lerp(graph: GraphBuilder, start: ir.Value, end: ir.Value, weight: Operand) -> ir.Value:
    """start + weight (end - start)."""
    return binary(graph, "Add", start, binary(graph, "Mul", weight, graph.op("Sub", end, start)))


@emits("aten.addcmul.default")
def addcmul(graph: GraphBuilder, x: ir.Value, a: ir.Value, b: ir.Value, value: Number = 1) -> ir.Value:
    """x + value a b."""
    return binary(graph, "Add", x, _scaled(graph, graph.op("Mul", a, b), value))


@emits("aten.addcdiv.default")
def addcdiv(graph: GraphBuilder, x: ir.Value, a: ir.Value, b: ir.Value, value: Number = 1) -> ir.Value:
    """x + value a / b."""
    return binary(graph, "Add", x, _scaled(graph, graph.op("Div", a, b), value))
