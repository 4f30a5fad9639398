"""The whole numbers of every layer: torch's against LSQ's formulas in float64, and every container's against torch's.

The golden vectors hold logits alone, so they cannot show a layer's numbers: what they show is that the whole network agrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.export.lowering.oqa_grid import GridLayer, QdqLayer, int8_layer
from edgekit.export.lowering.oqa_plan import integer_layer
from edgekit.export.search.containers import U8
from edgekit.export.search.latency import Part, written
from edgekit.models.lsq import activation_levels, codes, weight_levels
from edgekit.models.oqa import Block, OqaNet, QuantLayer, h_swish
from edgekit.models.oqa_space import largest
from edgekit.models.recalibration import recalibrate_on
from tests.export.search.supernets import options, supernet

Doubles = NDArray[np.float64]
SIZE = (64, 64)


def network(bits: int, folder: Path) -> OqaNet:
    """A subnet whose batch norms have seen pictures."""
    net = supernet(bits, folder / "net.pth").subnet(largest(options(bits)))
    generator = torch.Generator().manual_seed(0)
    recalibrate_on(net, [torch.randn(16, 3, *SIZE, generator=generator) for _ in range(3)])
    return net


def inputs_of(net: OqaNet) -> dict[str, Tensor]:
    """What goes into every quantised layer for one picture, by the layer's name."""
    found: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, given, name=name: found.update({name: given[0]}))
        for name, layer in net.quantised().items()
    ]
    with torch.no_grad():
        net(torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1)))
    for handle in handles:
        handle.remove()
    return found


def lsq_codes(v: Doubles, step: float, negative: int, positive: int) -> Doubles:
    """Equation 1 of LSQ (arXiv 1902.08153): the rounded v / s, clipped to -Q_N .. Q_P."""
    return np.rint(np.clip(v / abs(step), -negative, positive))


def convolved(q: Doubles, w: Doubles, stride: int, groups: int) -> Doubles:
    """Sums of products of (1, C, H, W) and (O, C / groups, k, k), by shifting the input under every tap."""
    _, channels, height, width = q.shape
    outputs, _, kernel, _ = w.shape
    pad = kernel // 2
    padded = np.pad(q[0], ((0, 0), (pad, pad), (pad, pad)))
    high, wide = -(-height // stride), -(-width // stride)
    total = np.zeros((outputs, high, wide))
    for dy in range(kernel):
        for dx in range(kernel):
            seen = padded[:, dy : dy + height : stride, dx : dx + width : stride]
            if groups == channels:
                total += seen * w[:, 0, dy, dx, None, None]
            else:
                total += np.einsum("oc,chw->ohw", w[:, :, dy, dx], seen)
    return total[None]


def reference(layer: QuantLayer, x: Tensor) -> tuple[Doubles, Doubles]:
    """A layer's input codes and its answer, in float64 from the definitions of LSQ and of batch norm."""
    conv = layer.conv
    bits = conv.bits
    q = lsq_codes(x.double().numpy(), conv.sa.item(), 0, 2**bits - 1)
    w = lsq_codes(conv.weight.detach().double().numpy(), conv.sw.item(), 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    y = convolved(q, w, conv.stride, conv.groups) * abs(conv.sa.item()) * abs(conv.sw.item())
    norm = layer.norm
    if norm is not None:
        mean, var, gamma, beta = (
            one.detach().double().numpy().reshape(-1, 1, 1)
            for one in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        y = (y - mean) / np.sqrt(var + norm.eps) * gamma + beta
    kind = layer.activation.kind
    y = np.maximum(y, 0) if kind == "relu" else y * np.clip(y + 3, 0, 6) / 6 if kind == "h_swish" else y
    return q, y


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_torchs_codes_and_answers_are_those_of_the_papers_formulas_in_float64(
    bits: int, tmp_path: Path
) -> None:
    net = network(bits, tmp_path)
    given = inputs_of(net)
    equal, count = 0, 0
    for name, layer in net.quantised().items():
        q, y = reference(layer, given[name])
        with torch.no_grad():
            mine, answer = layer.conv.input_codes(given[name]).numpy(), layer(given[name]).numpy()
        equal += int((mine == q).sum())
        count += q.size
        assert (mine == q).mean() >= 0.9999, name
        # Where a code differs (a value next to the middle between two), the answer does: elsewhere it must not.
        if (mine == q).all():
            assert np.abs(answer - y).max() <= 1e-5 * np.abs(y).max(), name
        assert len(np.unique(mine)) > 2, f"{name} is not put to the test"
    assert equal / count >= 0.9999


def consumers(net: OqaNet) -> Iterator[tuple[str, QuantLayer, nn.Module, QuantLayer]]:
    """Every quantised layer that another one reads: its name, itself, what lies between, and the reader."""
    blocks = [block for block in net.blocks if isinstance(block, Block)]
    for number, block in enumerate(blocks):
        if block.expand is not None:
            yield f"blocks.{number}.expand", block.expand, nn.Identity(), block.depthwise
        yield f"blocks.{number}.depthwise", block.depthwise, block.se or nn.Identity(), block.project


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 3, 2])
def test_float_and_int8_layers_give_the_next_ones_codes_at_the_same_input(bits: int, tmp_path: Path) -> None:
    net = network(bits, tmp_path)
    given = inputs_of(net)
    for name, layer, between, reader in consumers(net):
        plan, x = integer_layer(name, layer), given[name]
        assert np.array_equal(plan.weight, layer.conv.weight_codes().detach().numpy())
        assert plan.weight.min() >= weight_levels(bits)[0] and plan.weight.max() <= weight_levels(bits)[1]
        for form in {GridLayer(plan), int8_layer(plan)}:
            if isinstance(form, QdqLayer):
                assert np.array_equal(form.weight.numpy(), plan.weight)
            with torch.no_grad():
                answer = torch.from_numpy(_run(written(Part(form, x)), x))
                wanted, found = (
                    codes(between(y), reader.conv.sa, *activation_levels(bits)) for y in (layer(x), answer)
                )
            assert float((wanted == found).float().mean()) >= 0.999, f"{name} as {type(form).__name__}"


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 3, 2])
def test_onnx_runtimes_blocks_give_the_next_ones_codes_at_the_same_input(bits: int, tmp_path: Path) -> None:
    net = network(bits, tmp_path)
    container = U8(SIZE)
    with torch.no_grad():
        x = h_swish(
            net.first_norm(net.first(torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))))
        )
        for number, block in enumerate(net.blocks):
            wanted = block(x)
            after = net.blocks[number + 1] if number + 1 < len(net.blocks) else None
            reader = net.final if after is None else after.expand
            assert isinstance(reader, QuantLayer)
            graph = written(container.block(net, number))
            given = torch.from_numpy(_run(graph, x.permute(0, 2, 3, 1).contiguous())).permute(0, 3, 1, 2)
            equal = reader.conv.input_codes(given) == reader.conv.input_codes(wanted)
            assert float(equal.float().mean()) >= 0.999, number
            x = wanted


def _run(graph: bytes, x: Tensor) -> NDArray[np.float32]:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.contiguous().numpy()})[0]  # type: ignore[no-any-return]
