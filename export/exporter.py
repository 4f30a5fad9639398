"""`edgekit.export(...)`: from a model's name to a bundle on disk, with everything checked that can be before slow work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from edgekit.bundle import Bundle, check_destination, write_bundle
from edgekit.errors import ExportError, OptionError
from edgekit.export import choice, lowering, networks, operators, targets
from edgekit.export.ahead import HALF_BITS, aimed, compile_ahead
from edgekit.export.assembly import GOLDEN, golden, graph_paths, manifest, npz, provenance
from edgekit.export.batching import any_number, batched, check_apart, repeated
from edgekit.export.convert import convert, serialize
from edgekit.export.lowering import Form
from edgekit.export.native import add_programs, halved
from edgekit.export.networks import Wanted
from edgekit.export.packing import pack_graphs
from edgekit.export.parity import ParityRow
from edgekit.export.passes import simplify
from edgekit.export.proving import prove_networks
from edgekit.export.request import Request
from edgekit.export.staging import StageRun
from edgekit.export.targets import Target
from edgekit.export.tensorrt_table import version

Report = Callable[[str, float | None], None]  # a step, and the seconds it took; None when it begins


@dataclass(frozen=True)
class Exported:
    """A written bundle, and what was found on the way.

    Attributes:
        bundle: as written.
        parity: one row a compared tensor; empty where parity was not asked for.
        dropped: why variants were left out, by ``stage.variant``.
        seconds: the whole export's.
        notes: what the networks themselves say of how they were read; a `StagedModel` may have ``notes``.
        measured: the times by which variants were chosen, for the target ``cpu``.
    """

    bundle: Bundle
    parity: Sequence[ParityRow]
    dropped: Mapping[str, str]
    seconds: float
    notes: Sequence[str] = ()
    measured: Sequence[choice.Measured] = ()


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
    precision: str | None = None,
    batch: int | None = 1,
    measure: bool = True,
    classes: Sequence[str] | None = None,
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
        precision: ``float32`` or ``int8``: only graphs that compute in it, with weights of it; by default every one that the target
            has.
        batch: how many pictures the graphs take at once, or None for any number, where the target allows it.
        measure: for the target ``cpu``, time the variants here and start with the fastest; see `edgekit.export.choice`.
        classes: the names of a classifier's classes, in their order; `edgekit run` prints them.
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
        model,
        checkpoint,
        target,
        size,
        {} if config is None else config,
        out,
        overwrite,
        parity,
        {} if alternatives is None else alternatives,
        precision,
        batch,
        measure,
        classes,
    )
    return run(request, progress).bundle


def run(request: Request, progress: Report | None = None) -> Exported:
    """Export as requested; the errors are those of `export`."""
    steps = _Steps(progress)
    target = targets.find(request.target)
    check_precision(request.precision, target)
    destination = _destination(request)
    check_destination(destination, request.overwrite)
    steps.begin("reading the network")
    asked = _asked(request)
    built = [
        replace(one, model=batched(one.model, request.batch, target))
        for name, each in asked
        for one in networks.build(name, each)
    ]
    ran = networks.run(built, steps.begin, request.classes)
    for network in ran:
        check_apart(network.model, network.samples, network.runs, request.batch)
    graphs: dict[str, dict[str, bytes]] = {}
    forms: dict[str, dict[str, Form]] = {}
    dropped: dict[str, str] = {}
    for network in ran:
        for number, stage_run in enumerate(network.runs, 1):
            name = stage_run.stage.name
            steps.begin(f"converting {name}" + (f" ({network.name})" if len(ran) > 1 else ""))
            graphs[name], forms[name], left_out = stage_graphs(
                stage_run, target, f"stage{number}", request.precision, request.batch
            )
            dropped.update(left_out)
    engines, uncompiled = compile_ahead(graphs, target, steps.begin)
    dropped.update(uncompiled)
    defaults = {
        name: _defaults({variant: forms[name][variant] for variant in variants}, target)
        for name, variants in graphs.items()
    }
    timed: list[choice.Measured] = []
    if request.measure and target.name == "cpu" and request.batch is not None:
        steps.begin("timing variants")
        chosen, timed = choice.measure([run for network in ran for run in network.runs], graphs, forms)
        for name, variant in chosen.items():
            defaults[name]["onnxruntime"] = variant
    notes = [str(note) for network in ran for note in getattr(network.model, "notes", ())]
    if target.name == "cpu" and request.batch == 1:
        steps.begin("writing programs")
        for network in ran:
            notes += add_programs(network.runs, graphs, forms, halve=request.precision is None)
    rows: list[ParityRow] = []
    if request.parity:
        rows = prove_networks(ran, graphs, forms, defaults, notes, steps.begin)
    notes += halved(graphs)
    steps.begin("writing the bundle")
    paths = graph_paths(graphs, forms)
    files = {path: graphs[stage][variant] for (stage, variant), path in paths.items()}
    bits = {path: forms[stage][variant].bits for (stage, variant), path in paths.items()}
    low = {path: data for path, data in files.items() if bits[path] < HALF_BITS}
    files.update(pack_graphs(low, bits) if low else {})
    files.update(engines)
    files[GOLDEN] = npz(golden(ran))
    origin = provenance(request.model, [(name, each.model, each.checkpoint) for name, each in asked], rows)
    if notes:
        origin["notes"] = notes
    if timed:
        origin["measured"] = choice.record(timed)
    name = Path(destination).name.removesuffix(".edgekit")
    manifested = manifest(name, target.name, ran, files, paths, forms, defaults, origin)._replace(
        batch=request.batch
    )
    bundle = write_bundle(destination, manifested, files, request.overwrite)
    steps.end()
    return Exported(bundle, rows, dropped, steps.total(), notes, timed)


def check_precision(precision: str | None, target: Target) -> None:
    """Refuse a precision that the device has not.

    Raises:
        OptionError: it has not, or there is none of this name.
    """
    if precision not in (None, "float32", "int8"):
        raise OptionError(f"precision {precision!r}: must be float32 or int8")
    if precision == "int8" and not target.int8:
        raise OptionError(
            f"precision int8: {target.name} has no INT8 ({target.note}); float32 graphs are built in FP16 there"
        )


def stage_graphs(
    stage_run: StageRun,
    target: Target,
    title: str | None = None,
    precision: str | None = None,
    batch: int | None = 1,
) -> tuple[dict[str, bytes], dict[str, Form], dict[str, str]]:
    """The stage's graphs by variant, what they store and compute, and why variants were left out by ``stage.variant``.

    Only those of ``precision`` are made, where that is given and the stage has any. With ``batch`` None, they take any number
    of pictures.

    ``title`` is what the stage is called inside its graphs: the same one in every network, so that equal graphs are equal
    files.

    Raises:
        ExportError: no variant can be written with the operators of the target.
    """
    stage = stage_run.stage
    shapes = {name: tuple(tensor.shape) for name, tensor in stage_run.inputs.items()}
    graphs: dict[str, bytes] = {}
    forms: dict[str, Form] = {}
    refused: dict[str, str] = {}
    for variant, module in lowering.variants(stage.module, shapes).items():
        form = lowering.form_of(module)
        why = _unfit(form, target, precision)
        if why:
            refused[f"{stage.name}.{variant}"] = f"  {why}"
            continue
        model = simplify(convert(module, stage_run.inputs, stage.outputs, f"{title or stage.name}.{variant}"))
        model, forms[variant] = aimed(model, form, target)
        findings = operators.check(model, version(target.tensorrt)) if target.tensorrt else []
        if findings:
            refused[f"{stage.name}.{variant}"] = "\n".join(f"  {finding}" for finding in findings)
        else:
            graphs[variant] = serialize(model)
            if batch is None:
                graphs[variant] = _for_any_number(module, stage_run, model.graph.name or "")
    if not graphs:
        details = "\n".join(f"{name}:\n{text}" for name, text in refused.items())
        raise ExportError(
            f"{stage.name} cannot run on {target.name} (TensorRT {target.tensorrt}):\n{details}"
        )
    return graphs, forms, refused


def _for_any_number(module: nn.Module, stage_run: StageRun, name: str) -> bytes:
    two, three = (
        serialize(
            simplify(
                convert(
                    module,
                    repeated(stage_run.inputs, count),
                    stage_run.stage.outputs,
                    name,
                )
            )
        )
        for count in (2, 3)
    )
    return any_number(two, three)


def _unfit(form: Form, target: Target, precision: str | None) -> str | None:
    """Why a variant of this form is not for the target, or not asked for."""
    if form.runtime is not None and (target.tensorrt or target.capability):
        return f"it is for the backend {form.runtime} only, and TensorRT does not take its operators"
    if form.precision == "int8" and not target.int8:
        return f"{target.name} has no INT8"
    if precision is not None and form.precision != precision:
        return f"it computes in {form.precision}, and precision {precision} was asked for"
    return None


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


def _defaults(forms: Mapping[str, Form], target: Target) -> dict[str, str]:
    """By backend, the variant to start with; one that has its operators, if there is any."""
    chosen = {}
    for backend in lowering.PREFERENCES:
        usable = [name for name, form in forms.items() if form.runtime in (None, backend)]
        chosen[backend] = lowering.default_variant(usable or forms, backend)
    return {**chosen, "tensorrt_rtx": chosen["tensorrt"]} if target.capability else chosen
