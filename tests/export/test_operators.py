"""The operator checker names the node, why TensorRT refuses it and what to do; and says nothing about what it takes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgekit.errors import OptionError
from edgekit.export.convert import convert
from edgekit.export.graph import GraphBuilder
from edgekit.export.operators import Finding, check
from edgekit.export.tensorrt_table import version, versions

FLOAT, INT32, INT64, BOOL = ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL


def _findings(graph: GraphBuilder, y: ir.Value, tensorrt: str = "8.2", opset: int = 13) -> list[Finding]:
    graph.typed(y, (1,), y.dtype)
    model = ir.Model(graph.graph({"y": y}), ir_version=7)
    model.graph.opset_imports[""] = opset
    return check(model, version(tensorrt))


def _one(
    op_type: str,
    *inputs: object,
    tensorrt: str = "8.2",
    shape: tuple[int, ...] = (1, 4, 8, 8),
    **attributes: object,
) -> list[str]:
    """Findings about a single node whose first input is a picture, later ones constants, or computed where "x"."""
    graph = GraphBuilder(scope="net.layer")
    x = graph.input("x", shape)
    others = [
        x if isinstance(other, str) else None if other is None else graph.constant(other) for other in inputs
    ]
    found = _findings(graph, graph.op(op_type, x, *others, **attributes), tensorrt)
    assert all(finding.node == f"net.layer/{op_type}" for finding in found)
    return [str(finding) for finding in found]


def test_a_network_of_ordinary_layers_passes_every_version() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(4, 2), nn.Softmax(1))  # fmt: skip
    model = convert(net, {"x": torch.zeros(1, 3, 16, 16)}, ["y"])
    for tensorrt in versions():
        if tensorrt.max_opset >= 13:
            assert check(model, tensorrt) == []


def test_grid_sample_is_refused_by_8_2_and_named_with_the_first_version_that_has_it() -> None:
    (finding,) = _one("GridSample", "x")
    assert (
        "net.layer/GridSample (GridSample): TensorRT 8.2 does not import it, TensorRT 8.5 is the first"
        in finding
    )
    assert _one("GridSample", "x", tensorrt="8.5") == []


@pytest.mark.parametrize("operator", ["HardSwish", "Mod", "Reciprocal", "OneHot", "NonZero", "Xor"])
def test_what_8_2_lacks_is_refused(operator: str) -> None:
    assert len(_one(operator)) == 1


def test_an_opset_beyond_the_parser_is_refused() -> None:
    graph = GraphBuilder("stage1")
    found = _findings(graph, graph.op("Relu", graph.input("x", (1,))), opset=17)
    assert [finding.operator for finding in found] == ["opset"]
    assert "reads up to 13" in str(found[0])


def test_data_types_are_judged_by_what_the_operator_takes() -> None:
    graph = GraphBuilder()
    mask = graph.input("mask", (1, 4), BOOL)
    (finding,) = _findings(graph, graph.op("Add", mask, mask))
    assert "BOOL" in finding.reason and "FP32" in finding.reason
    graph = GraphBuilder()
    x = graph.input("x", (1, 4), ir.DataType.DOUBLE)
    assert "FP64" in str(_findings(graph, graph.op("Relu", x))[0])


def test_64_bit_numbers_count_as_32_before_tensorrt_10() -> None:
    graph = GraphBuilder()
    x = graph.input("x", (1, 4), INT64)
    assert _findings(graph, graph.op("Add", x, x)) == []


@pytest.mark.parametrize(
    ("inputs", "attributes", "word"),
    [
        ((None, None, np.array([1, 4, 16, 16])), {"mode": "cubic"}, "cubic"),
        (
            (None, None, np.array([1, 4, 16, 16])),
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
            "coordinates",
        ),
        ((None, None, "x"), {"mode": "linear"}, "computed"),
    ],
)
def test_resizes_that_tensorrt_has_not_are_refused(
    inputs: tuple[object, ...], attributes: dict[str, str], word: str
) -> None:
    (finding,) = _one("Resize", *inputs, **attributes)
    assert word in finding


def test_resizes_that_tensorrt_has_pass() -> None:
    for mode in ("nearest", "linear"):
        for coordinates in ("half_pixel", "align_corners", "asymmetric"):
            assert (
                _one(
                    "Resize",
                    None,
                    None,
                    np.array([1, 4, 16, 16]),
                    mode=mode,
                    coordinate_transformation_mode=coordinates,
                )
                == []
            )


def test_computed_weights_are_refused_before_8_5() -> None:
    assert "weights" in _one("Conv", "x")[0]
    assert _one("Conv", "x", tensorrt="8.5") == []


def test_ranks_outside_two_and_three_dimensions_are_refused() -> None:
    assert "3 dimensions" in _one("MaxPool", shape=(1, 4, 8), kernel_shape=[2])[0]
    assert "3 dimensions" in _one("ConvTranspose", np.zeros((4, 4, 2), np.float32), shape=(1, 4, 8))[0]
    assert _one("Conv", np.zeros((4, 4, 2), np.float32), shape=(1, 4, 8)) == []
    assert (
        "6 dimensions" in _one("Conv", np.zeros((4, 4, 1, 1, 1, 1), np.float32), shape=(1, 4, 8, 8, 8, 8))[0]
    )


def test_axes_must_be_constant() -> None:
    graph = GraphBuilder()
    x, axes = graph.input("x", (1, 4)), graph.input("axes", (1,), INT64)
    (finding,) = _findings(graph, graph.op("Unsqueeze", x, axes))
    assert "axes" in finding.reason


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ((0.1,), "no zero point"),
        ((0.1, np.int8(3)), "zero point other than 0"),
        ((0.1, np.uint8(0)), "UINT8"),
        ((-0.1, np.int8(0)), "not positive"),
    ],
)
def test_quantisation_other_than_symmetric_int8_is_refused(inputs: tuple[object, ...], word: str) -> None:
    assert any(word in finding for finding in _one("QuantizeLinear", *inputs))
    assert _one("QuantizeLinear", 0.1, np.int8(0)) == []


def test_the_oldest_parsers_have_rules_of_their_own() -> None:
    assert _one("Pad", np.array([0, 1, 0, 0, 0, 0, 0, 0]), tensorrt="8.0") != []
    assert _one("Pad", np.array([0, 1, 0, 0, 0, 0, 0, 0])) == []
    assert _one("Gather", np.array([-1]), tensorrt="8.0") != []
    assert _one("Clip", 0.0, "x", tensorrt="8.0") != []


def test_nodes_inside_a_scan_are_checked_too() -> None:
    graph = GraphBuilder()
    start, rows = graph.input("start", (4,)), graph.input("rows", (8, 4))
    body = graph.body("row")
    state, row = body.input("state", (4,), FLOAT), body.input("row", (4,), FLOAT)
    total = body.typed(body.op("Mod", state, row), (4,), FLOAT)
    inner = body.graph({"next": total, "sum": total})
    last, _ = graph.multi("Scan", 2, start, rows, body=inner, num_scan_inputs=1)
    assert [finding.operator for finding in _findings(graph, last)] == ["Mod"]


def test_a_version_between_two_records_is_judged_by_the_older_one() -> None:
    assert version("8.3").number == (8, 2)
    assert version("8.5.2").number == (8, 5)
    with pytest.raises(OptionError, match=r"older than TensorRT 7\.1"):
        version("6.0")
    with pytest.raises(OptionError, match="no TensorRT version"):
        version("newest")


def test_every_version_says_where_its_table_comes_from() -> None:
    assert all(len(tensorrt.commit) >= 40 for tensorrt in versions())


@pytest.mark.parametrize(("groups", "channels", "refused"), [(2, 4, True), (2, 8, False), (1, 6, False)])
def test_int8_convolutions_in_groups_want_multiples_of_four(
    groups: int, channels: int, refused: bool
) -> None:
    graph = GraphBuilder()
    x = graph.input("x", (1, channels, 8, 8))
    scale, zero = graph.constant(np.float32(0.1)), graph.constant(np.int8(0))
    quantised = graph.op("DequantizeLinear", graph.op("QuantizeLinear", x, scale, zero), scale, zero)
    kernel = graph.constant(np.ones((channels, channels // groups, 1, 1), np.int8))
    weight = graph.typed(
        graph.op("DequantizeLinear", kernel, scale, zero), (channels, channels // groups, 1, 1), FLOAT
    )
    found = _findings(graph, graph.op("Conv", quantised, weight, group=groups))
    assert any("multiples of 4" in str(finding) for finding in found) == refused
