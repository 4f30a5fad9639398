"""`edgekit inspect BUNDLE --for TARGET`: would the target's TensorRT take every graph? Which node not, why, and what instead?"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import onnx
import onnx_ir as ir
from onnx import shape_inference

from edgekit.bundle import Bundle, StageSpec, read_bundle
from edgekit.export import targets
from edgekit.export.accelerator import left_to_the_gpu
from edgekit.export.native import NATIVE
from edgekit.export.operators import Finding, check, without_int8
from edgekit.export.targets import Target
from edgekit.export.tensorrt_table import Version, version, versions

EVERY = "all"


@dataclass(frozen=True)
class Inspected:
    """One graph of one stage.

    Attributes:
        stage, variant: which.
        nodes: how many operators it has.
        findings: by TensorRT release, what that would refuse; none where it takes the graph.
        on_gpu: by operator, how many nodes a deep learning accelerator leaves to the GPU; None where there is none.
    """

    stage: str
    variant: str
    nodes: int
    findings: dict[str, list[Finding]]
    on_gpu: dict[str, int] | None


def run(args: argparse.Namespace) -> int:
    """Check every graph and report; 1 if a stage has none that the target takes."""
    bundle = read_bundle(args.bundle)
    releases, target = _asked(args.target)
    inspected = [
        inspect(bundle, stage, variant.name, releases, target)
        for stage in bundle.manifest.stages
        for variant in stage.variants
        if variant.runtime != NATIVE  # a program, which no TensorRT reads
    ]
    stuck = [stage.name for stage in bundle.manifest.stages if not _taken(stage, inspected, releases)]
    if args.json:
        document = {
            "bundle": bundle.path,
            "for": args.target,
            "releases": [str(release) for release in releases],
            "runs": not stuck,
            "graphs": [asdict(one) for one in inspected],
        }
        print(json.dumps(document, indent=1))
    else:
        print("\n".join(_lines(bundle, args.target, releases, inspected, stuck)))
    return 1 if stuck else 0


def inspect(
    bundle: Bundle, stage: StageSpec, variant: str, releases: Sequence[Version], target: Target | None
) -> Inspected:
    """Check one graph against every one of ``releases``.

    Raises:
        BundleError: the graph is missing or damaged.
    """
    path = next(one.graph for one in stage.variants if one.name == variant)
    proto = shape_inference.infer_shapes(onnx.load_model_from_string(bundle.read_bytes(path)))
    model = ir.serde.deserialize_model(proto)
    findings = {str(release): check(model, release) for release in releases}
    if target is not None and not target.int8:
        for found in findings.values():
            found += without_int8(model, target.name)
    on_gpu = None
    if target is not None and target.dla:
        on_gpu = dict(Counter(node.op_type for node in left_to_the_gpu(model)))
    return Inspected(stage.name, variant, sum(1 for _ in model.graph.all_nodes()), findings, on_gpu)


def _asked(name: str) -> tuple[tuple[Version, ...], Target | None]:
    """The releases to check for what was typed: a target, a release such as ``8.5``, or ``all``."""
    if name == EVERY:
        return versions(), None
    if name[:1].isdigit():
        return (version(name),), None
    target = targets.find(name)
    return (() if target.tensorrt is None else (version(target.tensorrt),)), target


def _taken(stage: StageSpec, inspected: Sequence[Inspected], releases: Sequence[Version]) -> list[str]:
    """The variants that the newest of ``releases`` takes."""
    return [
        one.variant
        for one in inspected
        if one.stage == stage.name and not (releases and one.findings[str(releases[-1])])
    ]


def _lines(
    bundle: Bundle,
    asked: str,
    releases: Sequence[Version],
    inspected: Sequence[Inspected],
    stuck: Sequence[str],
) -> list[str]:
    if not releases:
        return [
            f"{asked} has no TensorRT: ONNX Runtime runs every graph of opset {targets.find(asked).opset} or older"
        ]
    heads = ["stage", "graph", "nodes", *(f"{'.'.join(map(str, release.number))}" for release in releases)]
    rows = [heads]
    for one in inspected:
        counts = [len(one.findings[str(release)]) for release in releases]
        rows.append(
            [one.stage, one.variant, str(one.nodes), *(f"{n} refused" if n else "taken" for n in counts)]
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(heads))]
    lines = [
        f"{bundle.path} for {asked}: what the ONNX parser of TensorRT {', '.join(heads[3:])} says of every graph",
        "",
    ]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    for one in inspected:
        told: set[str] = set()
        # What a newer release refuses, older ones do too.
        for release, found in reversed(one.findings.items()):
            lines += _told(
                release, [each for each in found if each.operator not in told], f"{one.stage} {one.variant}"
            )
            told |= {each.operator for each in found}
    for stage in bundle.manifest.stages:
        taken = _taken(stage, inspected, releases)
        refused = [one.variant for one in inspected if one.stage == stage.name and one.variant not in taken]
        if refused and taken:
            lines.append(
                f"{stage.name}: edgekit takes {', '.join(taken)} on {releases[-1]}, and leaves out {', '.join(refused)}"
            )
    lines += _accelerated(inspected)
    if stuck:
        lines.append(
            f"{', '.join(stuck)}: no graph that {releases[-1]} takes; export for this target, see `edgekit targets`"
        )
    else:
        lines.append(
            f"{releases[-1]} takes every stage, by what is recorded of its parser; whether it is fast, a device must show"
        )
    return lines


def _told(release: str, found: Sequence[Finding], graph: str) -> list[str]:
    """One line a kind of finding, with its first node and how many more there are."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        kinds.setdefault((finding.operator, finding.reason), []).append(finding)
    return [
        f"! {graph}, {release}: {alike[0]}" + (f" (and {len(alike) - 1} more)" if len(alike) > 1 else "")
        for alike in kinds.values()
    ]


def _accelerated(inspected: Sequence[Inspected]) -> list[str]:
    lines = []
    for one in inspected:
        if one.on_gpu is not None:
            left = sum(one.on_gpu.values())
            kinds = ", ".join(
                f"{count} {name}" for name, count in sorted(one.on_gpu.items(), key=lambda entry: -entry[1])
            )
            rest = f", {left} stay on the GPU ({kinds})" if left else ""
            lines.append(
                f"DLA: {one.stage} {one.variant}: {one.nodes - left} of {one.nodes} nodes may run there{rest}"
            )
    if lines:
        lines.append(
            "DLA: by rules that are recalled from NVIDIA's guide, not read and not measured; `edgekit build` times it"
        )
    return lines
