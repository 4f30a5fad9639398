"""What edgekit's multi-exit classifiers are measured against: PyTorch eager, the uncut network in three runtimes, and earlyon."""

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

from edgekit.models.msdnet import Layer, MSDNet, Reduction

Array = NDArray[np.float32]
Network = Callable[[Array], Sequence[Array]]  # a normalised picture (1, 3, H, W) to the logits (1, classes) of its exits


def eager(net: nn.Module) -> Network:
    """PyTorch as it is, without gradients."""

    def run(image: Array) -> Sequence[Array]:
        with torch.inference_mode():
            return [exit_.numpy() for exit_ in net(torch.from_numpy(image))]

    return run


def plain_export(net: nn.Module, image: Array, exits: int, path: Path, *, dynamo: bool) -> None:
    """``torch.onnx.export`` of the uncut network, weights in the one file."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = [f"logits{k}" for k in range(1, exits + 1)]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.from_numpy(image),), str(path), input_names=["image"], output_names=names, dynamo=dynamo,
            external_data=False,
        )  # fmt: skip


def in_onnxruntime(path: Path, threads: int, config: Mapping[str, str]) -> Network:
    """A graph in ONNX Runtime's CPU provider with every optimisation, its session as the stages' own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for name, value in config.items():
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})


def in_openvino(path: Path, threads: int) -> Network:
    """A graph in OpenVINO's CPU plugin, float32 throughout, set for latency."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()

    def run(image: Array) -> Sequence[Array]:
        found = request.infer({"image": image}, share_inputs=True, share_outputs=True)
        return [found[output] for output in compiled.outputs]

    return run


def in_mnn(path: Path, exits: int, threads: int) -> Network:
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
    done = subprocess.run([*command, "--MNNModel", str(converted), "--bizCode", "MNN"], capture_output=True, text=True)
    if not converted.is_file():
        raise RuntimeError(f"MNN does not convert the graph: {(done.stderr or done.stdout).strip()[-200:]}")
    names = [f"logits{k}" for k in range(1, exits + 1)]
    manager = library.nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": threads},))
    module = library.nn.load_module_from_file(str(converted), ["image"], names, runtime_manager=manager)

    def run(image: Array) -> Sequence[Array]:
        value = library.expr.const(image, list(image.shape), library.expr.NCHW)
        return [np.asarray(exit_.read()) for exit_ in module.forward([value])]

    return run


class _Block(nn.Module):
    """One block of an MSDNet as a module that hands its maps on, finest first: what hooks can be put on."""

    def __init__(self, net: MSDNet, index: int) -> None:
        super().__init__()
        self.parts = net.blocks[index]
        self.scales = net.options.nScales

    def forward(self, maps: dict[int, Tensor] | Tensor) -> dict[int, Tensor]:
        for part in self.parts.children():
            if isinstance(maps, Tensor):
                maps = part(maps)
            elif isinstance(part, Layer):
                maps = {scale: part.grow(scale, maps) for scale in range(part.finest, self.scales)}
            elif isinstance(part, Reduction):
                maps = {scale: part.narrow(scale, x) for scale, x in maps.items()}
        assert isinstance(maps, dict)
        return maps


class _Final(nn.Module):
    """The last classifier behind the last block."""

    def __init__(self, net: MSDNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, maps: dict[int, Tensor]) -> Tensor:
        return self.net.head(self.net.options.nBlocks - 1)(maps[self.net.options.nScales - 1])  # type: ignore[no-any-return]


def in_earlyon(net: MSDNet, shape: tuple[int, ...], first_exit: bool) -> Callable[[Array], int]:
    """The network's blocks and classifiers for pictures of ``shape`` under earlyon's wrapper; returns the exit taken, -1 for the last.

    Its hooks need every block to be one module, which the authors' code has and ours is brought to here; it routes one picture
    to one exit and tells only that one's answer. ``first_exit`` sets its thresholds so that the first exit always answers,
    else none but the last does, the others being computed on the way.

    Raises:
        ImportError: earlyon is not installed.
    """
    wrappers = importlib.import_module("earlyon.core.wrappers")
    kinds = importlib.import_module("earlyon.core.types")
    blocks, coarsest = range(net.options.nBlocks - 1), net.options.nScales - 1
    points = [kinds.ExitPoint(f"exit{k + 1}", str(k), net.head(k).linear.in_features) for k in blocks]
    config = kinds.EarlyExitConfig(
        "msdnet", net.options.num_classes, points, confidence_thresholds=[0.0 if first_exit else 1.0] * len(points)
    )
    wrapper = wrappers.EarlyExitWrapper(
        nn.Sequential(*(_Block(net, k) for k in range(net.options.nBlocks))).eval(),
        {f"exit{k + 1}": net.head(k) for k in blocks},
        _Final(net),
        config,
        input_shape=shape,
        feature_adapters={f"exit{k + 1}": lambda maps: maps[coarsest] for k in blocks},
    ).eval()

    def run(image: Array) -> int:
        return int(wrapper(torch.from_numpy(image)).exit_taken)

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # its first call traces the network to estimate costs, which dictionaries resist
        run(np.zeros(shape, np.float32))
    return run
