"""A graph is read as the kernels that TensorRT would leave of it."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import shape_inference
from torch import Tensor, nn

from benchmarks.published import classifiers, inceptions, pictures
from benchmarks.published.sketch import Sketch
from edgekit.bundle import Bundle
from edgekit.export.convert import convert
from edgekit.export.estimate.work import Work, work_of


def read(bundle: Bundle, graph: str) -> list[Work]:
    proto = onnx.load_model_from_string(bundle.read_graph(graph))
    return work_of(ir.serde.deserialize_model(shape_inference.infer_shapes(proto)))


def test_a_convolution_takes_its_batch_norm_rectifier_and_residual_addition_with_it() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.second(torch.relu(self.first(x))) + x)

    works = work_of(convert(Residual(), {"x": torch.zeros(1, 16, 8, 8)}, ["y"]))
    assert [one.kind for one in works] == ["winograd", "pointwise"]
    pixels, weights = 16 * 8 * 8, 16 * 16
    assert (
        works[0].flops == 2 * pixels * 16 * 9
        and works[0].weights == weights * 9
        and works[0].moved == 2 * pixels
    )
    assert works[1].moved == 3 * pixels, "reads its input and the addition's other side, writes once"


def test_elementwise_operators_that_follow_each_other_are_one_kernel() -> None:
    class Chain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (torch.sigmoid(x) * 2 + 1).abs()

    (work,) = work_of(convert(Chain(), {"x": torch.zeros(1, 4, 8, 8)}, ["y"]))
    assert work.kind == "elementwise" and work.moved == 2 * 4 * 64


def test_a_concatenation_copies_only_what_others_read_too() -> None:
    s = Sketch(16, 8, 8)
    a, b = s.conv(s.image, 16, 3), s.conv(s.image, 16, 1)
    assert [one.kind for one in work_of(s.model(s.concat(a, b)))] == ["winograd", "pointwise"]
    s = Sketch(16, 8, 8)
    a = s.conv(s.image, 16, 3)
    kinds = [one.kind for one in work_of(s.model(s.concat(s.image, a), s.conv(a, 8, 1)))]
    assert kinds.count("concat") == 2


@pytest.mark.parametrize(
    ("model", "giga", "mega"),
    [  # multiply-adds and parameters as the papers, or torchvision's documentation, give them
        (classifiers.resnet(50), 4.09, 25.6), (classifiers.vgg(16), 15.47, 138.4), (classifiers.densenet(121), 2.83, 8.0),
        (classifiers.mobilenet_v1(), 0.569, 4.2), (classifiers.mobilenet_v2(), 0.301, 3.5), (classifiers.shufflenet_v2("1.0"), 0.145, 2.3),
        (classifiers.squeezenet("1.1"), 0.349, 1.24), (classifiers.mnasnet(1.0), 0.314, 4.4), (classifiers.alexnet(), 0.714, 61.1),
        (inceptions.inception_v1(), 1.5, 6.6), (inceptions.inception_v3(), 5.71, 23.8), (inceptions.inception_v4(), 12.25, 42.7),
        (inceptions.inception_resnet_v2(), 13.2, 55.8), (pictures.ssd_mobilenet_v1(), 1.24, 6.8),
    ],
)  # fmt: skip
def test_the_sketches_have_the_multiply_adds_and_parameters_that_are_published(
    model: ir.Model, giga: float, mega: float
) -> None:
    works = work_of(model)
    assert sum(one.flops for one in works) / 2e9 == pytest.approx(giga, rel=0.02)
    assert sum(one.weights for one in works) / 1e6 == pytest.approx(mega, rel=0.025)


def test_a_stage_has_as_many_multiply_adds_as_its_manifest_says(anynet_bundle: Bundle) -> None:
    for stage in anynet_bundle.manifest.stages[:3]:
        plain = next(one for one in stage.variants if one.name == "conv3d")
        found = sum(one.flops * one.times for one in read(anynet_bundle, plain.graph)) / 2
        # What is a product in the graph only: resizes by matrices.
        assert stage.macs <= found <= 1.2 * stage.macs, stage.name


def test_a_scan_runs_its_body_once_a_column(anynet_bundle: Bundle) -> None:
    stage = anynet_bundle.manifest.stages[3]
    works = read(anynet_bundle, next(one for one in stage.variants if one.name == "scan").graph)
    width = stage.outputs[0].shape[-1]
    assert {one.times for one in works} - {1} and max(one.times for one in works) <= width
