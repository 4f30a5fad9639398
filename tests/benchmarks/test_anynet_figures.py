"""AnyNet's bars: what a run says about each follows from its times alone."""

from __future__ import annotations

from benchmarks.figures import (
    ALL_STAGES,
    EAGER,
    END_TO_END,
    MATCHING,
    ONE_THREAD,
    PLAIN,
    PRODUCT,
    UNCUT,
    figures,
)
from benchmarks.timing import Times


def test_the_propagation_stage_is_judged_once_with_all_threads_and_once_on_one() -> None:
    times = Times()
    for name in (EAGER, PLAIN, UNCUT, END_TO_END, MATCHING, PRODUCT):
        times.add(name, 10.0)
    for stage, two_threads, one_thread in zip(ALL_STAGES, (5, 2, 5, 4), (8, 4, 8, 5), strict=True):
        times.add(stage, two_threads)
        times.add(stage + ONE_THREAD, one_thread)
    rows = [figure for figure in figures(times, {}, gflop=2.0) if "propagation" in figure.what]
    assert [(row.bar, row.measured, row.reached) for row in rows] == [
        ("<= 0.3x", "0.33x", False),
        ("<= 0.3x", "0.25x", True),
    ]
    assert [row.what.endswith("on one thread") for row in rows] == [False, True]
