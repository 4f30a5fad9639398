"""What `edgekit run` says of one picture or pair: which stage answered, why no later one did, and what the answer is."""

import argparse
from typing import Dict, List, Mapping, NamedTuple, Optional

import numpy as np

from edgekit.bundle import Bundle, Manifest
from edgekit.disparity import DisparityErrors
from edgekit.runtime.classes import class_name, top_classes
from edgekit.runtime.confidence import softmax
from edgekit.runtime.pictures.colors import disparity_range
from edgekit.runtime.report import milliseconds, table
from edgekit.runtime.result import Result


class Answer(NamedTuple):
    """One exit's result, and how far it is from the truth where that is known."""

    stage: str
    result: Result
    output: np.ndarray
    errors: Optional[DisparityErrors]


def document(
    bundle: Bundle,
    manifest: Manifest,
    args: argparse.Namespace,
    told: List[Answer],
    written: Mapping[str, str],
) -> Dict[str, object]:
    """What is printed with ``--json``."""
    last = told[-1].result
    return {
        "bundle": bundle.path,
        "budget_ms": args.budget_ms,
        "stage": last.stage,
        "network": last.network,
        "reason": last.reason,
        "elapsed_ms": last.elapsed_ms,
        "slack_ms": last.slack_ms,
        "missed": last.missed,
        "preprocess_ms": last.preprocess_ms,
        "stages": {
            stage.name: {
                "predicted_at_most_ms": last.predicted_ms.get(stage.name),
                "measured_ms": last.stage_ms.get(stage.name),
            }
            for stage in manifest.stages
        },
        "exits": [_exit_json(manifest, one) for one in told],
        "written": dict(written),
    }


def _exit_json(manifest: Manifest, one: Answer) -> Dict[str, object]:
    output = one.output
    found: Dict[str, object] = {
        "stage": one.stage,
        "network": one.result.network,
        "elapsed_ms": one.result.elapsed_ms,
        "shape": list(output.shape),
    }
    if manifest.task == "classification":
        found["top"] = [
            {"class": index, "name": class_name(manifest, index), "probability": share}
            for index, share in top_classes(softmax(output))
        ]
    else:
        found["range"] = [float(output.min()), float(output.max())]
        found["errors"] = None if one.errors is None else one.errors._asdict()
    return found


def lines(
    manifest: Manifest,
    args: argparse.Namespace,
    told: List[Answer],
    written: Mapping[str, str],
) -> List[str]:
    """What is printed for people."""
    last = told[-1].result
    number = [stage.name for stage in manifest.stages].index(told[-1].stage) + 1
    place = f"{number} of {len(manifest.stages)}" if last.network is None else f"network {last.network}"
    said = [f"{told[-1].stage} answered ({place}) in {last.elapsed_ms:.1f} ms: {why(args, last)}"]
    if args.budget_ms is not None and last.slack_ms is not None:
        left = f"{last.slack_ms:.1f} ms to spare" if not last.missed else f"MISSED by {-last.slack_ms:.1f} ms"
        said.append(
            f"budget {args.budget_ms:g} ms, {left}; preparing the pictures took {last.preprocess_ms:.1f} ms of it"
        )
    rows = [
        [
            f"{stage.name} {manifest.network_of(stage.name) or ''}".rstrip(),
            milliseconds(last.predicted_ms.get(stage.name)),
            milliseconds(last.stage_ms.get(stage.name)),
        ]
        for stage in manifest.stages
    ]
    said += ["", *table(["stage", "predicted at most, ms", "measured, ms"], rows), ""]
    for one in told:
        said += _answer_lines(manifest, one)
    for path, stage in written.items():
        kind = ""
        if path.endswith(".png"):
            output = next(one.output for one in told if one.stage == stage)
            kind = " ({:.1f} px blue to {:.1f} px red)".format(*disparity_range(output, args.max_disparity))
        said.append(f"wrote {path}{kind}")
    return said


def why(args: argparse.Namespace, result: Result) -> str:
    """Why no more stages ran, in words."""
    reasons = {
        "final": "it is the last stage" if result.network is None else "there is no better one",
        "budget": "the next stage does not fit into what is left of the budget",
        "confident": "it is sure enough of its answer",
        "cancelled": "the run was cancelled",
        "error": f"the next stage failed ({result.error})",
        "partial": f"--stage {args.stage}",
    }
    return reasons.get(result.reason, result.reason)


def _answer_lines(manifest: Manifest, one: Answer) -> List[str]:
    output = one.output
    if manifest.task == "classification":
        rows = [
            [class_name(manifest, index) or index, f"{100 * share:.2f} %"]
            for index, share in top_classes(softmax(output))
        ]
        return [f"{one.stage}:", *table(["class", "probability"], rows)]
    low, high = float(output.min()), float(output.max())
    text = f"{one.stage}: disparity {output.shape[1]} x {output.shape[0]} px, {low:.1f} to {high:.1f} px"
    if one.errors is not None:
        text += f"; EPE {one.errors.epe:.2f} px, D1 {100 * one.errors.d1:.2f} % of {one.errors.pixels:,} px"
    return [text]
