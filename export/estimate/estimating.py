"""Predicts every stage of a bundle on a module: which of its graphs, in which precision, how long, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import shape_inference

from edgekit.bundle import Bundle, StageSpec, Variant
from edgekit.errors import OptionError
from edgekit.export.estimate.hardware import Hardware
from edgekit.export.estimate.roofline import CALL_MS, UNSEEN, Calibration, kernels, milliseconds
from edgekit.export.estimate.work import Work, work_of

PRECISIONS = ("fp32", "fp16", "int8")
FAR = 2.0


@dataclass(frozen=True)
class Predicted:
    """One stage; every time is predicted, in ms.

    Attributes:
        stage, network: which; the network is None where there is only one.
        exit: whether it gives an answer.
        variant, precision: the graph, and what it would be computed in.
        kernels: that TensorRT would start, after fusion.
        ms, until: of the stage alone; of all stages of its network up to it.
        low, high: between what ``until`` may well lie: as far off as eight of ten held-out records, and a factor of `FAR` off where
            no record is alike.
        unseen: share of ``ms`` in kernels of kinds that no published record has.
    """

    stage: str
    network: str | None
    exit: bool
    variant: str
    precision: str
    kernels: int
    ms: float
    until: float
    low: float
    high: float
    unseen: float


def estimate(
    bundle: Bundle, on: Hardware, calibration: Calibration, precision: str | None = None
) -> list[Predicted]:
    """Every stage, each in its bundle's graph for TensorRT and the fastest precision that the module has, or in ``precision``.

    Raises:
        OptionError: the module has no such precision.
        BundleError: a graph is missing or damaged.
    """
    if precision is not None and precision not in on.flops:
        raise OptionError(f"--precision {precision}: the {on.module} has {', '.join(on.flops)}")
    found: list[Predicted] = []
    sums: dict[str | None, tuple[float, float, float]] = {}
    for stage in bundle.manifest.stages:
        network = bundle.manifest.network_of(stage.name)
        variant = graph_for_tensorrt(stage)
        model = _read(bundle, variant)
        works = work_of(model)
        choices = _precisions(model, on) if precision is None else [precision]
        ms, chosen, unseen = min(_timed(works, on, calibration, one) for one in choices)
        until, low, high = sums.get(network, (0.0, 0.0, 0.0))
        until += ms
        low += ms * (unseen / FAR + (1.0 - unseen) * calibration.low)
        high += ms * (unseen * FAR + (1.0 - unseen) * calibration.high)
        sums[network] = until, low, high
        found.append(
            Predicted(
                stage.name, network, stage.exit is not None, variant.name, chosen, sum(one.times for one in works), ms,
                until, low, high, unseen,
            )
        )  # fmt: skip
    return found


def graph_for_tensorrt(stage: StageSpec) -> Variant:
    """The graph that a session on TensorRT takes before anything was measured."""
    usable = [one.name for one in stage.variants if one.runtime in (None, "tensorrt")] or [
        stage.variants[0].name
    ]
    name = stage.defaults.get("tensorrt", usable[0])
    return next(one for one in stage.variants if one.name == name)


def _timed(
    works: Sequence[Work], on: Hardware, calibration: Calibration, precision: str
) -> tuple[float, str, float]:
    each = milliseconds(kernels(works), on, precision, calibration.coefficients)
    total = float(each.sum()) + CALL_MS
    unseen = sum(
        float(ms) for one, ms in zip(works, each, strict=True) if one.kind in UNSEEN or one.times > 1
    )
    return total, precision, unseen / total


def _precisions(model: ir.Model, on: Hardware) -> list[str]:
    """What `edgekit build` would try: INT8 for quantised graphs alone."""
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph)
    return [name for name in PRECISIONS if name in on.flops and (name != "int8" or quantised)]


def _read(bundle: Bundle, variant: Variant) -> ir.Model:
    proto = onnx.load_model_from_string(bundle.read_graph(variant.graph))
    return ir.serde.deserialize_model(shape_inference.infer_shapes(proto))
