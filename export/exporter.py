"""`edgekit.export(...)`: from a model's name to a bundle on disk, with everything checked that can be before slow work."""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

import edgekit
from edgekit.bundle import (
    Bundle,
    ExitSpec,
    InputSpec,
    Manifest,
    Preprocessing,
    StageSpec,
    TensorSpec,
    Variant,
    check_destination,
    write_bundle,
)
from edgekit.errors import ExportError, OptionError
from edgekit.export import lowering, operators, targets
from edgekit.export.convert import convert, serialize
from edgekit.export.graph import OPSET
from edgekit.export.parity import ParityRow, prove
from edgekit.export.passes import simplify
from edgekit.export.sample_inputs import sample_inputs
from edgekit.export.staging import StageRun, check_stages, run_stages
from edgekit.export.targets import Target
from edgekit.export.tensorrt_table import version
from edgekit.models import registry
from edgekit.models.staged import ImageInput, StagedModel

Report = Callable[[str, float | None], None]  # a step, and the seconds it took; None when it begins
GOLDEN = "golden/golden.npz"


@dataclass(frozen=True)
class Request:
    """What to export; see `export`."""

    model: str
    checkpoint: str | os.PathLike[str] | None = None
    target: str = "jetson"
    size: tuple[int, int] | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    out: str | os.PathLike[str] | None = None
    overwrite: bool = False
    parity: bool = True


@dataclass(frozen=True)
class Exported:
    """A written bundle, and what was found on the way.

    Attributes:
        bundle: as written.
        parity: one row a compared tensor; empty where parity was not asked for.
        dropped: why variants were left out, by ``stage.variant``.
        seconds: the whole export's.
    """

    bundle: Bundle
    parity: Sequence[ParityRow]
    dropped: Mapping[str, str]
    seconds: float


def export(
    model: str,
    checkpoint: str | os.PathLike[str] | None = None,
    target: str = "jetson",
    size: tuple[int, int] | None = None,
    config: Mapping[str, object] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    parity: bool = True,
    progress: Report | None = None,
) -> Bundle:
    """Turn a trained network into a bundle.

    Args:
        model: a family such as ``anynet``, or ``package.module:function`` of your own.
        checkpoint: its weights; by default those that edgekit ships.
        target: the device, see ``edgekit targets``.
        size: (height, width) in px of the pictures it will see; by default the family's.
        config: options under the authors' names, for what the checkpoint does not tell.
        out: the directory to write; by default ``MODEL.edgekit`` here.
        overwrite: replace a bundle that is there.
        parity: prove that the graphs compute what the network computes.
        progress: is called with each step when it begins (and None), and again with the seconds that it took.

    Raises:
        OptionError: an argument is wrong or contradicts the weights.
        CheckpointError: the weights cannot be used.
        ExportError: the network cannot be turned into graphs that the target takes.
        ParityError: a graph computes something else.
        BundleError: the bundle cannot be written.
    """
    request = Request(model, checkpoint, target, size, dict(config or {}), out, overwrite, parity)
    return run(request, progress).bundle


def run(request: Request, progress: Report | None = None) -> Exported:
    """Export as requested; the errors are those of `export`."""
    steps = _Steps(progress)
    target = targets.find(request.target)
    destination = _destination(request)
    check_destination(destination, request.overwrite)
    steps.begin("reading the network")
    model = registry.build(request.model, _checkpoint(request), request.config, _size(request))
    stages = list(model.stages())
    check_stages(stages, [spec.name for spec in model.inputs])
    steps.begin("running the network")
    samples = sample_inputs(model.inputs, model.task)
    runs = run_stages(model, stages, samples)
    exits = _reference(model, runs, samples)
    graphs: dict[str, dict[str, bytes]] = {}
    dropped: dict[str, str] = {}
    for stage_run in runs:
        steps.begin(f"converting {stage_run.stage.name}")
        graphs[stage_run.stage.name], left_out = stage_graphs(stage_run, target)
        dropped.update(left_out)
    defaults = {name: _defaults(variants) for name, variants in graphs.items()}
    rows: list[ParityRow] = []
    if request.parity:
        steps.begin("proving parity")
        chains = {
            backend: {name: chosen[backend] for name, chosen in defaults.items()}
            for backend in lowering.PREFERENCES
        }
        rows = prove(runs, graphs, chains, exits)
    steps.begin("writing the bundle")
    files = {_graph_path(s, v): data for s, variants in graphs.items() for v, data in variants.items()}
    files[GOLDEN] = _npz({**samples, **exits})
    manifest = _manifest(
        request, target, model, runs, graphs, defaults, _provenance(request, rows), destination
    )
    bundle = write_bundle(destination, manifest, files, request.overwrite)
    steps.end()
    return Exported(bundle, rows, dropped, steps.total())


def stage_graphs(stage_run: StageRun, target: Target) -> tuple[dict[str, bytes], dict[str, str]]:
    """The stage's graphs by variant, and why variants were left out by ``stage.variant``.

    Raises:
        ExportError: no variant can be written with the operators of the target.
    """
    stage = stage_run.stage
    shapes = {name: tuple(tensor.shape) for name, tensor in stage_run.inputs.items()}
    graphs: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    for variant, module in lowering.variants(stage.module, shapes).items():
        model = simplify(convert(module, stage_run.inputs, stage.outputs, f"{stage.name}.{variant}"))
        findings = operators.check(model, version(target.tensorrt)) if target.tensorrt else []
        if findings:
            refused[f"{stage.name}.{variant}"] = "\n".join(f"  {finding}" for finding in findings)
        else:
            graphs[variant] = serialize(model)
    if not graphs:
        details = "\n".join(f"{name}:\n{text}" for name, text in refused.items())
        raise ExportError(
            f"{stage.name} cannot run on {target.name} (TensorRT {target.tensorrt}):\n{details}"
        )
    return graphs, refused


class _Steps:
    """Tells the caller what is being done, and afterwards how long it took."""

    def __init__(self, report: Report | None) -> None:
        self._report = report or (lambda text, seconds: None)
        self._start = self._begun = time.monotonic()
        self._current: str | None = None

    def begin(self, text: str) -> None:
        self.end()
        self._current, self._begun = text, time.monotonic()
        self._report(text, None)

    def end(self) -> None:
        if self._current is not None:
            self._report(self._current, time.monotonic() - self._begun)
        self._current = None

    def total(self) -> float:
        return time.monotonic() - self._start


def _destination(request: Request) -> str:
    name = request.model.replace(":", ".").rpartition(".")[2]
    return os.fspath(request.out) if request.out is not None else f"{name}.edgekit"


def _checkpoint(request: Request) -> Path | None:
    return None if request.checkpoint is None else Path(request.checkpoint)


def _size(request: Request) -> tuple[int, int] | None:
    if request.size is None:
        return None
    sides = tuple(request.size)
    if len(sides) != 2 or not all(
        isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides
    ):
        raise OptionError(f"size={request.size!r}: must be (height, width) in px, such as (384, 1248)")
    return sides


def _reference(
    model: StagedModel, runs: Sequence[StageRun], samples: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The uncut network's exits by stage.

    Raises:
        ExportError: they are not as many as the stages have, or of other shapes.
    """
    with torch.no_grad():
        exits = list(model.reference(*samples.values()))
    wanted = {r.stage.name: r.outputs[r.stage.exit] for r in runs if r.stage.exit is not None}
    if len(exits) != len(wanted):
        raise ExportError(
            f"reference() returns {len(exits)} exits, the stages have {len(wanted)}: {', '.join(wanted)}"
        )
    for (name, tensor), exit_ in zip(wanted.items(), exits, strict=True):
        if tensor.shape != exit_.shape:
            raise ExportError(
                f"{name}: its exit has shape {tuple(tensor.shape)}, reference() gives {tuple(exit_.shape)} there"
            )
    return dict(zip(wanted, exits, strict=True))


def _defaults(variants: Mapping[str, bytes]) -> dict[str, str]:
    return {backend: lowering.default_variant(variants, backend) for backend in lowering.PREFERENCES}


def _graph_path(stage: str, variant: str) -> str:
    return f"stages/{stage}.{variant}.onnx"


def _manifest(
    request: Request,
    target: Target,
    model: StagedModel,
    runs: Sequence[StageRun],
    graphs: Mapping[str, Mapping[str, bytes]],
    defaults: Mapping[str, Mapping[str, str]],
    provenance: Mapping[str, object],
    destination: str,
) -> Manifest:
    return Manifest(
        name=Path(destination).name.removesuffix(".edgekit"),
        family=model.family,
        task=model.task,
        options=dict(model.options),
        target=target.name,
        provenance=provenance,
        inputs=tuple(_input(spec) for spec in model.inputs),
        stages=tuple(_stage(run, graphs[run.stage.name], defaults[run.stage.name]) for run in runs),
        exits={run.stage.name: ExitSpec() for run in runs if run.stage.exit is not None},
        golden=GOLDEN,
    )


def _input(spec: ImageInput) -> InputSpec:
    color = "RGB" if spec.channels == 3 else "GRAY"
    recipe = Preprocessing(spec.height, spec.width, color, tuple(spec.mean), tuple(spec.std))
    return InputSpec(spec.name, "float32", spec.shape, "NCHW", None, recipe)


def _stage(run: StageRun, graphs: Mapping[str, bytes], defaults: Mapping[str, str]) -> StageSpec:
    name = run.stage.name
    return StageSpec(
        name=name,
        inputs=tuple(run.stage.inputs),
        exit=run.stage.exit,
        outputs=tuple(_tensor(n, tensor, run.stage.units.get(n)) for n, tensor in run.outputs.items()),
        macs=run.macs,
        parameters=run.parameters,
        variants=tuple(
            Variant(v, _graph_path(name, v), 32, "float32", len(data)) for v, data in graphs.items()
        ),
        defaults=defaults,
    )


_LAYOUTS = {1: "C", 2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}


def _tensor(name: str, tensor: Tensor, unit: str | None) -> TensorSpec:
    held = {torch.int64: "int32", torch.float64: "float32"}.get(tensor.dtype)
    shape = tuple(int(side) for side in tensor.shape)
    dtype = held or str(tensor.dtype).removeprefix("torch.")
    return TensorSpec(name, dtype, shape, _LAYOUTS.get(len(shape), f"{len(shape)} dimensions"), unit)


def _provenance(request: Request, rows: Sequence[ParityRow]) -> dict[str, object]:
    checkpoint = _checkpoint(request)
    shipped = registry.WEIGHTS / f"{request.model}.safetensors"
    weights = checkpoint or (shipped if shipped.is_file() else None)
    digest = None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
    return {
        "edgekit": edgekit.__version__,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": request.model,
        "checkpoint": checkpoint.name
        if checkpoint is not None
        else "shipped"
        if weights is not None
        else None,
        "checkpoint_sha256": digest,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "opset": OPSET,
        "parity": [[row.stage, row.variant, row.tensor, row.typical, row.worst, row.unit] for row in rows],
    }


def _npz(tensors: Mapping[str, Tensor]) -> bytes:
    """A compressed npz that depends on nothing but its arrays (numpy's own writer compresses slower, and as well)."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, tensor in tensors.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(tensor.numpy()), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, content.getvalue(), compresslevel=1)
    return archive.getvalue()
