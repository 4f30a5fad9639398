"""`edgekit run`: answer one picture or pair of pictures within a budget, and say which stage answered and why."""

import argparse
import os
from typing import Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from edgekit.bundle import read_bundle
from edgekit.disparity import disparity_errors
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.guess import told as told_of
from edgekit.runtime.pictures import read_disparity, write_npy, write_pfm, write_png
from edgekit.runtime.pictures.colors import color_disparity
from edgekit.runtime.report import print_json, say
from edgekit.runtime.result import Result
from edgekit.runtime.session import Session
from edgekit.runtime.verbs import stream
from edgekit.runtime.verbs.depth_options import DepthWriter, add_depth_options
from edgekit.runtime.verbs.inputs import require_inputs
from edgekit.runtime.verbs.options import (
    add_backend_options,
    add_input_options,
    add_processor_options,
    check_folder,
    positive,
    positive_whole,
)
from edgekit.runtime.verbs.run_report import Answer, document, lines, why
from edgekit.runtime.verbs.sessions import add_network_option, check_one_network, open_session
from edgekit.runtime.verbs.stream_options import add_stream_options, check_stream_options
from edgekit.runtime.verbs.timelines import add_trace_option, write_run_trace

Writer = Callable[[str, np.ndarray], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_input_options(parser)
    add_stream_options(parser)
    parser.add_argument(
        "--budget-ms", type=positive, metavar="MS", help="answer within this; by default every stage runs"
    )
    parser.add_argument(
        "--stage", type=positive_whole, metavar="N", help="stop after stage N, whatever the budget"
    )
    parser.add_argument(
        "--every-exit", action="store_true", help="report (and save) every exit on the way, not only the last"
    )
    parser.add_argument(
        "--save",
        action="append",
        metavar="FILE",
        default=[],
        help="write the disparity: .png in colour, .npy or .pfm in px; of a --source, a video: .mp4 or .avi",
    )
    for kind in ("npy", "pfm"):
        parser.add_argument(f"--save-{kind}", metavar="FILE", help=f"write the answer as {kind.upper()}")
    parser.add_argument(
        "--max-disparity",
        type=positive,
        metavar="PX",
        help="px that the last colour stands for; by default what is there",
    )
    parser.add_argument(
        "--ground-truth", metavar="FILE", help="true disparity (KITTI .png, .pfm, .npy): report EPE and D1"
    )
    parser.add_argument(
        "--no-early-exit",
        action="store_true",
        help="of a calibrated bundle, run every stage that the budget allows, however sure an exit is",
    )
    parser.add_argument("--allow-nonfinite", action="store_true", help="let NaN and Inf in a .npy input pass")
    add_depth_options(parser)
    add_trace_option(parser)
    add_backend_options(parser)
    add_processor_options(parser)
    add_network_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Answer, report and write; 1 if the answer came after the budget."""
    check_stream_options(args)
    bundle = read_bundle(args.bundle)
    if args.source:
        return stream.run(args, bundle)
    depth = DepthWriter(args, bundle.manifest)
    files = files_to_write(args, bundle.manifest.task)
    check_folder("--trace", args.trace)
    inputs = depth.rectified(require_inputs(args, bundle.manifest))
    truth = None if args.ground_truth is None else read_disparity(args.ground_truth)
    manifest = bundle.manifest if args.network is None else bundle.manifest.only(args.network)
    if args.stage is not None:
        check_one_network("--stage", args, bundle.manifest)
        if args.stage > len(manifest.stages):
            raise OptionError(f"--stage {args.stage}: {manifest.name} has {len(manifest.stages)} stages")
    policies = () if args.no_early_exit or args.stage is not None else None
    with open_session(
        args, bundle.path, None, policies, args.network, allow_nonfinite=args.allow_nonfinite
    ) as session:
        guessed = None if session.guess is None else told_of(session.fingerprint, session.guess)
        results = answer(session, inputs, args)
        write_run_trace(args, session, results[-1])
    answers = compare(results, truth)
    if not answers:
        raise BackendError(f"{bundle.manifest.name} gave no answer: {why(args, results[-1])}")
    told = answers if args.every_exit else answers[-1:]
    written = write_answers(files, told)
    held = depth.write(told[-1].output, inputs["left"]) if depth.wanted else {}
    if args.json:
        written.update(dict.fromkeys(held, told[-1].stage))
        print_json(dict(document(bundle, manifest, args, told, written), guess=guessed))
    else:
        say(
            lines(manifest, args, told, written)
            + [f"wrote {path} ({what})" for path, what in held.items()]
            + ([f"wrote {args.trace}"] if args.trace else [])
            + ([guessed] if guessed else [])
        )
    return 1 if told[-1].result.missed else 0


def answer(session: Session, inputs: Mapping[str, np.ndarray], args: argparse.Namespace) -> List[Result]:
    """The results that were asked for, best last: one, or with ``--every-exit`` and ``--stage`` one an exit on the way.

    A first frame of the same pictures warms up what the robot's second frame finds warm. Where not even the first exit
    is there in time, it comes late.
    """
    session.infer(budget_ms=None, overrun="finish", reuse=False, **inputs)
    if args.stage is None and not args.every_exit:
        result = session.infer(budget_ms=args.budget_ms, overrun="return", reuse=False, **inputs)
        if result.output is None:
            result = session.infer(budget_ms=args.budget_ms, overrun="finish", reuse=False, **inputs)
        return [result]
    results: List[Result] = []
    last = [stage.name for stage in session.stages][: args.stage][-1]
    for result in session.anytime(budget_ms=args.budget_ms, **inputs):
        if results and result.stage == results[-1].stage:
            results.pop()  # the same exit once more: the stage after it failed
        results.append(result)
        if result.stage == last:
            break
    return results


def compare(results: Sequence[Result], truth: Optional[np.ndarray]) -> List[Answer]:
    """Every result that has an answer, with its errors where the truth is known."""
    found = []
    for result in results:
        if result.output is not None and result.stage is not None:
            errors = None if truth is None else disparity_errors(result.output, truth)
            found.append(Answer(result.stage, result, result.output, errors))
    return found


def write_answers(files: Mapping[str, Writer], told: Sequence[Answer]) -> Dict[str, str]:
    """Write the last answer to the files, and those before it beside them; which file holds which stage's answer."""
    written = {}
    for path, write in files.items():
        for one in told:
            place = path if one is told[-1] else beside(path, one.stage)
            write(place, one.output)
            written[place] = one.stage
    return written


def files_to_write(args: argparse.Namespace, task: str) -> Dict[str, Writer]:
    """Which function writes which file, by its path.

    Raises:
        OptionError: an extension is unknown or contradicts its option, or two options name one file.
    """
    writers: Dict[str, Writer] = {
        ".png": lambda path, output: write_png(path, color_disparity(output, args.max_disparity)),
        ".npy": write_npy,
        ".pfm": write_pfm,
    }
    wanted = [("--save", path, os.path.splitext(path)[1].lower()) for path in args.save]
    wanted += [(f"--save-{kind}", getattr(args, f"save_{kind}"), f".{kind}") for kind in ("npy", "pfm")]
    files: Dict[str, Writer] = {}
    for option, path, kind in wanted:
        if path is None:
            continue
        if kind not in writers:
            what = f"ends in {kind!r}" if kind else "has no extension"
            raise OptionError(f"{option} {path} {what}: give .png (colours), .npy or .pfm (px)")
        if task != "stereo" and kind != ".npy":
            raise OptionError(f"{option} {path}: the answer is not a picture; --save-npy writes its logits")
        extension = os.path.splitext(path)[1].lower()
        if extension in writers and extension != kind:
            raise OptionError(
                f"{option} {path} ends in {extension!r}, and {option} writes {kind}; use --save {path}"
            )
        if os.path.abspath(path) in [os.path.abspath(other) for other in files]:
            raise OptionError(f"{path} would be written twice; give each answer its own file")
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise OptionError(f"{option} {path}: there is no folder {os.path.dirname(path)}; create it first")
        files[path] = writers[kind]
    return files


def beside(path: str, stage: str) -> str:
    """Where an earlier exit is written: ``disparity.stage1.png`` beside ``disparity.png``."""
    stem, extension = os.path.splitext(path)
    return f"{stem}.{stage}{extension}"
