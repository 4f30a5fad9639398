"""The bars that AnyNet has to clear, and what a run of the benchmark says about each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.machine import PRODUCT_GFLOP
from benchmarks.timing import Times

# EPE in px of the authors' network with the weights of their KITTI 2015 release, at every exit, in float32.
KNOWN_EPE = {"kitti2015_000000": (1.59, 1.46, 1.22, 1.13), "kitti2015_000001": (1.89, 1.50, 1.22, 1.12)}
REFINEMENTS = ("stage1", "stage2", "stage3")
ALL_STAGES = (*REFINEMENTS, "stage4")
ONE_THREAD = ", one thread"  # after a stage's name: the same stage in a session of one thread
NATIVE = ", native"  # the same stage as a program of edgekit's own kernels
AS_PROGRAMS = ", as programs of edgekit's own kernels"

EAGER = "PyTorch eager"
PLAIN = "plain export, ONNX Runtime"
UNCUT = "our graphs joined, ONNX Runtime"
END_TO_END = "infer, pictures in"
MATCHING = "StereoSGBM"
MATCHING_WIDE = "StereoSGBM, widened"
PRODUCT = "matrix product"


@dataclass(frozen=True)
class Accuracy:
    """One disparity map against the truth.

    Attributes:
        epe: mean absolute error in px over the answered pixels whose truth is known.
        d1: % of all pixels with a known truth that are wrong by more than 3 px and 5 %, unanswered ones counted wrong.
        density: % of the pixels with a known truth that were answered.
    """

    epe: float
    d1: float
    density: float


# Accuracy by picture, then by who answered ("StereoSGBM", or weights and exit: "kitti stage1").
Accuracies = Mapping[str, Mapping[str, Accuracy]]


@dataclass(frozen=True)
class Figure:
    """One bar: what was measured, what it must reach, and whether it did."""

    what: str
    bar: str
    measured: str
    reached: bool


def figures(times: Times, accuracies: Accuracies, gflop: float) -> list[Figure]:
    """Every bar that this run can say something about; ``gflop`` is the work of stages 1 to 3."""
    return [*_times(times, gflop), *_accuracy(accuracies)]


def _times(times: Times, gflop: float) -> Iterator[Figure]:
    for suffix, where in (("", ""), (NATIVE, AS_PROGRAMS)):
        first = [f"{stage}{suffix}" for stage in REFINEMENTS]
        if first[0] not in times:
            continue
        plain = times.ratio(first, [PLAIN])
        yield _at_most(f"stages 1-3 against the plain export in ONNX Runtime{where}", plain, 0.5)
        yield _at_most(f"stages 1-3 against PyTorch eager{where}", times.ratio(first, [EAGER]), 0.1)
        if END_TO_END + suffix in times:
            whole = times.ratio([END_TO_END + suffix], [MATCHING])
            yield _at_most(f"all stages, end to end, against StereoSGBM{where}", whole, 0.5)
        share = gflop / PRODUCT_GFLOP / times.ratio(first, [PRODUCT])
        yield Figure(
            f"stages 1-3, share of the matrix-product rate{where}", ">= 0.37", f"{share:.2f}", share >= 0.37
        )
        yield _at_most(f"stage 1 against stages 1-3{where}", times.ratio(first[:1], first), 0.4)
    yield _at_most("sum of the stages against the same graphs joined", times.ratio(ALL_STAGES, [UNCUT]), 1.05)
    # Part of its recurrence is sequential in ONNX Runtime, so that threads help the other stages more: the work is compared on one.
    sessions = {"": "", ONE_THREAD: ", everything on one thread", NATIVE: AS_PROGRAMS,
                NATIVE + ONE_THREAD: ", as programs on one thread"}  # fmt: skip
    for suffix, where in sessions.items():
        if f"stage4{suffix}" not in times:
            continue
        ratio = times.ratio([f"stage4{suffix}"], [f"{stage}{suffix}" for stage in REFINEMENTS])
        yield _at_most(f"propagation stage against stages 1-3{where}", ratio, 0.3)
    for suffix, where in (("", ""), (ONE_THREAD, ", everything on one thread")):
        if f"stage4{NATIVE}{suffix}" in times:
            ours, theirs = ([f"{stage}{each}{suffix}" for stage in ALL_STAGES] for each in (NATIVE, ""))
            yield _at_most(
                f"all stages as programs against ONNX Runtime's{where}", times.ratio(ours, theirs), 1
            )


def _accuracy(accuracies: Accuracies) -> Iterator[Figure]:
    for picture, known in KNOWN_EPE.items():
        measured = exits(accuracies.get(picture, {}), "kitti")
        if measured:
            furthest = max(abs(exit_.epe - epe) for exit_, epe in zip(measured, known, strict=True))
            what = f"authors' weights, {picture}: distance from the known EPE of each exit"
            yield Figure(what, "<= 0.02 px", f"{furthest:.3f} px", furthest <= 0.02)
    for picture in KNOWN_EPE:
        found = accuracies.get(picture, {})
        if exits(found, "kitti"):
            yield _beats_matching("authors' weights", picture, exits(found, "kitti")[-1], found[MATCHING])
    for picture, found in accuracies.items():
        measured = exits(found, "shipped")
        better = all(later.epe < earlier.epe for earlier, later in itertools.pairwise(measured))
        epes = " ".join(f"{exit_.epe:.2f}" for exit_ in measured)
        yield Figure(f"shipped weights, {picture}: EPE falls from exit to exit", "yes", f"{epes} px", better)
        if picture in (*KNOWN_EPE, "aloe_half"):
            yield _beats_matching("shipped weights", picture, measured[-1], found[MATCHING])


def exits(found: Mapping[str, Accuracy], weights: str) -> Sequence[Accuracy]:
    """The accuracies of every exit with ``weights``, in order."""
    return [found[f"{weights} {stage}"] for stage in ALL_STAGES if f"{weights} {stage}" in found]


def _at_most(what: str, ratio: float, bar: float) -> Figure:
    return Figure(what, f"<= {bar:g}x", f"{ratio:.2f}x", ratio <= bar)


def _beats_matching(weights: str, picture: str, ours: Accuracy, theirs: Accuracy) -> Figure:
    what = f"{weights}, {picture}: last exit's D1 below StereoSGBM's, holes counted wrong"
    return Figure(what, f"< {theirs.d1:.1f} %", f"{ours.d1:.1f} %", ours.d1 < theirs.d1)
