"""`edgekit compare`: bundles against each other, frame by frame in turns, or one measurement against another."""

import argparse
import json
import os
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Bundle, read_bundle
from edgekit.errors import InputError, OptionError
from edgekit.runtime.comparison import Ratio, apart, paired
from edgekit.runtime.confidence import softmax
from edgekit.runtime.measurement import Frame
from edgekit.runtime.report import Progress, milliseconds, names_of, print_json, say, table
from edgekit.runtime.statistics import doubts, summarize
from edgekit.runtime.verbs.inputs import golden_pictures, read_inputs
from edgekit.runtime.verbs.options import (
    add_backend_options,
    add_input_options,
    add_processor_options,
    add_run_options,
    positive,
)
from edgekit.runtime.verbs.sessions import Sessions

LAST = "last exit"
SAME = ("fingerprint", "backend", "backend_settings", "inputs")  # settings that two measurements should share


class Measured(NamedTuple):
    """One of those compared.

    Attributes:
        name: how the table calls it.
        exits: ms end to end of every frame, by exit, in order.
        size: bytes of the graphs that ran; None where that is not known.
        answer: what the last exit made of the first frame: (H, W) px, or probabilities (classes,).
        settings: of the measurement, where it came from a file.
    """

    name: str
    exits: Mapping[str, Tuple[float, ...]]
    size: Optional[int]
    answer: Optional[np.ndarray]
    settings: Mapping[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_input_options(parser)
    add_run_options(parser, "rounds of bundles")
    parser.add_argument(
        "--max-ratio",
        type=positive,
        metavar="R",
        help="exit with 1 if a last exit surely takes more than R times the first one's",
    )
    add_backend_options(parser)
    add_processor_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Measure or read, compare with the first, report; 1 if the gate was not met."""
    if len(args.bundle) < 2:
        raise OptionError(
            "there is nothing to compare with: give two bundles or more, or two files of `edgekit bench --save`"
        )
    files = [os.path.isfile(path) for path in args.bundle]
    if any(files) and not all(files):
        raise OptionError(
            "a bundle and a file of `edgekit bench --save` cannot be compared: save a measurement of the bundle first"
        )
    names = names_of(args.bundle)
    if all(files):
        found = [read_measured(path, name) for path, name in zip(args.bundle, names)]
        warnings = differences(found)
    else:
        found = measure(args, names)
        warnings = [text for one in found[:1] for text in doubts(list(one.exits.values())[-1])]
    ratios = [ratios_of(one, found[0], apart if all(files) else paired) for one in found[1:]]
    worst = max(ratio[LAST].low for ratio in ratios)
    passed = None if args.max_ratio is None else worst <= args.max_ratio
    if args.json:
        print_json(document(found, ratios, warnings, passed))
    else:
        say(lines(found, ratios, warnings, args.max_ratio, passed))
    return 1 if passed is False else 0


def measure(args: argparse.Namespace, names: Sequence[str]) -> List[Measured]:
    """Every bundle in turns, round by round, in an order that shifts; all are given the same pictures.

    Raises:
        OptionError: the bundles take different inputs, so that their answers have nothing to do with each other.
    """
    bundles = [read_bundle(path) for path in args.bundle]
    first = bundles[0].manifest
    for bundle in bundles[1:]:
        kinds = [(m.task, [spec.name for spec in m.inputs]) for m in (first, bundle.manifest)]
        if kinds[0] != kinds[1]:
            raise OptionError(
                f"{bundle.path} is for {kinds[1][0]} and {bundles[0].path} for {kinds[0][0]}: they answer different questions"
            )
    pictures = read_inputs(args, first) or golden_pictures(
        bundles[0], first.networks[-1].name if first.networks else None
    )
    sessions: List[Sessions] = []
    args.network = None
    try:
        for bundle in bundles:
            each = dict.fromkeys([network.name for network in bundle.manifest.networks] or [""], pictures)
            sessions.append(Sessions(args, bundle, None, each))
        frames: List[List[Frame]] = [[] for _ in bundles]
        progress = Progress("compare", args.runs)
        for turn in range(args.warmup + args.runs):
            for place in range(len(bundles)):
                index = (turn + place) % len(bundles)
                frame = sessions[index].frame()
                if turn >= args.warmup:
                    frames[index].append(frame)
            progress.at(max(turn + 1 - args.warmup, 0))
        answers = [
            np.asarray(one.each[-1].infer(budget_ms=None, overrun="finish", reuse=False, **pictures).output)
            for one in sessions
        ]
        ran = [one.variants for one in sessions]
    finally:
        for one in sessions:
            one.close()
    stereo = first.task == "stereo"
    return [
        Measured(
            name=name,
            exits={exit_: tuple(frame.exit_ms[exit_] for frame in seen) for exit_ in seen[0].exit_ms},
            size=size_of(bundle, variants),
            answer=answer if stereo else softmax(answer[None])[0],
            settings={},
        )
        for name, bundle, seen, variants, answer in zip(names, bundles, frames, ran, answers)
    ]


def size_of(bundle: Bundle, variants: Mapping[str, str]) -> int:
    """Bytes of the graphs that ran, a graph that several stages share counted once."""
    graphs = {
        one.graph: one.bytes
        for stage in bundle.manifest.stages
        for one in stage.variants
        if one.name == variants.get(stage.name)
    }
    return sum(graphs.values())


def read_measured(path: str, name: str) -> Measured:
    """What `edgekit bench --save` wrote.

    Raises:
        InputError: the file cannot be read, or is no such document.
    """
    try:
        with open(path, "rb") as file:
            saved = json.loads(file.read().decode("utf-8"))
        exits = {
            str(exit_): tuple(float(frame["exit_ms"][exit_]) for frame in saved["frames"])
            for exit_ in saved["exits"]
        }
        settings = dict(saved["settings"])
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what `edgekit bench --save FILE` writes") from error
    if not exits or not all(times and min(times) > 0.0 for times in exits.values()):
        raise InputError(f"{path} holds no frames; measure again with `edgekit bench --save FILE`")
    return Measured(name, exits, None, None, settings)


def differences(found: Sequence[Measured]) -> List[str]:
    """What else differed between measurements than what is to be compared."""
    said = [
        "these are separate measurements: whatever changed on the device between them is in the ratios too"
    ]
    for one in found[1:]:
        for key in SAME:
            before, after = found[0].settings.get(key), one.settings.get(key)
            if before != after:
                said.append(
                    f"{one.name} was measured with another {key.replace('_', ' ')}: {_short(after)}, not {_short(before)}"
                )
    return said


def ratios_of(
    one: Measured, base: Measured, ratio: Callable[[Sequence[float], Sequence[float]], Ratio]
) -> Dict[str, Ratio]:
    """Ratios by exit where both have equally many, and of the last exit in any case."""
    found = {}
    if len(one.exits) == len(base.exits):
        for (name, times), before in zip(one.exits.items(), base.exits.values()):
            found[name] = ratio(times, before)
    found[LAST] = ratio(list(one.exits.values())[-1], list(base.exits.values())[-1])
    return found


def agreement(one: Measured, base: Measured) -> Optional[Dict[str, object]]:
    """How far the last exits' answers to the same pictures are apart; None where they cannot be compared."""
    if one.answer is None or base.answer is None or one.answer.shape != base.answer.shape:
        return None
    away = np.abs(one.answer - base.answer)
    if one.answer.ndim == 2:
        return {"mean_px": float(np.nanmean(away)), "beyond_1_px": float((away > 1.0).mean())}
    same = bool(one.answer.argmax() == base.answer.argmax())
    return {"largest_probability_difference": float(away.max()), "same_class": same}


def document(
    found: Sequence[Measured],
    ratios: Sequence[Mapping[str, Ratio]],
    warnings: Sequence[str],
    passed: Optional[bool],
) -> Dict[str, object]:
    """What is printed with ``--json``."""
    return {
        "base": found[0].name,
        "measured": [
            {
                "name": one.name,
                "exits": {name: summarize(times).to_json() for name, times in one.exits.items()},
                "graph_bytes": one.size,
                "ratios": {
                    name: dict(ratio._asdict(), verdict=ratio.verdict) for name, ratio in each.items()
                },
                "answers_apart": agreement(one, found[0]),
            }
            for one, each in zip(found, [{}, *ratios])
        ],
        "passed": passed,
        "warnings": list(warnings),
    }


def lines(
    found: Sequence[Measured],
    ratios: Sequence[Mapping[str, Ratio]],
    warnings: Sequence[str],
    limit: Optional[float],
    passed: Optional[bool],
) -> List[str]:
    """The report for people."""
    base = found[0]
    rows: List[List[object]] = []
    for one, each in zip(found, [{}, *ratios]):
        for number, (name, times) in enumerate(one.exits.items()):
            figures = summarize(times)
            ratio = each.get(
                name if len(one.exits) == len(base.exits) else LAST if number + 1 == len(one.exits) else ""
            )
            rows.append(
                [
                    one.name if not number else "",
                    name,
                    milliseconds(figures.p50),
                    milliseconds(figures.p99),
                    None if ratio is None else f"{ratio.middle:.3f}",
                    None if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
                    None if ratio is None else ratio.verdict,
                ]
            )
    header = ["", "exit", "p50 ms", "p99 ms", f"of {base.name}", "95 % interval", "verdict"]
    said = [
        "Until each exit, end to end (boundary: from the call with pictures to the answer)",
        *table(header, rows, left=2),
    ]
    for one in found:
        size = "" if one.size is None else f"{one.name}: graphs of {one.size / 1e6:.2f} MB"
        apart_ = None if one is base else agreement(one, base)
        if apart_ is not None:
            told = ", ".join(f"{key.replace('_', ' ')} {_figure(value)}" for key, value in apart_.items())
            size += f"; last answer against {base.name}'s: {told}"
        if size:
            said.append(size)
    if passed is not None:
        said.append(
            f"gate: at most {limit:g} times {base.name}'s last exit: {'passed' if passed else 'FAILED'}"
        )
    return [*said, *(f"! {text}" for text in warnings)]


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
