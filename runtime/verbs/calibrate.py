"""`edgekit calibrate`: set when an exit is sure enough to end a frame, for a latency or an accuracy that the user names."""

import argparse
from typing import NamedTuple, Optional, Tuple

from edgekit import atomic
from edgekit.bundle import Bundle, read_bundle
from edgekit.errors import BackendError, InputError, OptionError
from edgekit.runtime.calibration.asking import Asking
from edgekit.runtime.calibration.bundled import (
    forget_calibration,
    keep_calibration,
    part_of,
    read_calibration_file,
)
from edgekit.runtime.calibration.calibrating import Calibration, calibrate, to_document
from edgekit.runtime.calibration.costs import exit_stages
from edgekit.runtime.calibration.goals import Goal, Unreachable, check_goal
from edgekit.runtime.calibration.labelled import Labelled, class_names, read_labelled
from edgekit.runtime.calibration.recorded_logits import (
    Recorded,
    check_labels,
    check_recorded,
    classes_of,
    record,
    write_recorded,
)
from edgekit.runtime.confidence import MEASURES
from edgekit.runtime.profile import bundle_hash
from edgekit.runtime.report import Progress, print_json, say, to_json, warn
from edgekit.runtime.verbs.calibrate_costs import (
    FRAMES,
    NOW,
    PROFILE,
    Priced,
    costs_of_device,
    costs_without_device,
)
from edgekit.runtime.verbs.calibrate_plot import draw
from edgekit.runtime.verbs.calibrate_report import to_lines
from edgekit.runtime.verbs.inputs import golden_pictures
from edgekit.runtime.verbs.options import (
    add_backend_options,
    add_processor_options,
    check_folder,
    positive,
)
from edgekit.runtime.verbs.sessions import add_network_option, check_one_network, open_session
from edgekit.runtime.verbs.simulate_plot import check_plot


class Measured(NamedTuple):
    """What the samples and the device said: logits, what answers cost, and what else could not be had, in words."""

    recorded: Recorded
    priced: Priced
    missing: Tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    data = parser.add_argument_group("samples")
    data.add_argument(
        "--data",
        metavar="PATH",
        help="labelled samples: a folder with a folder for each class, a folder of pictures with --labels, or an .npz file with"
        " images or logits, and labels",
    )
    data.add_argument(
        "--labels", metavar="FILE", help="a CSV of file,label lines; for an .npz file also .npy"
    )
    data.add_argument(
        "--save-logits", metavar="FILE", help="keep what the exits said as .npz, for the next --data"
    )
    goals = parser.add_argument_group("goals; without one, the frontier is shown and nothing is written")
    goals.add_argument(
        "--mean-ms", type=positive, metavar="MS", help="mean from call to answer on this device"
    )
    goals.add_argument("--p99-ms", type=positive, metavar="MS", help="what 99 of 100 frames take at most")
    goals.add_argument(
        "--max-loss",
        type=positive,
        metavar="POINTS",
        help="percentage points of accuracy that may be lost against the last exit",
    )
    goals.add_argument(
        "--confidence",
        type=positive,
        default=95.0,
        metavar="PERCENT",
        help="how sure --max-loss must be (default 95)",
    )
    goals.add_argument("--shares", metavar="A,B,...", help="share of the samples that leaves at each exit")
    goals.add_argument(
        "--geometric",
        type=positive,
        metavar="P",
        help="shares in proportion to P, P^2, ...: the budgeted batch procedure of MSDNet, on untempered probabilities",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--measure", choices=sorted(MEASURES), default="probability", help="of confidence")
    how.add_argument("--no-temperature", action="store_true", help="take logits as they are")
    how.add_argument("--profile", metavar="FILE", help="times of another device; by default this one's")
    how.add_argument(
        "--pace",
        choices=(NOW, PROFILE),
        default=NOW,
        help="whether this device's profile counts at the pace that frames have now (default), or as it was measured",
    )
    how.add_argument("--dry-run", action="store_true", help="show everything and leave the bundle as it is")
    how.add_argument(
        "--apply", metavar="FILE", help="take over what --save wrote for the same bundle elsewhere"
    )
    how.add_argument(
        "--clear", action="store_true", help="take thresholds and temperatures out of the bundle"
    )
    how.add_argument("--save", metavar="FILE", help="write the JSON document, for --apply on another device")
    how.add_argument("--plot", metavar="FILE", help="draw accuracy against latency: .png, .svg or .pdf")
    add_network_option(parser)
    add_backend_options(parser)
    add_processor_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Calibrate and write; 1 if the goal cannot be reached."""
    bundle = read_bundle(args.bundle)
    if args.clear or args.apply is not None:
        return _change(args, bundle)
    if args.data is None:
        raise OptionError(
            "no samples were given: --data PATH; `edgekit calibrate --help` says what it may be"
        )
    check_one_network("calibrate", args, bundle.manifest)
    classes_of(part_of(bundle, args.network).manifest)
    goal = read_goal(args)
    for option in ("save", "save_logits"):
        check_folder("--" + option.replace("_", "-"), getattr(args, option))
    if args.plot is not None:
        check_plot(args.plot)
    measured = measure(args, part_of(bundle, args.network))
    if goal is not None:
        check_goal(goal, measured.priced.costs)
    geometric = goal is not None and goal.geometric is not None
    temper = not args.no_temperature and not geometric
    try:
        found = calibrate(measured.recorded, measured.priced.costs, goal, args.measure, temper)
        refused = None
    except Unreachable as error:
        found = calibrate(measured.recorded, measured.priced.costs, None, args.measure, temper)
        refused = str(error)
    return _finish(args, bundle, measured, found, refused)


def read_goal(args: argparse.Namespace) -> Optional[Goal]:
    """The goal that was asked for; None if none was.

    Raises:
        OptionError: the numbers are none.
    """
    shares = None
    if args.shares is not None:
        try:
            shares = tuple(float(one) for one in args.shares.split(","))
        except ValueError as error:
            raise OptionError(f"--shares {args.shares}: give numbers such as 0.5,0.3,0.2") from error
        if sum(shares) > 1.5:  # percent
            shares = tuple(one / 100 for one in shares)
    goal = Goal(
        mean_ms=args.mean_ms,
        p99_ms=args.p99_ms,
        max_loss=None if args.max_loss is None else args.max_loss / 100,
        shares=shares,
        geometric=args.geometric,
        confidence=args.confidence / 100,
    )
    return None if goal[:5] == (None,) * 5 else goal


def measure(args: argparse.Namespace, bundle: Bundle) -> Measured:
    """Logits of the samples, and what answers cost here; of ``bundle`` the one network that is asked for.

    Raises:
        InputError: the samples cannot be used.
        BackendError: pictures were given and the network cannot run here.
    """
    manifest = bundle.manifest
    classes = classes_of(manifest)
    data = read_labelled(args.data, args.labels, classes, class_names(manifest.options))
    if isinstance(data, Recorded):
        check_recorded(data, manifest, bundle_hash(bundle))
        if args.save_logits is not None:
            raise OptionError(f"--save-logits: {args.data} holds the logits already")
    else:
        check_labels(data.labels, len(data.pictures), classes, data.source)
    try:
        asking = Asking(exit_stages(manifest))
        session = open_session(args, bundle.path, None, (asking,), args.network, warmup=0)
    except BackendError as error:
        if isinstance(data, Labelled):
            raise
        return Measured(data, costs_without_device(args, bundle), (f"the network cannot run here: {error}",))
    with session:
        asking.asks = False
        if isinstance(data, Labelled):
            progress = Progress("answering every picture at every exit", len(data.labels))
            pictures = [data.pictures[k] for k in range(min(FRAMES, len(data.labels)))]
            recorded = record(session, data.pictures, data.labels, data.source, progress.at)
            check_recorded(recorded, manifest, bundle_hash(bundle))
            if args.save_logits is not None:
                write_recorded(args.save_logits, recorded)
        else:
            pictures, recorded = (
                [golden_pictures(session.bundle, args.network)[manifest.inputs[0].name]],
                data,
            )
        priced = costs_of_device(args, bundle, session, asking, pictures)
    return Measured(recorded, priced)


def _change(args: argparse.Namespace, bundle: Bundle) -> int:
    if args.clear and args.apply is not None:
        raise OptionError("--clear takes out what --apply puts in; give one of them")
    if args.data is not None or read_goal(args) is not None:
        raise OptionError("--clear and --apply need neither samples nor a goal; leave them out")
    of = "" if args.network is None else f" of {args.network}"
    if args.clear:
        forget_calibration(bundle, args.network)
        said = f"{bundle.path}: every frame{of} runs every stage that its budget allows again"
    else:
        check_one_network("--apply", args, bundle.manifest)
        document = read_calibration_file(args.apply, part_of(bundle, args.network))
        keep_calibration(bundle, document, args.network)
        said = f"{bundle.path}: took over {args.apply}"
    if args.json:
        print_json({"bundle": bundle.path, "applied": args.apply, "cleared": args.clear})
    else:
        say([said])
    return 0


def _finish(
    args: argparse.Namespace, bundle: Bundle, measured: Measured, found: Calibration, refused: Optional[str]
) -> int:
    missing = (*measured.priced.missing, *measured.missing)
    writes, part = found.goal is not None and not args.dry_run, part_of(bundle, args.network)
    document = dict(
        to_document(found),
        schema=1,
        bundle=bundle_hash(part),
        network=part.manifest.name,
        missing=list(missing),
        pace=None if measured.priced.pace is None else measured.priced.pace.to_json(),
        unreachable=refused,
        written=writes,
    )
    if writes:
        keep_calibration(bundle, document, args.network)
    if args.save is not None:
        if found.goal is None:
            raise InputError(
                "--save writes thresholds, and there are none without a goal that can be reached"
            )
        atomic.write_file(args.save, (to_json(document) + "\n").encode("ascii"))
    if args.plot is not None:
        draw(args.plot, found, part.manifest.name)
    if args.json:
        print_json(document)
    else:
        say(to_lines(found, part, writes, refused))
        for one in missing:
            warn(f"! {one}")
    return 1 if refused else 0
