"""Predicts how long kernels take: the longer of computing and moving memory, at a share of what the module could do, and a launch.

The shares were fitted to published latencies (`python -m benchmarks.estimate`), which also held networks, families of networks and
modules out and says how far off the predictions of those were: facts/latency_model.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.export.estimate.hardware import Hardware
from edgekit.export.estimate.work import Work

FACTS = Path(__file__).parent.parent / "facts" / "latency_model.json"
KINDS = ("winograd", "pointwise", "spatial", "first", "depthwise", "matrix", "memory")
# Kinds of kernels that take another one's share: what only moves memory has one share; of grouped and 3-D convolutions nothing
# was published that could be used.
BORROWED = {
    "elementwise": "memory", "pool": "memory", "concat": "memory", "move": "memory", "reduce": "memory", "grouped": "spatial",
    "volume": "spatial",
}  # fmt: skip
UNSEEN = frozenset({"grouped", "volume", "reduce"})  # in no network that was published
UNITS = ("cuda", "tensor")
BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
# How sharply the longer of two times hides the shorter one: a norm of this order.
OVERLAP = 2.0
# What a call costs beside its kernels, ms: records that time nothing else (MLPerf's) leave about as much.
CALL_MS = 0.1


@dataclass(frozen=True)
class Kernels:
    """Kernels as columns: index of the kind in `KINDS`, operations, elements of weights, elements moved, blocks, repetitions."""

    kind: np.ndarray
    flops: np.ndarray
    weights: np.ndarray
    moved: np.ndarray
    blocks: np.ndarray
    times: np.ndarray


@dataclass(frozen=True)
class Coefficients:
    """What was fitted.

    Attributes:
        efficiency: share of the module's peak by unit (`UNITS`) and kind (`KINDS`); of its bandwidth for the last.
        halves: share of the gain that FP16 brings on CUDA cores; INT8 on tensor cores.
        filling: blocks a multiprocessor at which half of it is used, by unit.
        launch_us: by module, at its highest clock.
    """

    efficiency: np.ndarray
    halves: np.ndarray
    filling: np.ndarray
    launch_us: Mapping[str, float]


@dataclass(frozen=True)
class Calibration:
    """The coefficients, and how far off they were where it could be seen.

    Attributes:
        coefficients: what was fitted to every record.
        errors: by what was held out: ``median`` relative error, share ``within_2x``, ``records``.
        low, high: published over predicted time, such that eight of ten records lay between them whose family or module was held out.
        document: the whole file, for reports.
    """

    coefficients: Coefficients
    errors: Mapping[str, Mapping[str, float]]
    low: float
    high: float
    document: Mapping[str, Any]


def kernels(works: Sequence[Work]) -> Kernels:
    """Columns of a graph's kernels."""
    kinds = [KINDS.index(BORROWED.get(one.kind, one.kind)) for one in works]
    table = np.array(
        [(one.flops, one.weights, one.moved, one.blocks, one.times) for one in works], np.float64
    ).reshape(-1, 5)
    return Kernels(np.array(kinds, np.intp), *table.T)


def milliseconds(table: Kernels, on: Hardware, precision: str, c: Coefficients) -> np.ndarray:
    """What every kernel takes, repetitions included, in ms."""
    unit = int(on.tensor_cores)
    peak = np.full(len(table.kind), on.flops[precision])
    # No tensor cores, and no gain from fewer bits
    peak[table.kind == KINDS.index("depthwise")] = on.cuda_flops["fp32"]
    if precision == ("int8" if on.tensor_cores else "fp16"):
        peak = peak * c.halves[unit]
    waves = np.maximum(table.blocks, 1.0) / on.multiprocessors
    filled = np.minimum(1.0, waves / (waves + c.filling[unit]))
    share = c.efficiency[unit][table.kind]
    moving = table.kind >= KINDS.index("memory")
    computing = np.where(moving, 0.0, table.flops / (peak * filled * share))
    traffic = (table.weights + table.moved) * BYTES[precision]
    memory = traffic / (on.bytes * np.where(moving, share, c.efficiency[unit][KINDS.index("memory")]))
    both: np.ndarray = (computing**OVERLAP + memory**OVERLAP) ** (1.0 / OVERLAP)
    return table.times * (1e3 * both + 1e-3 * launch_us(on, c))


def launch_us(on: Hardware, c: Coefficients) -> float:
    """What begins and ends a kernel: of this module, or of the one with records that is most like it, at this clock."""
    like = {"Jetson Orin NX 16GB": "Jetson AGX Orin 64GB", "Jetson Orin Nano 8GB": "Jetson AGX Orin 64GB"}
    return c.launch_us[like.get(on.module, on.module)] / on.share


def read_calibration() -> Calibration:
    """What `python -m benchmarks.estimate` has fitted."""
    document = json.loads(FACTS.read_text(encoding="utf-8"))
    fitted = document["fitted"]
    c = Coefficients(
        np.array([[fitted["efficiency"][unit][kind] for kind in KINDS] for unit in UNITS]),
        np.array([fitted["gain_of_fewer_bits"][unit] for unit in UNITS]),
        np.array([fitted["half_filled_at_blocks"][unit] for unit in UNITS]),
        fitted["launch_us"],
    )
    low, high = document["published_over_predicted_of_8_in_10"]
    return Calibration(c, document["held_out"], low, high, document)
