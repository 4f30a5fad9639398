"""What answers cost for `edgekit calibrate`: by this device's profile at the pace of now, by another's, or in multiply-adds."""

import argparse
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Bundle
from edgekit.runtime.calibration.asking import Asking
from edgekit.runtime.calibration.costs import (
    Costs,
    counted_costs,
    exit_stages,
    measured_costs,
    saved_by_leaving,
)
from edgekit.runtime.calibration.pace import Pace, at_pace, pace_of
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.workload import read_durations

# Frames that show what a frame takes besides its stages, and the slowest of them that others on the processor decide.
FRAMES, WARMUP, SLOWEST = 60, 5, 6
NOW, PROFILE = "now", "profile"  # at which pace the profile of this device counts


class Priced(NamedTuple):
    """What answers cost, what is missing for that, in words, and at what pace the device was; None where it did not run."""

    costs: Costs
    missing: Tuple[str, ...] = ()
    pace: Optional[Pace] = None


def costs_of_device(
    args: argparse.Namespace, bundle: Bundle, session: Session, asking: Asking, pictures: List[object]
) -> Priced:
    """What answers cost on this device, or by the profile that was named."""
    profile = session.profile
    if bundle.manifest.batch not in (1, None):
        missing = f"graphs that take {bundle.manifest.batch} pictures at once have no time a picture: costs are multiply-adds"
        return Priced(counted_costs(bundle.manifest), (missing,))
    if args.profile is not None or profile is None:
        return costs_without_device(args, bundle)
    other = [name for name, variant in session.variants.items() if profile.stages[name].variant != variant]
    durations: Dict[str, Sequence[float]] = {
        stage.name: profile.stages[stage.name].durations for stage in bundle.manifest.stages
    }
    name = bundle.manifest.inputs[0].name
    overhead: Dict[bool, List[float]] = {False: [], True: []}
    frames, begun = [], []
    for number in range(2 * (WARMUP + FRAMES)):
        asking.asks = bool(number % 2)
        picture = np.asarray(pictures[number % len(pictures)])
        if picture.dtype.kind == "f" and picture.ndim == 3:
            picture = picture[None]
        result = session.infer(budget_ms=None, overrun="finish", reuse=False, **{name: picture})
        overhead[asking.asks].append(result.elapsed_ms - sum(result.stage_ms.values()))
        frames.append(result.stage_ms)
        if number >= 2 * WARMUP and not asking.asks:
            begun.append((result.begun_ms, result.stage_ms))
    pace = pace_of(frames[2 * WARMUP :], durations)
    moved, said = _moved(args.pace, pace)
    source = f"this device's profile ({session.fingerprint.key}){moved}, and {FRAMES} frames for what comes beside the stages"
    if moved:
        durations = dict(at_pace(durations, frames[2 * WARMUP :]))
    without, asked = (sorted(overhead[asks][WARMUP:])[:-SLOWEST] for asks in (False, True))
    exits = exit_stages(bundle.manifest)
    each = max(float(np.median(asked) - np.median(without)), 0.0) / max(len(exits) - 1, 1)
    saved = saved_by_leaving([one for one, _ in begun], [one for _, one in begun], exits)
    costs = measured_costs(bundle.manifest, durations, without, source, each, saved)
    graphs = tuple(f"{one} was measured with another graph; run `edgekit bench` again" for one in other)
    return Priced(costs, (*graphs, *said), pace)


def _moved(choice: str, pace: Pace) -> Tuple[str, Tuple[str, ...]]:
    """How the source says that costs are at the pace of now, empty where they are the profile's; and what else there is to say."""
    times = f"all stages take {pace.now_ms:.4g} ms now, and took {pace.profile_ms:.4g} when the profile was measured"
    if choice == NOW and pace.plausible:
        return f" at the pace of now ({times})", ()
    if pace.alike:
        return "", ()
    if choice == NOW:
        return "", (
            f"{times}: too far apart for one device at two paces, so goals are the profile's; run `edgekit bench` again",
        )
    return "", (
        f"{times}: if that stays, means will be {pace.ratio:.2f} of those promised; --pace now counts with it",
    )


def costs_without_device(args: argparse.Namespace, bundle: Bundle) -> Priced:
    """What answers cost by the profile that was named, or in multiply-adds."""
    if args.profile is not None:
        names = [stage.name for stage in bundle.manifest.stages]
        durations = read_durations(args.profile, names)
        costs = measured_costs(bundle.manifest, durations, (), f"profile {args.profile}")
        return Priced(
            costs,
            ("times are those of the stages alone: a profile does not tell what a frame takes besides",),
        )
    missing = (
        "nothing was measured on this device, so costs are multiply-adds: run `edgekit bench` first for ms"
    )
    return Priced(counted_costs(bundle.manifest), (missing,))
