"""`edgekit build`: the bundle's TensorRT engines for this device, each in the precision and the graph that are fastest here."""

import argparse
import sys
import time
from typing import Dict, List, Optional, Sequence

import numpy as np

from edgekit.bundle import Bundle, read_bundle
from edgekit.runtime.backends import open_backend
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.building.engines import (
    PRECISIONS,
    Record,
    engines_folder,
    find_engine,
    other_records,
    read_record,
)
from edgekit.runtime.building.plan import Options, Step, device, expected_seconds, plan_build
from edgekit.runtime.building.work import News, build_engines
from edgekit.runtime.device.fingerprint import differences
from edgekit.runtime.report import milliseconds, print_json, say, table
from edgekit.runtime.verbs.options import positive, positive_whole, read_variants


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be built, and build nothing")
    parser.add_argument(
        "--precision",
        action="append",
        choices=PRECISIONS,
        metavar="NAME",
        help="try this besides fp32: {}; may be repeated; by default all that the module has".format(
            ", ".join(PRECISIONS[1:])
        ),
    )
    parser.add_argument(
        "--variants",
        metavar="STAGE=NAME,...",
        help="build only these graphs; by default every graph of every stage",
    )
    parser.add_argument(
        "--workspace-mb",
        type=positive_whole,
        metavar="MB",
        help="memory to begin with; by default a quarter of what is free",
    )
    parser.add_argument(
        "--runs",
        type=positive_whole,
        default=Options().runs,
        help="executions to measure (default %(default)s)",
    )
    parser.add_argument(
        "--tolerance",
        type=positive,
        default=1.0,
        metavar="FACTOR",
        help="allow so many times the usual error (0.25 px of disparity, 1 %% of other outputs, root mean square)",
    )
    parser.add_argument("--force", action="store_true", help="build everything anew, also what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Build, measure, choose, and report."""
    bundle = read_bundle(args.bundle)
    options = Options(
        precisions=None if args.precision is None else tuple(args.precision),
        variants=None if args.variants is None else read_variants(args.variants),
        workspace=None if args.workspace_mb is None else args.workspace_mb << 20,
        runs=args.runs,
        tolerance=args.tolerance,
    )
    backend = open_backend("tensorrt")
    assert isinstance(backend, TensorRT)
    with backend:
        if args.dry_run:
            return _plan(args, bundle, backend, options)
        begun = time.perf_counter()
        record = build_engines(bundle, backend, options, _Teller().tell, anew=args.force)
        seconds = time.perf_counter() - begun
    if args.json:
        print_json(_document(bundle, record, seconds))
    else:
        say(_lines(bundle, record, seconds))
    return 0


class _Teller:
    """Progress on stderr: a line that rewrites itself on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._begun = time.perf_counter()

    def tell(self, news: News) -> None:
        """Say what begins, how long it has taken so far, and how long the rest may take."""
        taken = time.perf_counter() - self._begun
        left = "" if news.left_s is None else f", about {_duration(news.left_s)} left"
        line = f"build {news.number} of {news.total}: {news.what} ({_duration(taken)} so far{left})"
        if not self._terminal:
            print(line, file=sys.stderr, flush=True)
        elif news.number < news.total:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _plan(args: argparse.Namespace, bundle: Bundle, backend: TensorRT, options: Options) -> int:
    fingerprint = device(backend)
    steps = plan_build(bundle, backend, options)
    record, others = read_record(bundle, fingerprint), other_records(bundle, fingerprint)
    left = expected_seconds([trial for one in [record, *others] for trial in one.trials], steps)
    changed = differences(fingerprint, others[0].fingerprint) if others and not record.trials else None
    if args.json:
        print_json(
            {
                "bundle": bundle.path,
                "folder": engines_folder(bundle, fingerprint),
                "fingerprint": fingerprint.to_json(),
                "changed": changed,
                "expected_seconds": left,
                "steps": [dict(step._asdict(), build=step.open) for step in steps],
            }
        )
        return 0
    rows = [[step.stage, step.variant, step.precision, _state(step)] for step in steps]
    lines = [f"{bundle.path} on {_machine(backend)}", ""]
    if changed is not None:
        lines.append(f"engines of another device or state are there: {changed}")
    lines += table(["stage", "graph", "precision", ""], rows, left=4)
    todo = sum(step.open for step in steps)
    about = "" if left is None or not todo else f", about {_duration(left)} by what earlier builds took"
    say(lines + ["", f"{todo} of {len(steps)} engines are to be built{about}; nothing was built (--dry-run)"])
    return 0


def _state(step: Step) -> str:
    return "there" if step.done else f"refused: {step.refused}" if step.refused else "to be built"


def _machine(backend: TensorRT) -> str:
    settings = backend.settings
    return f"{settings['gpu']} (SM {settings['sm']}), TensorRT {backend.version}, CUDA {settings['cuda']}"


def _lines(bundle: Bundle, record: Record, seconds: float) -> List[str]:
    rows = []
    for trial in record.trials:
        if _current(bundle, record, trial.stage, trial.variant, trial.precision):
            taken = (trial.stage, trial.variant, trial.precision) in record.chosen
            rows.append(
                [
                    trial.stage,
                    trial.variant,
                    trial.precision,
                    "*" if taken else "",
                    milliseconds(float(np.median(trial.durations_ms)) if trial.durations_ms else None),
                    None if trial.error is None else f"{trial.error:.2g}",
                    None if trial.seconds is None else f"{trial.seconds:.1f}",
                ]
            )
    order = [stage.name for stage in bundle.manifest.stages]
    rows.sort(key=lambda row: order.index(str(row[0])))
    refused = [
        f"! {trial.stage} {trial.variant} {trial.precision}: {trial.refused}"
        for trial in record.trials
        if trial.refused
    ]
    exits = ", ".join(f"{stage} {error:.2g}" for stage, error in record.errors)
    return [
        f"{bundle.path} for {record.fingerprint.module}, TensorRT {record.fingerprint.tensorrt},"
        f" power mode {record.fingerprint.power_mode}",
        "",
        *table(["stage", "graph", "precision", "taken", "median ms", "error", "build s"], rows, left=4),
        "",
        "median ms: from the launch until the results are there, measured here, all graphs of a stage in turns",
        "error: against the stage's most exact engine; 1 is all that is allowed",
        *refused,
        *([f"! {record.note}"] if record.note else []),
        f"all together against the golden answers (2 is all that is allowed): {exits}",
        f"{_duration(seconds)}; next: edgekit bench {bundle.path} --backend tensorrt",
    ]


def _current(bundle: Bundle, record: Record, stage: str, variant: str, precision: str) -> bool:
    """Whether this engine is on disk."""
    for spec in bundle.manifest.stages:
        if spec.name == stage and variant in [one.name for one in spec.variants]:
            return find_engine(bundle, record.fingerprint, spec, variant, precision) is not None
    return False


def _document(bundle: Bundle, record: Record, seconds: float) -> Dict[str, object]:
    return {
        "bundle": bundle.path,
        "folder": engines_folder(bundle, record.fingerprint),
        "fingerprint": record.fingerprint.to_json(),
        "chosen": {
            stage: {"variant": variant, "precision": precision} for stage, variant, precision in record.chosen
        },
        "trials": [dict(trial._asdict(), median_ms=_median(trial.durations_ms)) for trial in record.trials],
        "errors": dict(record.errors),
        "note": record.note,
        "seconds": seconds,
    }


def _median(durations: Sequence[float]) -> Optional[float]:
    return float(np.median(durations)) if durations else None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
