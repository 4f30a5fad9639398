"""The same subnet as Brevitas writes it: its own quantised layers with our steps, exported as QuantizeLinear, Clip, DequantizeLinear.

Brevitas 0.13.4 wants ``dependencies`` 2.0.1 and ``onnxoptimizer``, and calls ``Tensor.rename``, which torch 2.13 has no more.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.models.lsq import LsqConv2d, activation_levels, weight_levels
from edgekit.models.oqa import OqaNet


def qcdq_graph(net: OqaNet, image: Tensor) -> bytes:
    """The ONNX file that Brevitas writes of ``net``, batch norms apart from the convolutions as it leaves them.

    Raises:
        ImportError: it is not installed, or does not import.
    """
    layers, quantisers = _import("brevitas.nn"), _import("brevitas.quant")
    export = _import("brevitas.export")
    theirs = copy.deepcopy(net)
    for name, module in list(theirs.named_modules()):
        if isinstance(module, LsqConv2d):
            theirs.set_submodule(name, _layer(module, layers, quantisers))
    theirs.eval()
    with TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "qcdq.onnx"
        export.export_onnx_qcdq(
            theirs, args=image, export_path=str(path), dynamo=False, keep_initializers_as_inputs=False
        )
        return path.read_bytes()


def _layer(conv: LsqConv2d, layers: ModuleType, quantisers: ModuleType) -> nn.Module:
    """Brevitas' quantisers with constant steps: it divides what it is given by the largest magnitude of a code."""
    top, lowest = activation_levels(conv.bits)[1], weight_levels(conv.bits)[0]
    fixed: dict[str, Any] = {"scaling_impl_type": "const", "restrict_scaling_type": "fp"}
    activation = layers.QuantIdentity(
        act_quant=quantisers.Uint8ActPerTensorFloat, bit_width=conv.bits, scaling_init=top * float(conv.sa.abs()),
        **fixed,
    )  # fmt: skip
    outputs, inputs = conv.weight.shape[:2]
    product = layers.QuantConv2d(
        inputs * conv.groups, outputs, conv.kernel, stride=conv.stride, padding=conv.kernel // 2, groups=conv.groups,
        bias=False, weight_quant=quantisers.Int8WeightPerTensorFloat, weight_bit_width=conv.bits,
        weight_narrow_range=False, weight_scaling_init=-lowest * float(conv.sw.abs()),
        **{f"weight_{name}": value for name, value in fixed.items()},
    )  # fmt: skip
    product.weight = nn.Parameter(conv.weight.detach().clone(), requires_grad=False)
    return nn.Sequential(activation, product)


def _import(name: str) -> ModuleType:
    """A module of Brevitas, with the one method of torch that it misses: names of dimensions, of which it uses none."""
    if not hasattr(Tensor, "rename"):
        setattr(Tensor, "rename", lambda tensor, *_: tensor)  # noqa: B010
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
