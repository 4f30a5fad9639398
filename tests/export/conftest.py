"""The judge of every emitter and pass: the same computation in torch and in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit.bundle import Bundle
from edgekit.export.convert import convert, serialize
from edgekit.export.sample_inputs import sample_inputs
from edgekit.models.anynet import AnyNet
from edgekit.models.staged import ImageInput


class _Function(nn.Module):
    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs)


def run(model: ir.Model, *inputs: Tensor) -> list[np.ndarray]:
    """What ONNX Runtime computes from the tensors, at its lowest level of optimisation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(serialize(model), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    kinds = {"tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": np.bool_}
    feeds = {
        entry.name: tensor.numpy().astype(kinds[entry.type])
        for entry, tensor in zip(session.get_inputs(), inputs, strict=True)
    }
    assert len(names) == len(inputs)
    return session.run(None, feeds)  # type: ignore[no-any-return]


class Converted:
    """A function or module in torch beside its graph, proven equal on the inputs it was converted with."""

    def __init__(
        self, function: Callable[..., object] | nn.Module, *inputs: Tensor, rtol: float, atol: float
    ) -> None:
        module = function if isinstance(function, nn.Module) else _Function(function)
        with torch.no_grad():
            expected = module.eval()(*inputs)
        tensors = list(expected) if isinstance(expected, (list, tuple)) else [expected]
        names = {f"x{k}": tensor for k, tensor in enumerate(inputs)}
        self.model = convert(module, names, [f"y{k}" for k in range(len(tensors))], "case")
        self.operators = Counter(node.op_type for node in self.model.graph)
        for got, want in zip(run(self.model, *inputs), tensors, strict=True):
            assert got.shape == tuple(want.shape)
            np.testing.assert_allclose(got.astype(np.float64), want.double().numpy(), rtol=rtol, atol=atol)


@pytest.fixture(scope="session")
def same() -> Callable[..., Converted]:
    """Convert, run in ONNX Runtime, and compare with torch; returns what was converted."""

    def check(
        function: Callable[..., object] | nn.Module, *inputs: Tensor, rtol: float = 1e-5, atol: float = 1e-5
    ) -> Converted:
        return Converted(function, *inputs, rtol=rtol, atol=atol)

    return check


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def onnxruntime_of() -> Callable[..., list[np.ndarray]]:
    """What ONNX Runtime computes with a model from tensors."""
    return run


@pytest.fixture(scope="session")
def anynet_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained AnyNet with SPN whose batch norms know what pictures look like."""
    torch.manual_seed(0)
    net = AnyNet().train()
    for norm in net.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = None  # the mean of what it sees
    spec = tuple(ImageInput(name, 96, 192) for name in ("left", "right"))
    with torch.no_grad():
        net(*sample_inputs(spec, "stereo").values())
    path = tmp_path_factory.mktemp("anynet") / "untrained.tar"
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, path)
    return path


@pytest.fixture(scope="session")
def anynet_bundle(anynet_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """That AnyNet, exported for any Jetson at a small size."""
    out = tmp_path_factory.mktemp("bundle") / "anynet.edgekit"
    return edgekit.export(model="anynet", checkpoint=anynet_checkpoint, size=(96, 192), out=out)
