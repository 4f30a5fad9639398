"""Every container of an OQA subnet computes on the integer grid what the subnet computes, layer by layer and as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ExportError
from edgekit.export import lowering, operators
from edgekit.export.convert import convert, serialize
from edgekit.export.lowering.oqa_plan import IntegerLayer, check_reach, integer_layer, widened
from edgekit.export.lowering.oqa_requantise import requantise
from edgekit.export.lowering.oqa_u8 import U8Block
from edgekit.export.passes import simplify
from edgekit.export.tensorrt_table import version
from edgekit.models.lsq import codes
from edgekit.models.oqa import Block
from tests.golden_subnets import golden_subnets


def ort(module: nn.Module, x: Tensor, name: str = "image") -> np.ndarray:
    """The module's graph in ONNX Runtime."""
    graph = serialize(simplify(convert(module, {name: x}, ["y"])))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin for small graphs take longer where others want the cores.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: x.numpy()})[0]  # type: ignore[no-any-return]


@pytest.mark.slow
def test_every_container_meets_the_golden_logits_in_onnx_runtime(shared: Path) -> None:
    seen = 0
    for case, net, image, logits in golden_subnets(shared):
        picture = torch.from_numpy(image[:1])
        for container, module in lowering.variants(net, {"image": tuple(picture.shape)}).items():
            error = np.abs(ort(module, picture) - logits[:1]).max() / np.abs(logits[:1]).max()
            assert error <= 1e-4, f"{case} as {container}: {error:.1e}"
            seen += 1
    assert seen


def test_the_weights_of_every_container_are_the_checkpoints_codes(shared: Path) -> None:
    _, net, image, _ = next(golden_subnets(shared))
    for container, module in lowering.variants(net, {"image": (1, *image.shape[1:])}).items():
        held = [b for b in module.buffers() if b.dim() in (2, 4) and b.dtype in (torch.int8, torch.float32)]
        for name, layer in net.quantised().items():
            wanted = layer.conv.weight_codes()
            assert any(_holds(buffer, wanted) for buffer in held), f"{name} in {container}"


def _holds(buffer: Tensor, wanted: Tensor) -> bool:
    """Whether a buffer is the codes, or all of them times what brings them to 8 bits, with or without channels of zeros."""
    array = buffer.float()
    if array.dim() == 2:
        array = array.T.reshape(*array.T.shape, 1, 1)
    outputs, inputs = wanted.shape[:2]
    inner = array[:outputs, :inputs]
    bare = float(inner.abs().sum()) == float(array.abs().sum())
    return bare and any(torch.equal(inner, wanted * factor) for factor in (1, 16, 32, 64))


@pytest.mark.parametrize("channels", [1, 24, 32, 72])
def test_a_wider_block_has_channels_that_nothing_reads_in_whole_lanes(channels: int) -> None:
    first = replace(_layer(3, 0, kernel=1, channels=channels), groups=1)
    deep = _layer(3, 1, channels=channels)
    last = replace(first, weight=_layer(3, 2, kernel=1, channels=channels).weight.reshape(1, channels, 1, 1))
    wide = widened(first, deep, last)
    count = len(wide[1].weight)
    assert count % 16 == 0 and count - channels < 16 and wide[1].groups == count
    for layer in wide[:2]:
        assert len(layer.weight) == len(layer.gain) == len(layer.shift) == count
        assert not layer.weight[channels:].any() and (layer.gain > 0).all()
    assert wide[2].weight.shape[1] == count and not wide[2].weight[:, channels:].any()
    for layer, before in zip(wide, (first, deep, last), strict=True):
        outputs, inputs = before.weight.shape[:2]
        assert np.array_equal(layer.weight[:outputs, :inputs], before.weight)


@pytest.mark.slow
def test_every_block_gives_the_next_ones_codes_at_the_same_input(shared: Path) -> None:
    """At least 99.9 % of the elements; the reference's own input goes into every block."""
    for case, net, image, _ in golden_subnets(shared):
        with torch.no_grad():
            x = net.first_norm(net.first(torch.from_numpy(image[:1])))
            x = x * torch.clamp(x + 3, 0, 6) / 6
            for number, block in enumerate(net.blocks):
                assert isinstance(block, Block)
                wanted = block(x)
                form = U8Block(f"blocks.{number}", block, wanted.shape[2] * wanted.shape[3]).eval()
                given = torch.from_numpy(ort(form, x.permute(0, 2, 3, 1).contiguous(), "x")).permute(
                    0, 3, 1, 2
                )
                after = net.blocks[number + 1] if number + 1 < len(net.blocks) else None
                conv = (net.final if after is None else after.expand).conv  # type: ignore[union-attr]
                equal = codes(given, conv.sa, 0, 2**conv.bits - 1) == codes(
                    wanted, conv.sa, 0, 2**conv.bits - 1
                )
                assert float(equal.float().mean()) >= 0.999, f"{case}, block {number}"
                x = wanted


def _layer(bits: int, seed: int, kernel: int = 3, channels: int = 24) -> IntegerLayer:
    random = np.random.default_rng(seed)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    weight = random.integers(low, high + 1, (channels, 1, kernel, kernel))
    spread = np.sqrt((weight**2).sum((1, 2, 3)) + 1) * 2**bits / 3
    gain = 3 / spread * random.uniform(0.5, 1.5, channels)
    shift = random.normal(0.5, 1, channels)
    return IntegerLayer("layer", bits, weight, gain, shift, 0.21, 2**bits - 1, 1, channels, "relu")


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_whole_numbered_biases_that_flip_no_code_are_found(bits: int, seed: int) -> None:
    """Judged by float64 on every accumulator; rounding the shift to the accumulator's own unit flips some."""
    layer = _layer(bits, seed)
    step = 3.0 / layer.top
    found = requantise(layer, step, layer.top)
    assert found is not None
    assert np.abs(layer.weight * found.factor).max() <= 128
    for c in range(len(layer.gain)):
        a = np.arange(layer.lowest[c], layer.highest[c] + 1)
        wanted = np.rint(np.clip((layer.gain[c] * a + layer.shift[c]) / step, 0, layer.top))
        scale = np.float32(layer.step) * found.weight_scale[c] / np.float32(step)
        given = np.clip(np.rint(np.float32(a * found.factor + found.bias[c]) * scale), 0, layer.top)
        assert (wanted == given).all()


def test_a_channel_that_batch_norm_turns_round_is_not_requantised() -> None:
    layer = _layer(4, 0)
    layer.gain[3] *= -1
    assert requantise(layer, 0.2, layer.top) is None


def test_accumulators_beyond_32_bits_are_refused_by_the_layers_name() -> None:
    layer = _layer(4, 0)
    check_reach(layer)
    with pytest.raises(ExportError, match="layer: an input could drive its accumulator"):
        check_reach(layer, 2**24)


def test_reach_is_what_the_worst_input_gives(shared: Path) -> None:
    _, net, _, _ = next(golden_subnets(shared))
    layer = integer_layer("final", net.final)
    worst = torch.from_numpy((layer.weight[:, :, 0, 0] > 0) * layer.top).double()
    sums = (worst * torch.from_numpy(layer.weight[:, :, 0, 0]).double()).sum(1)
    assert sums.max() == layer.highest.max() and layer.reach >= layer.highest.max()


def test_float_and_int8_follow_tensorrts_rules_and_compile(
    shared: Path, needs: Callable[..., ModuleType]
) -> None:
    _, net, image, _ = next(case for case in golden_subnets(shared) if case[0] == "oqa_b2 logits_0")
    picture = torch.from_numpy(image[:1])
    graphs: dict[str, bytes] = {}
    for container, module in lowering.variants(net, {"image": tuple(picture.shape)}).items():
        model = simplify(convert(module, {"image": picture}, ["logits1"], container))
        if container in ("u8", "codes"):
            assert operators.check(model, version("8.2")), (
                "neither ONNX Runtime's own operators nor UINT8 are"
            )
        else:
            assert operators.check(model, version("8.2")) == []
            graphs[container] = serialize(model)
    needs("tensorrt_rtx")
    from edgekit.export.tensorrt_rtx import compile_graph

    for graph in graphs.values():
        assert compile_graph(graph, ["89"]).engine
