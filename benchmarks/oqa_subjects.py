"""What the OQA benchmark measures on: a subnet with weights, and what others make of the same subnet."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.export.convert import convert, serialize
from edgekit.export.passes import simplify
from edgekit.export.sample_inputs import sample_inputs
from edgekit.models.lsq import LsqConv2d, activation_levels, weight_levels
from edgekit.models.oqa import OqaNet, Supernet
from edgekit.models.oqa_catalogue import PublishedSubnet
from edgekit.models.oqa_space import SupernetOptions
from edgekit.models.oqa_staged import StagedOqa
from edgekit.models.staged import ImageInput

Array = NDArray[np.float32]
CALIBRATION = 16  # pictures for post-training quantisation


def random_subnet(known: PublishedSubnet) -> StagedOqa:
    """A published subnet with random weights, statistics and activation steps from pictures: times and sizes are the real ones'.

    The authors' weights are not part of this project; with them, the same command takes ``--checkpoint``.
    """
    torch.manual_seed(0)
    options = SupernetOptions(known.bits)
    net = Supernet(options).subnet(known.subnet)
    low, high = activation_levels(known.bits)[1], weight_levels(known.bits)[1]

    def fill(module: nn.Module) -> None:
        if isinstance(module, LsqConv2d | nn.Conv2d | nn.Linear):
            module.weight.data.normal_(0, (2 / module.weight[0].numel()) ** 0.5)
        if isinstance(module, LsqConv2d):
            module.sw = nn.Buffer(2 * module.weight.abs().mean().view(1) / high**0.5)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)

    def step_from(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, LsqConv2d)
        module.sa = nn.Buffer(2 * inputs[0].clamp(min=0).mean().view(1) / low**0.5)

    def statistics_from(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        module.running_mean, module.running_var = mean, variance

    net.apply(fill)
    handles = [m.register_forward_pre_hook(step_from) for m in net.modules() if isinstance(m, LsqConv2d)]
    handles += [
        m.register_forward_pre_hook(statistics_from) for m in net.modules() if isinstance(m, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        net(torch.cat([picture(known.image_size, seed) for seed in range(8)]))
    for handle in handles:
        handle.remove()
    return StagedOqa(net, options, known.subnet, (known.image_size, known.image_size), known.name)


def picture(size: int, seed: int = 0) -> Tensor:
    """A textured, normalised picture (1, 3, size, size)."""
    return sample_inputs([ImageInput("image", size, size)], "classification", seed)["image"]


class FloatConv(nn.Module):
    """A quantised layer's weights on their grid, its activations left in float: the subnet without activation quantisation."""

    def __init__(self, conv: LsqConv2d) -> None:
        super().__init__()
        self.weight = nn.Buffer(conv.weight_codes().detach() * conv.sw.abs())
        self.stride, self.padding, self.groups = conv.stride, conv.kernel // 2, conv.groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.padding, 1, self.groups)


def plain_graphs(net: OqaNet, size: int) -> dict[str, bytes]:
    """The subnet as it is, with its fake quantisation, and in float without it."""
    bare = copy.deepcopy(net)
    for name, module in list(bare.named_modules()):
        if isinstance(module, LsqConv2d):
            bare.set_submodule(name, FloatConv(module))
    inputs = {"image": picture(size)}
    return {
        "fake-quantised": serialize(simplify(convert(net, inputs, ["logits1"]))),
        "float": serialize(simplify(convert(bare, inputs, ["logits1"]))),
    }


def post_training_int8(graph: bytes, size: int) -> dict[str, bytes]:
    """ONNX Runtime's own static quantisation of the float subnet, with unsigned and with signed activations."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seeds = iter(range(CALIBRATION))

        def get_next(self) -> Mapping[str, Array] | None:
            seed = next(self.seeds, None)
            return None if seed is None else {"image": picture(size, seed).numpy()}

    found: dict[str, bytes] = {}
    with TemporaryDirectory() as folder:
        source, prepared, target = (
            Path(folder) / name for name in ("float.onnx", "prepared.onnx", "int8.onnx")
        )
        source.write_bytes(graph)
        quant_pre_process(str(source), str(prepared))
        for name, kind in (("unsigned", QuantType.QUInt8), ("signed", QuantType.QInt8)):
            quantize_static(
                str(prepared), str(target), Pictures(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=kind, weight_type=QuantType.QInt8,
            )  # fmt: skip
            found[f"post-training INT8, {name}"] = target.read_bytes()
    return found


def quantised_bytes(net: OqaNet) -> int:
    """Bytes of the quantised layers' weights as float32, as a plain ONNX file holds them."""
    return sum(4 * layer.conv.weight.numel() for layer in net.quantised().values())
