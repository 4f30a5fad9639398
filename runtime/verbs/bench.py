"""`edgekit bench`: how long every stage and every exit takes on this device, and whether the figures can be believed."""

import argparse
import time
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from edgekit import __version__, atomic
from edgekit.bundle import Bundle, Manifest, read_bundle
from edgekit.errors import BundleError
from edgekit.runtime.calibration.bundled import part_of
from edgekit.runtime.device.state import moved, read_state
from edgekit.runtime.device.system import (
    Processors,
    others_busy,
    peak_memory_bytes,
    read_busy,
    read_processors,
    reset_peak_memory,
    resident_memory_bytes,
    return_freed_memory,
)
from edgekit.runtime.guess import told
from edgekit.runtime.measurement import Frame, Paced, run_paced, run_tight
from edgekit.runtime.opening import backends_here
from edgekit.runtime.profile import Profile, StageProfile, bundle_hash, write_profile
from edgekit.runtime.quickest import MEASURED, USUAL, worth_measuring
from edgekit.runtime.report import Progress, print_json, say, to_json
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.recording import Recorder
from edgekit.runtime.statistics import doubts, summarize
from edgekit.runtime.variants import measured_elsewhere
from edgekit.runtime.verbs.bench_data import add_data_options, compare, read_data
from edgekit.runtime.verbs.bench_device import Device, add_device_options, measure_exits
from edgekit.runtime.verbs.bench_report import Budgeted, Gate, Report, Settings, to_document, to_lines
from edgekit.runtime.verbs.bench_variants import DEFAULT, FASTEST, add_variants_option, choose_variants
from edgekit.runtime.verbs.inputs import golden_pictures, read_inputs
from edgekit.runtime.verbs.options import (
    add_backend_options,
    add_input_options,
    add_processor_options,
    add_run_options,
    check_folder,
    positive,
    providers_of,
)
from edgekit.runtime.verbs.sessions import (
    Sessions,
    add_network_option,
    check_one_network,
    networks_asked_for,
    open_session,
)
from edgekit.runtime.verbs.timelines import add_timeline_options, write_timelines

OTHERS_BUSY = 0.15  # CPUs: more than a quiet system's own services take
CLOCK_FELL = 0.95  # a CPU clock below this share of its maximum after the run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_input_options(parser)
    add_data_options(parser)
    add_run_options(parser)
    parser.add_argument(
        "--rate",
        type=positive,
        metavar="HZ",
        help="also answer frames that come at this rate, as a camera's do",
    )
    parser.add_argument(
        "--budget-ms", type=positive, metavar="MS", help="also answer frames within this budget"
    )
    parser.add_argument(
        "--max-p99", type=positive, metavar="MS", help="exit with 1 if the p99 end to end is above this"
    )
    parser.add_argument(
        "--no-profile", action="store_true", help="leave the bundle as it is: keep no measured profile in it"
    )
    add_backend_options(parser)
    add_processor_options(parser)
    add_network_option(parser)
    add_variants_option(parser)
    parser.add_argument(
        "--save", metavar="FILE", help="write the JSON document, with every frame's times, to a file"
    )
    add_timeline_options(parser)
    add_device_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Measure, report, keep the profile; 1 if the gate was not met."""
    bundle = read_bundle(args.bundle)
    for option, given in (
        ("--rate", args.rate),
        ("--record", args.record),
        ("--trace", args.trace),
        ("--data", args.data),
    ):
        if given is not None:
            check_one_network(option, args, bundle.manifest)
    for option, path in (("--save", args.save), ("--record", args.record), ("--trace", args.trace)):
        check_folder(option, path)
    report = bench(args, bundle)
    if args.save is not None:
        frames = [
            {"stage_ms": dict(frame.stage_ms), "exit_ms": dict(frame.exit_ms)} for frame in report.frames
        ]
        text = to_json(dict(to_document(report), frames=frames))
        atomic.write_file(args.save, (text + "\n").encode("ascii"))
    if args.json:
        print_json(to_document(report))
    else:
        say(to_lines(report) + [f"wrote {path}" for path in (args.save, args.record, args.trace) if path])
    return 0 if report.gate is None or report.gate.passed else 1


def bench(
    args: argparse.Namespace, bundle: Bundle, then: Optional[Callable[[Sessions], None]] = None
) -> Report:
    """Load the bundle and measure all that was asked for; ``then`` may use what was measured before it is closed."""
    first = backends_here(bundle, args.backend, providers_of(args), args.threads)[0]
    if args.backend is None and first in MEASURED and first != USUAL:
        args = argparse.Namespace(**dict(vars(args), backend=first))  # what would run is what is measured
    data = None if args.data is None else read_data(args, part_of(bundle, args.network))
    inputs = read_inputs(args, bundle.manifest)
    source = ", ".join(getattr(args, name) for name in inputs) or "the bundle's golden input"
    asked = networks_asked_for(args, bundle.manifest)
    each = {name or "": inputs or golden_pictures(bundle, name) for name in asked}
    arrays = [array for given in each.values() for array in given.values()]
    sizes = {"{1} x {0} px".format(*array.shape[:2]) for array in arrays if array.dtype == np.uint8}
    variants, timed, refused = choose_variants(args, bundle, each)
    return_freed_memory()
    reset_peak_memory()
    memory_before, begin = resident_memory_bytes(), time.perf_counter()
    with Sessions(args, bundle, variants, each) as sessions:
        session = sessions.each[0]
        if args.variants == DEFAULT and session.profile is None:
            refused += measured_elsewhere(bundle.manifest, session.fingerprint)
        load_ms = (time.perf_counter() - begin) * 1e3
        recorder = Recorder(session) if args.record or args.trace else None
        state, processors, busy = read_state(args.root), read_processors(), read_busy()
        frames = run_tight(sessions.frame, args.warmup, args.runs, Progress("bench", args.runs).at)
        others, state_after = others_busy(busy, read_busy()), read_state(args.root)
        paced = None if args.rate is None else measure_paced(args, sessions)
        budgeted = None if args.budget_ms is None else measure_budgeted(args, bundle, sessions, each)
        settings = Settings(
            bundle=bundle.path,
            network=_described(bundle.manifest, asked),
            backend=f"{session.backend.name} {session.backend.version}",
            backend_settings=session.backend.settings,
            variants=sessions.variants,
            fingerprint=session.fingerprint,
            inputs=f"{source} ({', '.join(sorted(sizes)) or 'tensors'})",
            runs=args.runs,
            warmup=args.warmup,
            processors=processors,
            edgekit=__version__,
            networks=_networks(bundle.manifest, asked),
            guess=None if session.guess is None else told(session.fingerprint, session.guess),
        )
        profile = None
        if not args.no_profile and args.variants in (FASTEST, DEFAULT):
            profile, unwritten = keep_profile(bundle, session, sessions.variants, frames)
            refused += unwritten
            refused += worth_measuring(bundle) if session.backend.name == USUAL else []
        if recorder is not None:
            write_timelines(args, recorder.recording(recorded_settings(args, session, source)), session)
        if then is not None:
            then(sessions)
    source_of_power, energy = measure_exits(args, bundle, settings.variants, each)
    judged = None if data is None else compare(args, part_of(bundle, args.network), settings.variants, data)
    return Report(
        settings=settings,
        load_ms=load_ms,
        memory_before=memory_before,
        memory_peak=peak_memory_bytes(),
        others_busy=others,
        frames=tuple(frames),
        paced=paced,
        budgeted=budgeted,
        timed=timed,
        gate=None if args.max_p99 is None else check_gate(args.max_p99, frames, budgeted),
        profile=profile,
        judged=judged,
        device=Device(state, state_after, source_of_power, energy),
        warnings=tuple(
            find_warnings(frames, others, processors, read_processors()) + moved(state, state_after) + refused
        ),
    )


def recorded_settings(args: argparse.Namespace, session: Session, source: str) -> Dict[str, object]:
    """What a recording or a trace says of the run."""
    return {
        "verb": "bench",
        "backend": f"{session.backend.name} {session.backend.version}",
        "backend_settings": dict(session.backend.settings),
        "variants": dict(session.variants),
        "inputs": source,
        "warmup": args.warmup,
        "runs": args.runs,
        "rate": args.rate,
        "budget_ms": args.budget_ms,
        "priority": args.priority,
    }


def _described(manifest: Manifest, asked: Sequence[Optional[str]]) -> str:
    names = ", ".join(name for name in asked if name is not None)
    return f"{manifest.name}{f' ({names})' if names else ''}, {manifest.family}, for {manifest.target}"


def _networks(manifest: Manifest, asked: Sequence[Optional[str]]) -> Dict[str, str]:
    """Which network each stage that was measured is of, where there are several."""
    return {stage: one.name for one in manifest.networks if one.name in asked for stage in one.stages}


def measure_paced(args: argparse.Namespace, sessions: Sessions) -> Paced:
    """Frames that come at the rate that was asked for."""
    progress = Progress(f"bench at {args.rate:g} frames a second", args.runs)
    return run_paced(sessions.frame, args.rate, args.runs, progress=progress.at)


def measure_budgeted(
    args: argparse.Namespace,
    bundle: Bundle,
    sessions: Sessions,
    inputs: Mapping[str, Mapping[str, np.ndarray]],
) -> Budgeted:
    """Frames within the budget that was asked for; of several networks, those that a session chooses for each."""
    if len(sessions.each) == 1:
        return _within_budget(args, sessions.each[0], next(iter(inputs.values())))
    with open_session(args, bundle.path, sessions.variants, policies=()) as choosing:
        return _within_budget(args, choosing, list(inputs.values())[-1])


def _within_budget(args: argparse.Namespace, session: Session, inputs: Mapping[str, np.ndarray]) -> Budgeted:
    progress = Progress(f"bench within {args.budget_ms:g} ms", args.runs)
    elapsed: List[float] = []
    answered: Dict[str, int] = {}
    missed = 0
    for done in range(args.runs):
        result = session.infer(budget_ms=args.budget_ms, overrun="return", reuse=False, **inputs)
        elapsed.append(result.elapsed_ms)
        by = str(result.stage) if result.network is None else f"{result.stage} ({result.network})"
        answered[by] = answered.get(by, 0) + 1
        missed += bool(result.missed)
        progress.at(done + 1)
    return Budgeted(args.budget_ms, tuple(elapsed), dict(sorted(answered.items())), missed)


def keep_profile(
    bundle: Bundle, session: Session, variants: Mapping[str, str], frames: Sequence[Frame]
) -> Tuple[Optional[str], List[str]]:
    """Keep the stages' times in the bundle for the scheduler: the file's path, and why it could not be written.

    What is known of networks that were not measured now is kept.
    """
    stages = dict(session.profile.stages) if session.profile is not None else {}
    for name, variant in variants.items():
        stages[name] = StageProfile(variant, tuple(frame.stage_ms[name] for frame in frames))
    try:
        return write_profile(bundle, Profile(session.fingerprint, bundle_hash(bundle), stages)), []
    except BundleError as error:
        return None, [str(error)]


def check_gate(max_p99: float, frames: Sequence[Frame], budgeted: Optional[Budgeted]) -> Gate:
    """The p99 end to end against its limit: of the frames within the budget where there is one, else of the last exit."""
    if budgeted is not None:
        return Gate(
            max_p99,
            summarize(budgeted.elapsed_ms).p99,
            f"frames within {budgeted.budget_ms:g} ms, end to end",
        )
    last = list(frames[0].exit_ms)[-1]
    return Gate(max_p99, summarize([frame.exit_ms[last] for frame in frames]).p99, f"{last}, end to end")


def find_warnings(
    frames: Sequence[Frame], others: Optional[float], before: Processors, after: Processors
) -> List[str]:
    """Reasons not to believe the figures, each with what to do about it."""
    found = doubts([frame.total_ms for frame in frames])
    if others is not None and others > OTHERS_BUSY:
        found.append(
            f"other programs used {others:.1f} of {before.usable} CPUs meanwhile: these times are theirs too. Stop them"
            " (see `top`), or compare only ratios within this one run."
        )
    slow = [governor for governor in after.governors if governor != "performance"]
    if slow:
        found.append(
            "the CPU governor is {}: clocks follow the load. Fix them with `sudo jetson_clocks` on a Jetson, elsewhere"
            " `sudo cpupower frequency-set -g performance`.".format("/".join(slow))
        )
    if before.mhz and after.mhz and min(after.mhz) < CLOCK_FELL * min(before.mhz):
        found.append(
            f"a CPU clock fell from {min(before.mhz):.0f} to {min(after.mhz):.0f} MHz meanwhile: look at `edgekit doctor`"
            " for heat and power mode."
        )
    return found
