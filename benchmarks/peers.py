"""What edgekit's AnyNet is measured against: PyTorch eager, plain exports of the uncut network, and OpenCV's StereoSGBM."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.models.anynet import AnyNet

Array = NDArray[np.float32]
# A peer network: normalised left and right (1, 3, H, W) to its exits (1, 1, H, W) px.
Network = Callable[[Array, Array], Sequence[Array]]

# Threads spin within a run, as they do by default, but not after it: they would slow down whoever has the next turn.
SPIN_WITHIN_RUNS = {"session.force_spinning_stop": "1"}


def without_propagation(net: AnyNet) -> AnyNet:
    """The same network with its first three exits only."""
    smaller = AnyNet(replace(net.options, with_spn=False))
    smaller.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("refine_spn.")})
    return smaller.eval()


def multiply_adds(net: AnyNet, size: tuple[int, int]) -> int:
    """Multiply-adds of the convolutions of both views at ``size``, counted by PyTorch while it runs them."""
    from torch.utils.flop_counter import FlopCounterMode

    picture = torch.zeros(1, 3, *size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(picture, picture)
    return int(counter.get_total_flops()) // 2


def eager(net: AnyNet) -> Network:
    """PyTorch as it is, without gradients."""

    def run(left: Array, right: Array) -> Sequence[Array]:
        with torch.inference_mode():
            return [exit_.numpy() for exit_ in net(torch.from_numpy(left), torch.from_numpy(right))]

    return run


def plain_export(net: AnyNet, size: tuple[int, int], path: Path, *, dynamo: bool) -> None:
    """``torch.onnx.export`` of the uncut network at its default opset, weights in the one file."""
    pictures = tuple(torch.zeros(1, 3, *size) for _ in range(2))
    names = [f"disparity{k + 1}" for k in range(4 if net.refine_spn is not None else 3)]
    # The exporter reports its progress on stdout, through warnings and through logging.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, pictures, str(path), input_names=["left", "right"], output_names=names, dynamo=dynamo,
            external_data=False,
        )  # fmt: skip


def in_onnxruntime(path: Path, threads: int, config: Mapping[str, str] = SPIN_WITHIN_RUNS) -> Network:
    """A graph in ONNX Runtime's CPU provider with every optimisation; ``config`` as the stages' own sessions have it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for name, value in config.items():
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(left: Array, right: Array) -> Sequence[Array]:
        return session.run(None, {"left": left, "right": right})  # type: ignore[no-any-return]

    return run


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

    def run(left: Array, right: Array) -> Sequence[Array]:
        found = request.infer({"left": left, "right": right}, share_inputs=True, share_outputs=True)
        return [found[output] for output in compiled.outputs]

    return run
