"""A folded batch norm leaves the same function and fewer nodes, and stays where folding it would change the function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.export.convert import convert
from edgekit.export.passes import simplify


@pytest.fixture
def folded(onnxruntime_of: Callable[..., list[np.ndarray]]) -> Callable[..., Counter[str]]:
    def check(module: nn.Module, *shape: int) -> Counter[str]:
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
        x = torch.randn(*shape)
        model = simplify(convert(module.eval(), {"x": x}, ["y"]))
        with torch.no_grad():
            want = module(x).numpy()
        np.testing.assert_allclose(onnxruntime_of(model, x)[0], want, rtol=1e-4, atol=1e-4)
        assert [value.name for value in model.graph.outputs] == ["y"]
        return Counter(node.op_type for node in model.graph)

    return check


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), (1, 4, 5, 5)),
        (nn.Conv2d(4, 6, 3, bias=False, groups=2), (1, 4, 5, 5)),
        (nn.Conv3d(4, 6, 3, padding=1), (1, 4, 5, 5, 5)),
        (nn.Conv1d(4, 6, 3), (1, 4, 7)),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5)),
        (nn.Linear(4, 6), (2, 4)),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, nn.Module) else "",
)
def test_the_layer_before_absorbs_it(folded, layer: nn.Module, shape: tuple[int, ...]) -> None:
    norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)](6)
    assert sum(folded(nn.Sequential(layer, norm), *shape).values()) == 1


@pytest.mark.parametrize("groups", [1, 2])
def test_a_following_convolution_without_padding_absorbs_it(folded, groups: int) -> None:
    module = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=groups))
    assert folded(module, 1, 4, 5, 5) == {"Relu": 1, "Conv": 1}


def test_padding_keeps_it_from_the_convolution_after(folded) -> None:
    module = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1))
    assert folded(module, 1, 4, 5, 5) == {"Relu": 1, "BatchNormalization": 1, "Conv": 1}


class _ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + self.norm(y)  # type: ignore[no-any-return]


def test_a_convolution_that_others_read_too_stays_as_it_is(folded) -> None:
    assert folded(_ReadTwice(), 1, 4, 5, 5) == {"Conv": 1, "BatchNormalization": 1, "Add": 1}


class _SharedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norms = (
            nn.Conv2d(4, 4, 3, padding=1),
            nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)]),
        )

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = norm(self.conv(x))
        return x


def test_layers_that_share_weights_are_folded_apart(folded) -> None:
    assert folded(_SharedWeights(), 1, 4, 5, 5) == {"Conv": 2}
