"""Graphs are small, named by the user's modules, the same every time, and what cannot be one is refused with the place."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ExportError
from edgekit.export.convert import convert, serialize


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = torch.relu(conv(x))
        return x


def _graph(module: nn.Module, *inputs: Tensor, outputs: int = 1) -> ir.Model:
    return convert(
        module, {f"x{k}": x for k, x in enumerate(inputs)}, [f"y{k}" for k in range(outputs)], "stage1"
    )


def test_nodes_and_weights_carry_the_module_path() -> None:
    model = _graph(_Block(), torch.zeros(1, 3, 4, 4))
    assert [node.name for node in model.graph] == ["convs.0/Conv", "Relu", "convs.1/Conv", "Relu_1"]
    assert "convs.1.weight" in model.graph.initializers


def test_the_file_is_opset_13_of_an_ir_that_old_runtimes_read_and_passes_the_checker() -> None:
    proto = onnx.load_from_string(serialize(_graph(_Block(), torch.zeros(1, 3, 4, 4))))
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == 7
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 13)]


def test_every_value_has_a_static_shape() -> None:
    for node in _graph(_Block(), torch.zeros(1, 3, 4, 4)).graph:
        assert all(isinstance(side, int) for value in node.outputs for side in value.shape or ["unknown"])


def test_the_same_module_gives_the_same_bytes() -> None:
    torch.manual_seed(3)
    module, x = _Block(), torch.zeros(1, 3, 4, 4)
    assert serialize(_graph(module, x)) == serialize(_graph(module, x + 1))


class _Constants(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.softmax(self.scale.exp() + torch.arange(2), 0)


def test_what_depends_on_no_input_is_computed_during_the_conversion() -> None:
    model = _graph(_Constants(), torch.zeros(3, 2))
    assert [node.op_type for node in model.graph] == ["Mul"]


class _Big(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.long() + 2**40


def test_numbers_beyond_32_bits_are_refused() -> None:
    with pytest.raises(ExportError, match="32 bits"):
        _graph(_Big(), torch.zeros(2))


class _Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


def test_branching_on_values_is_refused_with_the_reason() -> None:
    with pytest.raises(ExportError, match=r"stage1: .*_Branches.*branch"):
        _graph(_Branches(), torch.zeros(2))


class _Remembers(nn.Module):
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(x)
        return self.seen * 1


def test_a_module_that_keeps_state_is_refused() -> None:
    with pytest.raises(ExportError, match="seen"):
        _graph(_Remembers(), torch.zeros(2))


class _Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(2)


def test_random_numbers_are_refused_and_not_frozen() -> None:
    with pytest.raises(ExportError, match=r"aten\.rand"):
        _graph(_Random(), torch.zeros(2))


class _Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.ReLU(), _Fft())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)  # type: ignore[no-any-return]


class _Fft(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).abs()


def test_an_operator_without_emitter_is_named_with_its_module() -> None:
    with pytest.raises(ExportError) as raised:
        _graph(_Deep(), torch.zeros(8))
    assert "fft" in str(raised.value) and "head.1" in str(raised.value) and "lowering" in str(raised.value)


def test_a_wrong_number_of_outputs_is_refused() -> None:
    with pytest.raises(ExportError, match="returns 1 tensors, its stage names 2"):
        _graph(nn.ReLU(), torch.zeros(2), outputs=2)


class _UnderNoGrad(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x * 2


def test_no_grad_inside_a_module_changes_nothing(onnxruntime_of) -> None:
    model = _graph(_UnderNoGrad(), torch.zeros(2))
    np.testing.assert_array_equal(onnxruntime_of(model, torch.ones(2))[0], [2, 2])
