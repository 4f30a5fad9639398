"""What the benchmark ran on, and how fast that multiplies matrices: the yardstick for shares of the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx

from benchmarks.timing import Contender, whole

SIDE = 1024
PRODUCT_GFLOP = 2 * SIDE**3 / 1e9
PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "openvino", "opencv-python-headless")


def describe(threads: int) -> dict[str, object]:
    """Processor, cores, threads and package versions; no name of the machine and no path on it."""
    model = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "processor": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def matrix_product(threads: int, name: str, config: Mapping[str, str]) -> Contender:
    """A float32 product of two square matrices of ``SIDE`` in ONNX Runtime, its session as the stages' own."""
    import onnxruntime

    kind, shape = onnx.TensorProto.FLOAT, [SIDE, SIDE]
    a, b, c = (onnx.helper.make_tensor_value_info(n, kind, shape) for n in "abc")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for entry, value in config.items():
        options.add_session_config_entry(entry, value)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(0)
    matrices = {n: random.standard_normal((SIDE, SIDE), dtype=np.float32) for n in "ab"}
    return whole(name, lambda: session.run(None, matrices))


def _cpuinfo() -> list[str]:
    source = Path("/proc/cpuinfo")
    return source.read_text().splitlines() if source.exists() else []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
