"""`edgekit.export(...)`: from a model's name to a bundle on disk, with everything checked that can be before slow work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from edgekit.bundle import Bundle, check_destination, write_bundle
from edgekit.errors import ExportError, OptionError
from edgekit.export import lowering, operators, targets
from edgekit.export.assembly import GOLDEN, graph_path, manifest, npz, provenance
from edgekit.export.convert import convert, serialize
from edgekit.export.parity import ParityRow, prove
from edgekit.export.passes import simplify
from edgekit.export.sample_inputs import sample_inputs
from edgekit.export.staging import StageRun, check_stages, run_stages
from edgekit.export.targets import Target
from edgekit.export.tensorrt_table import version
from edgekit.models import registry
from edgekit.models.staged import StagedModel

Report = Callable[[str, float | None], None]  # a step, and the seconds it took; None when it begins


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
    _check_inputs(model, request)
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
    files = {graph_path(s, v): data for s, variants in graphs.items() for v, data in variants.items()}
    files[GOLDEN] = npz({**samples, **exits})
    origin = provenance(request.model, _checkpoint(request), rows)
    name = Path(destination).name.removesuffix(".edgekit")
    manifested = manifest(name, target.name, model, runs, graphs, defaults, origin)
    bundle = write_bundle(destination, manifested, files, request.overwrite)
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


def _check_inputs(model: StagedModel, request: Request) -> None:
    """Refuse a model whose pictures are not of the size that was asked for."""
    for spec in model.inputs:
        if request.size is not None and (spec.height, spec.width) != tuple(request.size):
            height, width = request.size
            raise OptionError(
                f"size {height}x{width} was asked for, and {request.model} built its input {spec.name} for "
                f"{spec.height}x{spec.width}; let it use the size it is given"
            )


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
