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
from edgekit.bundle import (
    ExitSpec,
    Float16,
    InputSpec,
    LayerSpec,
    Manifest,
    NetworkSpec,
    Preprocessing,
    StageSpec,
    TensorSpec,
    Variant,
)
from edgekit.export.convert import dtype_of
from edgekit.export.graph import OPSET
from edgekit.export.lowering import Form, LayerForm
from edgekit.export.native import NATIVE
from edgekit.export.networks import Network, own_inputs
from edgekit.export.parity import ParityRow
from edgekit.export.staging import StageRun
from edgekit.models.families import WEIGHTS
from edgekit.models.staged import ImageInput

GOLDEN = "golden/golden.npz"


def graph_paths(
    graphs: Mapping[str, Mapping[str, bytes]], forms: Mapping[str, Mapping[str, Form]]
) -> dict[tuple[str, str], str]:
    """Where in the bundle each graph lies, by stage and variant; equal graphs are one file, and low-bit ones are packed."""
    places: dict[bytes, str] = {}
    return {
        (stage, variant): places.setdefault(
            data, f"stages/{stage}.{variant}.{_suffix(forms[stage][variant])}"
        )
        for stage, variants in graphs.items()
        for variant, data in variants.items()
    }


def _suffix(form: Form) -> str:
    if form.runtime == NATIVE:
        return "program"
    return "onnx" if form.bits == 32 else "packed"


def golden(networks: Sequence[Network]) -> dict[str, Tensor]:
    """The arrays that the device verifies itself on, by the names that the manifest gives them."""
    arrays = dict(networks[0].samples)
    for index, network in enumerate(networks):
        arrays.update(network.exits)
        for spec in own_inputs(networks, index):
            arrays[f"{network.name}/{spec.name}"] = network.samples[spec.name]
    return arrays


def manifest(
    name: str,
    target: str,
    networks: Sequence[Network],
    files: Mapping[str, bytes],
    paths: Mapping[tuple[str, str], str],
    forms: Mapping[str, Mapping[str, Form]],
    defaults: Mapping[str, Mapping[str, str]],
    provenance: Mapping[str, object],
) -> Manifest:
    """The manifest of exported networks, the cheapest first, without the hashes that writing adds.

    Args:
        files: what is written, by path.
        paths: of the graphs, by stage and variant.
        forms: what the graphs store and compute, by stage and variant.
        defaults: by stage, the variant that each backend starts with.
    """
    first, several = networks[0].model, len(networks) > 1
    families = dict.fromkeys(network.model.family for network in networks)
    return Manifest(
        name=name,
        family=", ".join(families),
        task=first.task,
        options=_common_classes(networks) if several else dict(networks[0].options),
        target=target,
        provenance=provenance,
        inputs=tuple(_input(spec) for spec in first.inputs),
        stages=tuple(
            _stage(run, files, paths, forms[run.stage.name], defaults[run.stage.name])
            for network in networks
            for run in network.runs
        ),
        exits={stage: spec for network in networks for stage, spec in _exits(network).items()},
        golden=GOLDEN,
        networks=tuple(_network(networks, index) for index in range(len(networks))) if several else (),
    )


def provenance(
    model: str, asked: Sequence[tuple[str | None, str, Path | None]], rows: Sequence[ParityRow]
) -> dict[str, object]:
    """Where a bundle comes from: weights, versions, and how close its graphs came to the network.

    ``asked`` are the networks' names (None for one that needs none), models and checkpoints.
    """
    origins = {name: {"model": of, **_weights(of, checkpoint)} for name, of, checkpoint in asked}
    first = next(iter(origins.values()))
    shared = all(origin == first for origin in origins.values())
    return {
        "edgekit": edgekit.__version__,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **(first if shared else {"model": model, "checkpoint": "several", "networks": origins}),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "opset": OPSET,
        "parity": [[row.stage, row.variant, row.tensor, row.typical, row.worst, row.unit] for row in rows],
    }


def _weights(model: str, checkpoint: Path | None) -> dict[str, object]:
    shipped = WEIGHTS / f"{model}.safetensors"
    weights = checkpoint or (shipped if shipped.is_file() else None)
    return {
        "checkpoint": "shipped" if weights == shipped else None if weights is None else weights.name,
        "checkpoint_sha256": None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest(),
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
    if spec.crop is not None:
        recipe = recipe._replace(fit="crop", crop=spec.crop)
    return InputSpec(spec.name, "float32", spec.shape, "NCHW", None, recipe)


def _common_classes(networks: Sequence[Network]) -> dict[str, object]:
    """What the classes are called, where all networks agree on it."""
    named = [network.options.get("classes") for network in networks]
    agreed = isinstance(named[0], list) and named.count(named[0]) == len(named)
    return {"classes": named[0]} if agreed else {}


def _network(networks: Sequence[Network], index: int) -> NetworkSpec:
    network = networks[index]
    return NetworkSpec(
        name=network.name,
        stages=tuple(run.stage.name for run in network.runs),
        options=dict(network.options),
        inputs=tuple(_input(spec) for spec in own_inputs(networks, index)),
    )


def _exits(network: Network) -> dict[str, ExitSpec]:
    """What is known of every exit."""
    return {
        stage: ExitSpec(None, network.accuracies[stage], network.source)
        if stage in network.accuracies
        else ExitSpec()
        for stage in network.exits
    }


def _stage(
    run: StageRun,
    files: Mapping[str, bytes],
    paths: Mapping[tuple[str, str], str],
    forms: Mapping[str, Form],
    defaults: Mapping[str, str],
) -> StageSpec:
    name = run.stage.name
    variants = [
        Variant(
            v,
            path,
            forms[v].bits,
            forms[v].precision,
            len(files[path]),
            tuple(map(_layer, forms[v].layers)),
            forms[v].runtime,
        )
        for (stage, v), path in paths.items()
        if stage == name
    ]
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


def _layer(told: LayerForm) -> LayerSpec:
    name, bits, precision, half = told
    return LayerSpec(name, bits, precision, None if half is None else Float16(*half))
