"""`edgekit export`: a trained network in, a bundle out."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from typing import TYPE_CHECKING

from edgekit.errors import OptionError
from edgekit.export.words import parse_alternatives, parse_batch, parse_classes, parse_config, parse_size

if TYPE_CHECKING:
    from edgekit.export.exporter import Exported

_SLOW = 1.0  # seconds from which on a step is worth a line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add = parser.add_argument
    add(
        "--model", required=True, help="a family (see edgekit models), or package.module:function of your own"
    )
    add("--checkpoint", metavar="FILE", help="trained weights; by default those that edgekit ships")
    add("--target", default="jetson", help="the device (see edgekit targets); by default jetson, any of them")
    add("--size", metavar="HxW", help="size in px of the pictures it will see; by default the family's")
    add(
        "--config",
        metavar="K=V",
        action="append",
        default=[],
        nargs="+",
        help="options that the checkpoint does not tell, under the authors' names, or a JSON file of them",
    )
    add(
        "--alternative",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help="one of several networks of which the scheduler picks for every frame; FILE is a JSON object of what differs: "
        '{"checkpoint": ..., "config": {...}, "size": [H, W], "accuracy": ...}; may be repeated',
    )
    add(
        "--subnet",
        metavar="NAME",
        action="append",
        default=[],
        help="a published subnet of --model oqa (see edgekit models oqa); several make alternatives",
    )
    add(
        "--classes",
        metavar="FILE",
        help="names of a classifier's classes, one a line in their order, for what `edgekit run` prints",
    )
    add(
        "--precision",
        choices=["float32", "int8"],
        help="only graphs that compute in it, with weights of it; by default every one that the target has",
    )
    add("--out", metavar="DIR", help="the bundle to write; by default MODEL.edgekit here")
    add(
        "--batch",
        default="1",
        metavar="N",
        help="pictures that the graphs take at once, or any (where the target allows); by default 1",
    )
    add("--force", action="store_true", help="replace the bundle that is there")
    add(
        "--no-parity",
        action="store_true",
        help="do not prove that the graphs compute what the network computes",
    )
    add(
        "--no-measure",
        action="store_true",
        help="for the target cpu: do not time the equal graphs to start with the fastest",
    )
    add("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Export, and print what was inferred, the stages, and the next command."""
    size = parse_size(args.size)
    config = parse_config([word for words in args.config for word in words])
    if args.subnet:
        if args.model != "oqa" or "subnet" in config:
            raise OptionError(
                "--subnet: is for --model oqa, and names its subnets without another one in --config"
            )
        config["subnet"] = args.subnet
    if ":" in args.model:
        sys.path.insert(0, os.getcwd())  # the user's own package is usually here
    from edgekit.export.exporter import run as export
    from edgekit.export.request import Request

    request = Request(
        args.model,
        args.checkpoint,
        args.target,
        size,
        config,
        args.out,
        args.force,
        not args.no_parity,
        parse_alternatives(args.alternative),
        args.precision,
        parse_batch(args.batch),
        not args.no_measure,
        parse_classes(args.classes),
    )
    exported = export(request, _say)
    print(json.dumps(_document(exported), indent=1) if args.json else _text(exported))
    return 0


def _say(step: str, seconds: float | None) -> None:
    """On a terminal what is being done, and in the end how long it took; elsewhere only what took long."""
    terminal = sys.stderr.isatty()
    if seconds is None and terminal:
        print(f"{step} ...", end="\r", file=sys.stderr, flush=True)
    elif seconds is not None and (terminal or seconds >= _SLOW):
        print(f"{step}: {seconds:.1f} s", file=sys.stderr, flush=True)


def _document(exported: Exported) -> dict[str, object]:
    return {
        "bundle": exported.bundle.path,
        "manifest": exported.bundle.manifest.to_json(),
        "parity": [vars(row) for row in exported.parity],
        "dropped": dict(exported.dropped),
        "notes": list(exported.notes),
        "measured": [vars(row) for row in exported.measured],
        "seconds": round(exported.seconds, 3),
    }


def _text(exported: Exported) -> str:
    manifest = exported.bundle.manifest
    options = "  ".join(
        f"{name}={json.dumps(value, separators=(',', ':'))}" for name, value in manifest.options.items()
    )
    first = manifest.inputs[0]
    picture = first.preprocessing
    size = f"{picture.height}x{picture.width}" if picture else "-"
    lines = [
        f"{manifest.family} ({manifest.task}) for {manifest.target}, weights: {manifest.provenance['checkpoint'] or 'its own'}",
        f"networks {', '.join(network.name for network in manifest.networks)}"
        if manifest.networks
        else f"options  {options}",
        f"inputs   {', '.join(spec.name for spec in manifest.inputs)}: pictures of {size}, tensors {list(first.shape)}",
        "",
        *_stage_table(exported),
        "",
        *(
            f"left out {name}, which {manifest.target} cannot run:\n{why}"
            for name, why in exported.dropped.items()
        ),
        *_measured(exported),
        *(f"note: {note}" for note in exported.notes),
        _parity_line(exported),
        f"{exported.bundle.path} ({_bytes(sum(f.bytes for f in manifest.files.values()))}, {exported.seconds:.1f} s)",
        f"next: edgekit bench {shlex.quote(os.path.relpath(exported.bundle.path))}",
    ]
    return "\n".join(lines)


def _measured(exported: Exported) -> list[str]:
    """The times by which variants were chosen."""
    if not exported.measured:
        return []
    from edgekit.export.choice import table, usable_threads

    head = f"ms in ONNX Runtime on this machine, {usable_threads()} threads; * is taken, a tie keeps the simpler form"
    return [head, *table(exported.measured), ""]


def _stage_table(exported: Exported) -> list[str]:
    manifest = exported.bundle.manifest
    head = ("stage", "exit", "MACs", "parameters", "bytes", "99.9 %", "variants (* ONNX Runtime, + TensorRT)")
    rows: list[tuple[str, ...]] = [head]
    stages = manifest.stages
    for stage in stages:
        network = manifest.network_of(stage.name)
        marks = [
            variant.name
            + "*" * (stage.defaults.get("onnxruntime") == variant.name)
            + "+" * (stage.defaults.get("tensorrt") == variant.name)
            for variant in stage.variants
        ]
        size = _bytes(max(variant.bytes for variant in stage.variants))
        macs = f"{stage.macs / 1e6:.1f} M"
        rows.append(
            (
                f"{stage.name} {network or ''}".rstrip(),
                stage.exit or "-",
                macs,
                f"{stage.parameters:,}",
                size,
                _error(exported, stage.name),
                " ".join(marks),
            )
        )
    total = (
        f"{sum(stage.macs for stage in stages) / 1e6:.1f} M",
        f"{sum(stage.parameters for stage in stages):,}",
    )
    if not manifest.networks:
        rows.append(("sum", "", *total, "", "", ""))
    width = [max(len(row[k]) for row in rows) for k in range(len(head))]
    left = (0, 1, 6)
    return [
        "  ".join(
            f"{cell:<{w}}" if k in left else f"{cell:>{w}}"
            for k, (cell, w) in enumerate(zip(row, width, strict=True))
        ).rstrip()
        for row in rows
    ]


def _error(exported: Exported, stage: str) -> str:
    """The largest error of a stage's answer, of all its graphs and chains."""
    exits = {spec.name: spec.exit for spec in exported.bundle.manifest.stages}
    rows = [row for row in exported.parity if row.stage == stage and row.tensor == exits[stage]]
    if not rows:
        return "-"
    worst = max(rows, key=lambda row: row.typical)
    return f"{worst.typical:.1e}{' px' if worst.unit == 'px' else ''}"


def _parity_line(exported: Exported) -> str:
    if not exported.parity:
        return "parity was not checked (--no-parity)"
    graphs = len({(row.stage, row.variant) for row in exported.parity})
    return f"parity holds: {len(exported.parity)} tensors of {graphs} runs agree with the network in torch"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"
