"""What a Jetson could do at most in each power mode: operations and bytes a second, from facts/jetson_hardware.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.errors import OptionError, meant

FACTS = Path(__file__).parent.parent / "facts" / "jetson_hardware.json"
# What `--target` may name, and the module that stands for it. The names of `edgekit targets`, and two more where one of them
# covers modules of different speed.
MODULES = {
    "jetson-tx2": "Jetson TX2",
    "jetson-nano": "Jetson Nano",
    "jetson-xavier": "Jetson AGX Xavier",
    "jetson-xavier-nx": "Jetson Xavier NX",
    "jetson-orin": "Jetson AGX Orin 64GB",
    "jetson-orin-nx": "Jetson Orin NX 16GB",
    "jetson-orin-nano": "Jetson Orin Nano 8GB",
}
# Multiprocessors: deviceQuery of TX2, Xavier, Orin NX and AGX Orin as the facts' notes quote it; of the others, cores divided by
# those of a multiprocessor of the same architecture.
MULTIPROCESSORS = {
    "Jetson TX2": 2, "Jetson Nano": 1, "Jetson AGX Xavier": 8, "Jetson Xavier NX": 6, "Jetson AGX Orin 64GB": 16,
    "Jetson Orin NX 16GB": 8, "Jetson Orin Nano 8GB": 8,
}  # fmt: skip
# Megatransfers' clock of the memory where it is not held down: of the modules whose modes hold it down at all.
MEMORY_MHZ = {
    "Jetson TX2": 1866.0,
    "Jetson AGX Orin 64GB": 3199.0,
    "Jetson Orin NX 16GB": 3199.0,
    "Jetson Orin Nano 8GB": 2133.0,
}


@dataclass(frozen=True)
class Hardware:
    """One module in one power mode.

    Attributes:
        module: its name.
        mode: its power mode's name.
        gpu_mhz: the GPU's highest clock in it, which `jetson_clocks` fixes.
        share: of the GPU's highest clock in any mode.
        tensor_cores: whether products run on them.
        multiprocessors: of the GPU.
        flops: a second at most, by ``fp32``, ``fp16`` and ``int8``; absent what it has not.
        cuda_flops: a second at most of what does not run on tensor cores, by the same names.
        bytes: a second at most between the GPU and the memory.
        guesses: which of these figures nobody has read in a source.
    """

    module: str
    mode: str
    gpu_mhz: float
    share: float
    tensor_cores: bool
    multiprocessors: int
    flops: Mapping[str, float]
    cuda_flops: Mapping[str, float]
    bytes: float
    guesses: tuple[str, ...]


def hardware(target: str, mode: str | None = None) -> Hardware:
    """A target's module in a power mode, by default its fastest.

    Raises:
        OptionError: nothing is known of the target, or of a clock in this mode.
    """
    if target not in MODULES:
        known = ", ".join(MODULES)
        raise OptionError(
            f"--target {target}: nothing is known of its speed{meant(target, MODULES)}; estimates are for {known}"
        )
    module = MODULES[target]
    facts = next(one for one in _devices() if one["name"] == module)
    clocks = _clocks(facts)
    chosen = mode if mode is not None else max(clocks, key=lambda name: clocks[name][0])
    found = next((name for name in clocks if name.lower() == chosen.lower()), None)
    if found is None:
        modes = ", ".join(f"{name} ({clocks[name][0]:g} MHz)" for name in clocks)
        raise OptionError(
            f"--mode {mode}: the GPU's clock in it is not known for the {module}; known are {modes}"
        )
    mhz, memory_share, recalled = clocks[found]
    share = mhz / float(facts["gpu_max_mhz"])
    peak = facts["peak"]
    tensor = bool(facts["tensor_cores"])
    flops = {
        "fp32": peak["fp32_gflops"],
        "fp16": peak["fp16_tensor_gflops"] or peak["fp16_cuda_gflops"],
        "int8": peak["int8_tensor_gops"] if facts["tensorrt_precisions"]["INT8"] else None,
    }
    cuda = {"fp32": peak["fp32_gflops"], "fp16": peak["fp16_cuda_gflops"], "int8": peak["fp16_cuda_gflops"]}
    return Hardware(
        module,
        found,
        mhz,
        share,
        tensor,
        MULTIPROCESSORS[module],
        {name: value * 1e9 * share for name, value in flops.items() if value is not None},
        {name: value * 1e9 * share for name, value in cuda.items()},
        facts["mem_bw_gbs"] * 1e9 * memory_share,
        tuple(_guesses(facts, recalled)),
    )


def _clocks(facts: Mapping[str, Any]) -> dict[str, tuple[float, float, bool]]:
    """By power mode: the GPU's clock in MHz, the memory's as a share of its highest, and whether the clock is recalled."""
    found: dict[str, tuple[float, float, bool]] = {}
    for entry in facts["nvpmodel"]:
        mhz = entry.get("gpu_mhz") or entry.get("gpu_mhz_recalled")
        if mhz is not None:
            emc, highest = entry.get("emc_mhz"), MEMORY_MHZ.get(facts["name"])
            memory = min(1.0, emc / highest) if isinstance(emc, (int, float)) and highest else 1.0
            found[str(entry["name"])] = (float(mhz), memory, entry.get("gpu_mhz") is None)
    return found


def _guesses(facts: Mapping[str, Any], recalled: bool) -> list[str]:
    said = ["the GPU's clock in this mode"] if recalled else []
    if "recalled" in str(facts["mem_bw_how"]):
        said.append("the memory's bandwidth" if facts["mem_bw_how"] == "recalled" else "the memory's width")
    if facts["tensor_cores"]:
        said.append("operations a clock of a tensor core")
    return said


@cache
def _devices() -> list[dict[str, Any]]:
    return json.loads(FACTS.read_text(encoding="utf-8"))["devices"]  # type: ignore[no-any-return]
