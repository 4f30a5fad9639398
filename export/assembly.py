"""What goes into the bundle beside the graphs: what the manifest says of the network, and the golden arrays."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

import edgekit
from edgekit.bundle import ExitSpec, InputSpec, Manifest, Preprocessing, StageSpec, TensorSpec, Variant
from edgekit.export.convert import dtype_of
from edgekit.export.graph import OPSET
from edgekit.export.parity import ParityRow
from edgekit.export.staging import StageRun
from edgekit.models.registry import WEIGHTS
from edgekit.models.staged import ImageInput, StagedModel

GOLDEN = "golden/golden.npz"


def graph_path(stage: str, variant: str) -> str:
    """Where in the bundle a graph lies."""
    return f"stages/{stage}.{variant}.onnx"


def manifest(
    name: str,
    target: str,
    model: StagedModel,
    runs: Sequence[StageRun],
    graphs: Mapping[str, Mapping[str, bytes]],
    defaults: Mapping[str, Mapping[str, str]],
    provenance: Mapping[str, object],
) -> Manifest:
    """The manifest of an exported network, without the hashes that writing adds.

    Args:
        graphs: ONNX bytes by stage and variant.
        defaults: by stage, the variant that each backend starts with.
    """
    return Manifest(
        name=name,
        family=model.family,
        task=model.task,
        options=dict(model.options),
        target=target,
        provenance=provenance,
        inputs=tuple(_input(spec) for spec in model.inputs),
        stages=tuple(_stage(run, graphs[run.stage.name], defaults[run.stage.name]) for run in runs),
        exits={run.stage.name: ExitSpec() for run in runs if run.stage.exit is not None},
        golden=GOLDEN,
    )


def provenance(model: str, checkpoint: Path | None, rows: Sequence[ParityRow]) -> dict[str, object]:
    """Where a bundle comes from: weights, versions, and how close its graphs came to the network."""
    shipped = WEIGHTS / f"{model}.safetensors"
    weights = checkpoint or (shipped if shipped.is_file() else None)
    return {
        "edgekit": edgekit.__version__,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": model,
        "checkpoint": "shipped" if weights == shipped else None if weights is None else weights.name,
        "checkpoint_sha256": None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "opset": OPSET,
        "parity": [[row.stage, row.variant, row.tensor, row.typical, row.worst, row.unit] for row in rows],
    }


def npz(tensors: Mapping[str, Tensor]) -> bytes:
    """A compressed npz that depends on nothing but its arrays (numpy's own writer compresses slower, and no better)."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, tensor in tensors.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(tensor.numpy()), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, content.getvalue(), compresslevel=1)
    return archive.getvalue()


def _input(spec: ImageInput) -> InputSpec:
    color = "RGB" if spec.channels == 3 else "GRAY"
    recipe = Preprocessing(spec.height, spec.width, color, tuple(spec.mean), tuple(spec.std))
    return InputSpec(spec.name, "float32", spec.shape, "NCHW", None, recipe)


def _stage(run: StageRun, graphs: Mapping[str, bytes], defaults: Mapping[str, str]) -> StageSpec:
    name = run.stage.name
    variants = [Variant(v, graph_path(name, v), 32, "float32", len(data)) for v, data in graphs.items()]
    return StageSpec(
        name=name,
        inputs=tuple(run.stage.inputs),
        exit=run.stage.exit,
        outputs=tuple(_tensor(n, tensor, run.stage.units.get(n)) for n, tensor in run.outputs.items()),
        macs=run.macs,
        parameters=run.parameters,
        variants=tuple(variants),
        defaults=defaults,
    )


_LAYOUTS = {1: "C", 2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}


def _tensor(name: str, tensor: Tensor, unit: str | None) -> TensorSpec:
    shape = tuple(int(side) for side in tensor.shape)
    layout = _LAYOUTS.get(len(shape), f"{len(shape)} dimensions")
    return TensorSpec(name, dtype_of(tensor).numpy().name, shape, layout, unit)
