"""Every form of a CondenseNet's dense block computes what the converted network computes, and none shuffles between group convolutions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import ModuleType

import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.export import operators
from edgekit.export.convert import convert, serialize
from edgekit.export.lowering import parts, variants
from edgekit.export.lowering.condensenet import LoweredCondenseNet, block_forms
from edgekit.export.lowering.condensenet_growing import DepthwiseSum, growing
from edgekit.export.lowering.condensenet_layers import LayerArrays, Taps, arrays, regrouped
from edgekit.export.passes import simplify
from edgekit.export.tensorrt_table import version
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions, converted

FORMS = ("chunks-grouped", "chunks-joined", "chunks-apart", "chunks-depthwise", "fetch-parts", "fetch-matmul")
C8 = CondenseNetOptions(
    stages=(4, 1, 2),
    growth=(8, 16, 32),
    data="cifar10",
    group_1x1=8,
    group_3x3=8,
    condense_factor=8,
    num_classes=10,
)


def _net(options: CondenseNetOptions, seed: int = 0) -> CondenseNet:
    torch.manual_seed(seed)
    net = CondenseNet(options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.weight)  # of both signs, and some 0
            module.weight.data[::7] = 0
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    net.condense(1.0)
    return converted(net)


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-4 * b.abs().max())


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.sampled_from([4, 8, 12, 24]),
    st.integers(1, 5), st.integers(0, 1000),
)  # fmt: skip
def test_every_form_of_a_block_computes_the_same(
    group_1x1: int, group_3x3: int, factor: int, growth: int, layers: int, seed: int
) -> None:
    options = CondenseNetOptions(
        stages=(layers, 1), growth=(growth, 8), data="cifar10", group_1x1=group_1x1, group_3x3=group_3x3,
        condense_factor=factor, num_classes=3,
    )  # fmt: skip
    net = _net(options, seed)
    image = torch.randn(1, 3, 16, 16)
    possible = block_forms([arrays(layer) for layer in net.blocks()[0]])
    with torch.no_grad():
        wanted = net(image)
        for form in possible:
            assert _same(LoweredCondenseNet(net, [form, "fetch-parts"]).eval()(image), wanted), form


def test_any_form_may_follow_any_other() -> None:
    net = _net(C8)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        wanted = net(image)
        for first, second in product(FORMS, FORMS):
            forms = [first, second, second if second != "chunks-depthwise" else "fetch-parts"]
            assert _same(LoweredCondenseNet(net, forms).eval()(image), wanted), forms


def test_a_feature_that_each_group_normalises_in_its_own_way_is_fetched() -> None:
    """A network that was trained on after its conversion: dense weights would need one norm a feature."""
    net = _net(C8)
    conv = net.blocks()[0][1].conv_1
    conv.index[:3] = 5
    conv.norm.weight.data.normal_()
    image = torch.randn(1, 3, 32, 32)
    found = variants(net, {"image": (1, 3, 32, 32)})
    assert "chunks" not in found
    with torch.no_grad():
        for module in found.values():
            assert _same(module(image), net(image))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([1, 2, 4, 8]), st.integers(1, 3), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3)
)
def test_every_form_of_a_grouped_convolution_computes_the_same(
    groups: int, inputs: int, outputs: int, before: int, after: int
) -> None:
    weight = torch.randn(groups * outputs, inputs, 3, 3)
    empty = torch.zeros(groups, 1)
    layer = LayerArrays(
        1, Taps(empty, empty, empty), empty[..., None], torch.zeros(groups, inputs), weight, groups
    )
    x = torch.randn(1, groups * inputs, 5, 6)
    wanted = nn.functional.pad(
        nn.functional.conv2d(x, weight, padding=1, groups=groups), (0, 0, 0, 0, before, after)
    )
    for form in ("grouped", "joined", "dense", "depthwise"):
        assert torch.allclose(growing(layer, form, before, after)(x), wanted, atol=1e-4), form
    fewer = groups // 2 or 1
    joined = nn.functional.conv2d(x, regrouped(weight, groups, fewer), padding=1, groups=fewer)
    assert torch.allclose(joined, wanted[:, before : before + groups * outputs], atol=1e-4)
    assert isinstance(growing(layer, "depthwise"), DepthwiseSum)


@pytest.fixture(scope="module")
def graphs() -> dict[str, ir.Model]:
    net = _net(C8)
    image = {"image": torch.zeros(1, 3, 32, 32)}
    modules = dict(variants(net, {"image": (1, 3, 32, 32)}))
    modules |= {form: LoweredCondenseNet(net, [form, form, "fetch-matmul"]).eval() for form in FORMS}
    return {name: simplify(convert(module, image, ["logits1"], name)) for name, module in modules.items()}


def test_no_graph_shuffles_between_group_convolutions(graphs: dict[str, ir.Model]) -> None:
    """TensorRT 8.5 fails to build a group convolution whose input is another one's, reshaped and transposed."""
    for name, model in graphs.items():
        for node in model.graph:
            if _groups(node) > 1 and _reached_through_a_shuffle(node):
                raise AssertionError(f"{name}: {node.name}")


def test_every_graph_is_one_that_the_oldest_jetson_reads_and_onnx_runtime_runs(
    graphs: dict[str, ir.Model],
) -> None:
    for model in graphs.values():
        assert operators.check(model, version("8.2")) == []
        assert model.opset_imports[""] == 13
        session = onnxruntime.InferenceSession(serialize(model), providers=["CPUExecutionProvider"])
        assert session.run(None, {"image": torch.zeros(1, 3, 32, 32).numpy()})[0].shape == (1, 10)


def test_the_chunked_graph_copies_no_feature_twice_in_its_block(graphs: dict[str, ir.Model]) -> None:
    """Elements that Concat writes at full resolution: at most those that the layers add, whatever the depth of a block."""
    added = sum(
        layers * growth * (32 >> k) ** 2
        for k, (layers, growth) in enumerate(zip(C8.stages, C8.growth, strict=True))
    )
    pooled = sum(C8.inputs(k + 1, 0) * (16 >> k) ** 2 for k in range(2))
    padding = 1.5  # 12 of 16 lanes, and the like
    for name in ("chunks-grouped", "chunks-joined", "chunks-depthwise"):
        copied = sum(
            int(torch.tensor(list(node.outputs[0].shape)).prod())
            for node in graphs[name].graph
            if node.op_type == "Concat"
        )
        assert copied <= padding * (added + pooled), name


def test_the_parts_to_choose_from_are_the_dense_blocks() -> None:
    net = _net(C8)
    found = parts(net, {"image": (1, 3, 32, 32)})
    assert found is not None and list(found.forms) == ["denseblock_1", "denseblock_2", "denseblock_3"]
    with torch.no_grad():
        for name, forms in found.forms.items():
            results = [module(found.inputs[name]) for module in forms.values()]
            used = [result[:, result.abs().sum((0, 2, 3)) > 0].sum() for result in results]
            assert all(torch.isclose(one, used[0], rtol=1e-3) for one in used)


def _groups(node: ir.Node) -> int:
    return node.attributes["group"].as_int() if node.op_type == "Conv" and "group" in node.attributes else 1


def _reached_through_a_shuffle(conv: ir.Node) -> bool:
    """Whether a group convolution comes before this one with a Reshape or Transpose, and no other layer, between them."""
    waiting = [(conv.inputs[0], False)]
    while waiting:
        value, shuffled = waiting.pop()
        node = value.producer() if value is not None else None
        if node is None or node.op_type in ("MatMul", "Gemm"):
            continue
        if node.op_type == "Conv":
            if _groups(node) > 1 and shuffled:
                return True
            continue
        shuffled |= node.op_type in ("Reshape", "Transpose")
        waiting += [(one, shuffled) for one in node.inputs]
    return False


@pytest.mark.slow
def test_every_graph_compiles_for_tensorrt(
    graphs: dict[str, ir.Model], needs: Callable[[str], ModuleType]
) -> None:
    needs("tensorrt_rtx")
    from edgekit.export.tensorrt_rtx import compile_graph

    for name in ("chunks", "fetch", "blocks", "chunks-depthwise", "fetch-matmul"):
        assert len(compile_graph(serialize(graphs[name]), ["86"]).engine) > 1000, name
