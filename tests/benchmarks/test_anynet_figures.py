"""AnyNet's bars: what a run says about each follows from its times alone."""

from __future__ import annotations

from benchmarks.figures import (
    ALL_STAGES,
    EAGER,
    END_TO_END,
    MATCHING,
    NATIVE,
    ONE_THREAD,
    PLAIN,
    PRODUCT,
    UNCUT,
    figures,
)
from benchmarks.timing import Times


def raced() -> Times:
    """A race in which ONNX Runtime's stages took 16 ms on two threads and 29 on one."""
    times = Times()
    for name in (EAGER, PLAIN, UNCUT, END_TO_END, MATCHING, PRODUCT):
        times.add(name, 10.0)
    for stage, two_threads, one_thread in zip(ALL_STAGES, (5, 2, 5, 4), (8, 4, 8, 5), strict=True):
        times.add(stage, two_threads)
        times.add(stage + ONE_THREAD, one_thread)
    return times


def of_propagation(times: Times) -> list[tuple[str, str, bool]]:
    rows = [figure for figure in figures(times, {}, gflop=2.0) if "propagation" in figure.what]
    return [(row.what.partition(", ")[2], row.measured, row.reached) for row in rows]


def test_the_propagation_stage_is_judged_once_with_all_threads_and_once_on_one() -> None:
    assert of_propagation(raced()) == [
        ("", "0.33x", False),
        ("everything on one thread", "0.25x", True),
    ]


def test_the_programs_are_judged_for_themselves_and_against_the_graphs() -> None:
    times = raced()
    for stage, two_threads, one_thread in zip(ALL_STAGES, (4, 1, 3, 2), (9, 5, 6, 8), strict=True):
        times.add(stage + NATIVE, two_threads)
        times.add(stage + NATIVE + ONE_THREAD, one_thread)
    assert of_propagation(times)[2:] == [
        ("as programs of edgekit's own kernels", "0.25x", True),
        ("as programs on one thread", "0.40x", False),
    ]
    whole = [figure for figure in figures(times, {}, gflop=2.0) if "ONNX Runtime's" in figure.what]
    assert [(row.measured, row.reached) for row in whole] == [("0.62x", True), ("1.12x", False)]


def test_the_programs_have_the_bars_of_the_graphs() -> None:
    times = raced()
    for stage, taken in zip(ALL_STAGES, (4, 1, 3, 2), strict=True):
        times.add(stage + NATIVE, taken)
    rows = {figure.what: figure for figure in figures(times, {}, gflop=2.0)}
    first = rows["stage 1 against stages 1-3, as programs of edgekit's own kernels"]
    assert (first.measured, first.reached) == ("0.50x", False)
    assert rows["stage 1 against stages 1-3"].measured == "0.42x"
    assert (
        rows[
            "stages 1-3 against the plain export in ONNX Runtime, as programs of edgekit's own kernels"
        ].measured
        == "0.80x"
    )
