"""`edgekit.export(...)`: from a model's name to a bundle on disk, with everything checked that can be before slow work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.bundle import Bundle, check_destination, write_bundle
from edgekit.errors import ExportError
from edgekit.export import lowering, networks, operators, targets
from edgekit.export.assembly import GOLDEN, golden, graph_paths, manifest, npz, provenance
from edgekit.export.convert import convert, serialize
from edgekit.export.networks import Wanted
from edgekit.export.parity import ParityRow, prove
from edgekit.export.passes import simplify
from edgekit.export.staging import StageRun
from edgekit.export.targets import Target
from edgekit.export.tensorrt_table import version

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
    alternatives: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """A written bundle, and what was found on the way.

    Attributes:
        bundle: as written.
        parity: one row a compared tensor; empty where parity was not asked for.
        dropped: why variants were left out, by ``stage.variant``.
        seconds: the whole export's.
        notes: what the networks themselves say of how they were read; a `StagedModel` may have ``notes``.
    """

    bundle: Bundle
    parity: Sequence[ParityRow]
    dropped: Mapping[str, str]
    seconds: float
    notes: Sequence[str] = ()


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
    alternatives: Mapping[str, Mapping[str, object]] | None = None,
) -> Bundle:
    """Turn a trained network, or several of rising cost for one task, into a bundle.

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
        alternatives: several networks of which the scheduler picks for every frame, by name: what differs from the arguments
            above (``checkpoint``, ``config``, ``size``, ``model``), and their ``accuracy`` and its ``source`` where known. A
            model that builds several by itself needs none.

    Raises:
        OptionError: an argument is wrong or contradicts the weights.
        CheckpointError: the weights cannot be used.
        ExportError: the network cannot be turned into graphs that the target takes.
        ParityError: a graph computes something else.
        BundleError: the bundle cannot be written.
    """
    request = Request(
        model, checkpoint, target, size, dict(config or {}), out, overwrite, parity, dict(alternatives or {})
    )
    return run(request, progress).bundle


def run(request: Request, progress: Report | None = None) -> Exported:
    """Export as requested; the errors are those of `export`."""
    steps = _Steps(progress)
    target = targets.find(request.target)
    destination = _destination(request)
    check_destination(destination, request.overwrite)
    steps.begin("reading the network")
    asked = _asked(request)
    built = [one for name, each in asked for one in networks.build(name, each)]
    ran = networks.run(built, steps.begin)
    graphs: dict[str, dict[str, bytes]] = {}
    dropped: dict[str, str] = {}
    for network in ran:
        for number, stage_run in enumerate(network.runs, 1):
            name = stage_run.stage.name
            steps.begin(f"converting {name}" + (f" ({network.name})" if len(ran) > 1 else ""))
            graphs[name], left_out = stage_graphs(stage_run, target, f"stage{number}")
            dropped.update(left_out)
    defaults = {name: _defaults(variants) for name, variants in graphs.items()}
    rows: list[ParityRow] = []
    if request.parity:
        chains = {
            backend: {name: chosen[backend] for name, chosen in defaults.items()}
            for backend in lowering.PREFERENCES
        }
        for network in ran:
            steps.begin("proving parity" + (f" of {network.name}" if len(ran) > 1 else ""))
            rows += prove(network.runs, graphs, chains, network.exits)
    steps.begin("writing the bundle")
    paths = graph_paths(graphs)
    files = {path: graphs[stage][variant] for (stage, variant), path in paths.items()}
    files[GOLDEN] = npz(golden(ran))
    notes = [str(note) for network in ran for note in getattr(network.model, "notes", ())]
    origin = provenance(request.model, [(name, each.model, each.checkpoint) for name, each in asked], rows)
    if notes:
        origin["notes"] = notes
    name = Path(destination).name.removesuffix(".edgekit")
    manifested = manifest(name, target.name, ran, graphs, paths, defaults, origin)
    bundle = write_bundle(destination, manifested, files, request.overwrite)
    steps.end()
    return Exported(bundle, rows, dropped, steps.total(), notes)


def stage_graphs(
    stage_run: StageRun, target: Target, title: str | None = None
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The stage's graphs by variant, and why variants were left out by ``stage.variant``.

    ``title`` is what the stage is called inside its graphs: the same one in every network, so that equal graphs are equal
    files.

    Raises:
        ExportError: no variant can be written with the operators of the target.
    """
    stage = stage_run.stage
    shapes = {name: tuple(tensor.shape) for name, tensor in stage_run.inputs.items()}
    graphs: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    for variant, module in lowering.variants(stage.module, shapes).items():
        model = simplify(convert(module, stage_run.inputs, stage.outputs, f"{title or stage.name}.{variant}"))
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


def _asked(request: Request) -> list[tuple[str | None, Wanted]]:
    """What to build, by the alternative's name; None where there is only the request itself."""
    checkpoint = None if request.checkpoint is None else Path(request.checkpoint)
    size = None if request.size is None else networks.checked_size(request.size)
    base = Wanted(request.model, checkpoint, size, request.config)
    if not request.alternatives:
        return [(None, base)]
    return list(networks.wanted(base, request.alternatives).items())


def _defaults(variants: Mapping[str, bytes]) -> dict[str, str]:
    return {backend: lowering.default_variant(variants, backend) for backend in lowering.PREFERENCES}
