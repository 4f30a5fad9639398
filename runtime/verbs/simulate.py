"""`edgekit simulate`: what the scheduler would make of this network's frames, at every budget, under conditions of choice."""

import argparse
import glob
import os
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

from edgekit.bundle import Bundle, read_bundle
from edgekit.errors import OptionError
from edgekit.runtime.report import Progress, print_json, say, warn
from edgekit.runtime.simulation.recording import Recording, read_recording
from edgekit.runtime.simulation.simulate import CANCEL_MS, replay
from edgekit.runtime.simulation.strategies import compare
from edgekit.runtime.simulation.workload import (
    PAUSE_MS,
    Conditions,
    Every,
    Workload,
    modelled,
    origin,
    parse_every,
    parse_slowdown,
    read_durations,
    recorded,
)
from edgekit.runtime.verbs.options import positive, positive_whole, whole
from edgekit.runtime.verbs.sessions import add_network_option
from edgekit.runtime.verbs.simulate_plot import check_plot, draw
from edgekit.runtime.verbs.simulate_report import Cell, Settings, to_document, to_lines

FRAMES = 10000
MOST_BUDGETS = 200


class Source(NamedTuple):
    """Where the durations come from, in words, and the recording if it is one."""

    words: str
    measured: Mapping[str, Tuple[float, ...]]
    recording: Optional[Recording]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "--profile",
        metavar="FILE",
        help="draw durations from this profile, or from what `edgekit estimate --save` predicts; by default from the bundle's"
        " only profile",
    )
    parser.add_argument(
        "--recording",
        metavar="FILE",
        help="take the frames that `edgekit bench --record` wrote, in their order",
    )
    parser.add_argument(
        "--deadline",
        required=True,
        metavar="MS[..MS[:STEP]]",
        help="budgets: 40, or 20..80, or 20..80:5",
    )
    parser.add_argument(
        "--rate", type=positive, default=30.0, metavar="HZ", help="frames that come a second (default 30)"
    )
    parser.add_argument(
        "--frames",
        type=positive_whole,
        metavar="N",
        help=f"frames at every budget (default {FRAMES}, or those of the recording)",
    )
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="of everything drawn (default 0)")
    parser.add_argument(
        "--overrun",
        choices=("return", "finish"),
        default="return",
        help="at the deadline, return what is there (default), or finish the stage that runs",
    )
    parser.add_argument(
        "--confidence",
        type=share,
        metavar="P",
        help="how sure the scheduler must be that a stage fits; by default as a session is",
    )
    parser.add_argument(
        "--cancel-ms",
        type=positive,
        default=CANCEL_MS,
        metavar="MS",
        help=f"how long a cancelled stage runs on (default {CANCEL_MS:g})",
    )
    parser.add_argument(
        "--slowdown",
        action="append",
        default=[],
        metavar="Fx@A..B",
        help="2x@100..200: frames 100 to 199 take twice as long; may be repeated",
    )
    parser.add_argument(
        "--neighbour",
        metavar="Fx:N",
        help="1.8x:50: a neighbour on the processor, on and off for 50 frames each",
    )
    parser.add_argument(
        "--outliers", metavar="Fx:P", help="5x:0.002: two stage runs of a thousand take 5 times as long"
    )
    parser.add_argument(
        "--idle",
        metavar="Fx:N",
        help=f"1.5x:200: a pause of {PAUSE_MS / 1e3:g} s before every 200th frame, which is slower then",
    )
    add_network_option(parser)
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the figures over the budgets: .png, .svg or .pdf"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Simulate every budget, and report; 1 if a recording's own decisions cannot be reproduced."""
    bundle = read_bundle(args.bundle)
    if args.network is not None:
        bundle = bundle._replace(manifest=bundle.manifest.only(args.network))
    budgets = read_budgets(args.deadline)
    conditions = read_conditions(args)
    if args.plot is not None:
        check_plot(args.plot)
    source = read_source(args, bundle)
    workload = make_workload(args, bundle, source, conditions)
    differences = None if source.recording is None else replay(bundle.manifest, source.recording)
    cells = simulate_all(args, bundle, workload, budgets)
    if args.plot is not None:
        draw(
            args.plot,
            cells,
            f"{bundle.manifest.name}, overrun={args.overrun}: {os.path.basename(source.words)}",
        )
    settings = Settings(
        bundle=bundle.path,
        network=bundle.manifest.name,
        durations=source.words,
        frames=len(workload.arrivals),
        rate=args.rate,
        seed=args.seed,
        overrun=args.overrun,
        confidence=args.confidence,
        cancel_ms=args.cancel_ms,
        slowdown=tuple(args.slowdown),
        neighbour=args.neighbour,
        outliers=args.outliers,
        idle=args.idle,
    )
    reproduced = None if differences is None else not differences
    if args.json:
        print_json(to_document(settings, cells, reproduced))
    else:
        say(to_lines(settings, cells, reproduced))
    if differences:
        first = differences[0]
        warn(f"frame {first.frame}: recorded {first.recorded}, now {first.replayed}")
    return 1 if differences else 0


def simulate_all(
    args: argparse.Namespace, bundle: Bundle, workload: Workload, budgets: Sequence[float]
) -> List[Cell]:
    """Every strategy at every budget, on the same frames."""
    progress = Progress("simulate", len(budgets))
    cells = []
    for done, budget in enumerate(budgets):
        found = compare(bundle.manifest, workload, budget, args.overrun, args.confidence, args.cancel_ms)
        cells.append(Cell(budget, found))
        progress.at(done + 1)
    return cells


def read_source(args: argparse.Namespace, bundle: Bundle) -> Source:
    """The durations that were asked for.

    Raises:
        OptionError: both options were given, or none and the bundle does not tell.
        InputError: the file is no profile or no recording, or of another network.
    """
    names = [stage.name for stage in bundle.manifest.stages]
    if args.profile is not None and args.recording is not None:
        raise OptionError(
            "--profile draws durations anew and --recording takes them as they were; give one of them"
        )
    if args.recording is not None:
        recording = read_recording(args.recording)
        if [name for name, _ in recording.stages] != names:
            raise OptionError(
                f"--recording {args.recording} is of {recording.network} with stages"
                f" {', '.join(name for name, _ in recording.stages)}; {bundle.manifest.name} has {', '.join(names)}"
            )
        return Source(f"recording {args.recording}", recording.measured, recording)
    path = args.profile
    if path is None:
        found = sorted(glob.glob(os.path.join(glob.escape(bundle.path), "profiles", "*.json")))
        if len(found) != 1:
            what = "has no profile; `edgekit bench` measures one" if not found else "has several profiles"
            raise OptionError(
                f"{bundle.path} {what}: give --profile FILE{_among(found)}, or --recording FILE"
            )
        path = found[0]
    durations = read_durations(path, names)
    return Source(origin(path), durations, None)


def make_workload(
    args: argparse.Namespace, bundle: Bundle, source: Source, conditions: Conditions
) -> Workload:
    """The frames that every strategy is given."""
    if source.recording is not None:
        return recorded(source.recording, args.frames, args.rate, args.seed, conditions)
    stages = [(stage.name, stage.exit is not None) for stage in bundle.manifest.stages]
    return modelled(stages, source.measured, args.frames or FRAMES, args.rate, args.seed, conditions)


def read_budgets(text: str) -> List[float]:
    """Budgets in ms from ``40``, ``20..80`` (ten steps) or ``20..80:5``.

    Raises:
        OptionError: it is written otherwise, or asks for too many.
    """
    span, colon, width = text.partition(":")
    first, dots, last = span.partition("..")
    try:
        low = float(first)
        high = float(last) if dots else low
        step = float(width) if colon else (high - low) / 10 or 1.0
        fine = 0 < low <= high < 1e9 and step > 0 and (high - low) / step < MOST_BUDGETS
    except ValueError:
        fine = False
    if not fine:
        raise OptionError(
            f"--deadline {text}: give ms above 0, such as 40, 20..80 or 20..80:5; at most {MOST_BUDGETS} of them"
        )
    return [low + k * step for k in range(int((high - low) / step + 1e-9) + 1)]


def read_conditions(args: argparse.Namespace) -> Conditions:
    """What is to happen to the device.

    Raises:
        OptionError: an option is written otherwise than its help says.
    """

    def every(option: str, text: Optional[str], meaning: str, most: float = 1e9) -> Optional[Every]:
        return None if text is None else parse_every(option, text, meaning, most)

    return Conditions(
        tuple(parse_slowdown(text) for text in args.slowdown),
        every("--neighbour", args.neighbour, "a factor and a number of frames, such as 1.8x:50"),
        every("--outliers", args.outliers, "a factor and a share of at most 1, such as 5x:0.002", 1.0),
        every("--idle", args.idle, "a factor and a number of frames, such as 1.5x:200"),
    )


def share(text: str) -> float:
    """A share of at least a half and less than 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and below 1, such as 0.99")
    return value


def _among(paths: Sequence[str]) -> str:
    return f" ({', '.join(os.path.basename(path) for path in paths)})" if paths else ""
