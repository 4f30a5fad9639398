"""A network as others run it: in PyTorch, and its plain export in ONNX Runtime, OpenVINO and MNN, each set for one frame at a time."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.runtime.backends.cores import CallersCore
from edgekit.runtime.backends.onnxruntime_settings import callers_core

Array = NDArray[np.float32]
Network = Callable[..., Sequence[Array]]  # its inputs in their order to its outputs in theirs

# Threads spin within a run, as they do by default, but not after it: they would slow down whoever has the next turn.
SPIN_WITHIN_RUNS = {"session.force_spinning_stop": "1"}


def eager(net: nn.Module) -> Network:
    """PyTorch as it is, without gradients."""

    def run(*inputs: Array) -> Sequence[Array]:
        with torch.inference_mode():
            found = net(*map(torch.from_numpy, inputs))
            return [one.numpy() for one in ([found] if isinstance(found, Tensor) else found)]

    return run


def plain_export(
    net: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path, *, dynamo: bool
) -> None:
    """``torch.onnx.export`` of the uncut network at its default opset, weights in the one file."""
    # The exporter reports its progress on stdout, through warnings and through logging.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=list(outputs), dynamo=dynamo,
            external_data=False,
        )  # fmt: skip


def in_onnxruntime(
    graph: Path | bytes, threads: int, config: Mapping[str, str] = SPIN_WITHIN_RUNS
) -> Network:
    """A graph in ONNX Runtime's CPU provider with every optimisation; ``config`` as the stages' own sessions have it.

    Where that keeps threads to cores, the one that calls takes its own, as before every stage.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for name, value in config.items():
        options.add_session_config_entry(name, value)
    source = graph if isinstance(graph, bytes) else str(graph)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    number = callers_core(config)
    core = None if number is None else CallersCore(number)

    def run(*inputs: Array) -> Sequence[Array]:
        if core is not None:
            core.take()
        return session.run(None, dict(zip(names, inputs, strict=True)))  # type: ignore[no-any-return]

    return run


def in_openvino(graph: Path | bytes, threads: int, precision: str = "f32") -> Network:
    """A graph in OpenVINO's CPU plugin, set for latency; ``precision`` is what it may compute floats in."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
    }
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(graph, b"") if isinstance(graph, bytes) else str(graph), "CPU", settings
    )
    request = compiled.create_infer_request()
    names = [one.get_any_name() for one in compiled.inputs]

    def run(*inputs: Array) -> Sequence[Array]:
        found = request.infer(dict(zip(names, inputs, strict=True)), share_inputs=True, share_outputs=True)
        return [found[output] for output in compiled.outputs]

    return run


def in_mnn(path: Path, inputs: Sequence[str], outputs: Sequence[str], threads: int) -> Network:
    """A graph in MNN on the CPU, in its high precision (float32).

    Raises:
        ImportError: MNN is not installed.
        RuntimeError: it does not convert the graph.
    """
    # MNN says on the standard output which instructions the processor has.
    with contextlib.redirect_stdout(io.StringIO()):
        library = importlib.import_module("MNN")
    converted = path.with_suffix(".mnn")
    command = [sys.executable, "-m", "MNN.tools.mnnconvert", "-f", "ONNX", "--modelFile", str(path)]
    done = subprocess.run(
        [*command, "--MNNModel", str(converted), "--bizCode", "MNN"], capture_output=True, text=True
    )
    if not converted.is_file():
        raise RuntimeError(f"MNN does not convert the graph: {(done.stderr or done.stdout).strip()[-200:]}")
    manager = library.nn.create_runtime_manager(
        ({"backend": "CPU", "precision": "high", "numThread": threads},)
    )
    module = library.nn.load_module_from_file(
        str(converted), list(inputs), list(outputs), runtime_manager=manager
    )

    def run(*arrays: Array) -> Sequence[Array]:
        values = [library.expr.const(array, list(array.shape), library.expr.NCHW) for array in arrays]
        return [np.asarray(one.read()) for one in module.forward(values)]

    return run
