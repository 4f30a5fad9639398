"""Every graph of every family, at small sizes: TensorRT 8.2's parser takes it, and TensorRT-RTX compiles it; no GPU is needed.

AnyNet's are in test_tensorrt_rtx.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import onnx
import onnx_ir as ir
import pytest
import torch

from edgekit.bundle import Bundle, Variant
from edgekit.export.convert import serialize
from edgekit.export.exporter import run as export
from edgekit.export.operators import check
from edgekit.export.passes.halve_products import halve_products
from edgekit.export.request import Request
from edgekit.export.tensorrt_rtx import compile_graph
from edgekit.export.tensorrt_table import version
from edgekit.models.imta import IMTA
from edgekit.models.msdnet import MSDNet, MSDNetOptions

FAMILIES = ("msdnet", "imta", "condensenet", "oqa")
# One compilation for all GPUs whose compiler has float32 products, and one for Turing, which has them in float16 only.
NEWER, TURING = ("86", "89", "120"), ("75",)


def _untrained(net: torch.nn.Module, path: Path) -> Path:
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in net.state_dict().items()}}, path)
    return path


def _request(family: str, shared: Path, out: Path) -> Request:
    torch.manual_seed(0)
    if family in ("msdnet", "imta"):
        options = {"nBlocks": 3, "base": 2, "step": 1, "stepmode": "even", "nChannels": 8, "growthRate": 4}
        net = (MSDNet if family == "msdnet" else IMTA)(MSDNetOptions(**options))
        return Request(
            family, _untrained(net, out.parent / f"{family}.pth.tar"), config=options, out=out, parity=False
        )
    golden = shared / "golden"
    if family == "condensenet":
        checkpoint = golden / "condensenet_cifar_train.pth.tar"
        return Request(family, checkpoint, config={"data": "cifar10"}, out=out, parity=False)
    config = {"ks": 3, "e": 3, "d": 2}
    return Request(family, golden / "oqa_b2.pth", size=(64, 64), config=config, out=out, parity=False)


@pytest.fixture(scope="module", params=FAMILIES)
def bundle(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(
        _request(request.param, shared, tmp_path_factory.mktemp("family") / f"{request.param}.edgekit")
    ).bundle


def _graphs(bundle: Bundle) -> Iterator[tuple[str, Variant, bytes]]:
    for stage in bundle.manifest.stages:
        for variant in stage.variants:
            yield (
                f"{bundle.manifest.family} {stage.name} {variant.name}",
                variant,
                bundle.read_graph(variant.graph),
            )


def test_tensorrt_8_2_takes_every_graph_of_every_stage(bundle: Bundle) -> None:
    for name, _, graph in _graphs(bundle):
        model = ir.serde.deserialize_model(onnx.load_model_from_string(graph))
        assert not check(model, version("8.2")), name


def test_tensorrt_rtx_compiles_every_graph_of_every_stage(
    bundle: Bundle, needs: Callable[[str], ModuleType]
) -> None:
    needs("tensorrt_rtx")
    for name, _, graph in _graphs(bundle):
        assert len(compile_graph(graph, NEWER).engine) > 1000, name


def test_tensorrt_rtx_compiles_every_graph_of_every_stage_for_turing(
    bundle: Bundle, needs: Callable[[str], ModuleType]
) -> None:
    """Products in float16, and those between Q and DQ in INT8."""
    needs("tensorrt_rtx")
    for name, _, graph in _graphs(bundle):
        halved = halve_products(ir.serde.deserialize_model(onnx.load_model_from_string(graph)))
        assert len(compile_graph(serialize(halved), TURING).engine) > 1000, name
