"""The page's charts: well-formed SVG, ticks where people expect them, marks where the numbers say, and nothing beyond the edge."""

import xml.etree.ElementTree as xml

import numpy as np
import pytest

from edgekit.runtime.page import charts
from edgekit.runtime.page.matching import DISPARITIES, BlockMatching, match
from edgekit.runtime.page.svg import Axis, Scale, element
from edgekit.runtime.report import names_of
from edgekit.runtime.trace import Timeline


def parsed(svg):
    return xml.fromstring(svg)


def circles(svg):
    return [(float(one.get("cx")), float(one.get("cy"))) for one in parsed(svg).iter("circle")]


@pytest.mark.parametrize(
    "low, high, log, ticks",
    [
        (0.0, 10.0, False, [0, 2, 4, 6, 8, 10]),
        (3.1, 19.0, False, [5, 10, 15]),
        (0.9, 110.0, True, [1, 2, 5, 10, 20, 50, 100]),
    ],
)
def test_ticks_are_round_and_within_the_axis(low, high, log, ticks):
    assert Scale(low, high, 0.0, 100.0, log).ticks(8 if log else 5) == pytest.approx(ticks)


@pytest.mark.parametrize("log", [False, True])
def test_a_scale_keeps_order_and_never_leaves_its_ends(log):
    scale = Scale(0.5, 400.0, 30.0, 200.0, log)
    places = [scale.at(value) for value in (0.01, 0.5, 0.6, 3.0, 399.0, 400.0, 1e6)]
    assert places == sorted(places) and places[0] == 30.0 and places[-1] == 200.0


def test_text_from_outside_cannot_become_markup():
    assert "<b>" not in element("text", "<b>", hint="<b>", x='"><b>')


def test_slower_is_further_right_and_worse_is_further_up():
    marks = [
        charts.Mark("stage1", 5.0, 20.0),
        charts.Mark("stage2", 9.0, 12.0),
        charts.Mark("stage3", 20.0, 11.0),
    ]
    (x1, y1), (x2, y2), (x3, y3) = circles(
        charts.against_time({"a": marks}, [charts.Mark("peer", 80.0, 22.0)], "D1, %", "d")
    )
    assert x1 < x2 < x3 and y1 < y2 < y3  # y counts downwards
    assert (x2 - x1) / (x3 - x2) == pytest.approx(np.log(9 / 5) / np.log(20 / 9), rel=1e-3)


def test_names_of_marks_that_lie_close_do_not_lie_on_each_other():
    svg = charts.against_time(
        {"a": [charts.Mark(f"stage{k}", 10.0 + 0.01 * k, 5.0) for k in range(3)]}, [], "D1, %", "d"
    )
    named = [one for one in parsed(svg).iter("text") if (one.text or "").startswith("stage")]
    heights = sorted(float(one.get("y")) for one in named)
    assert len(heights) == 3 and min(np.diff(heights)) > 13


def test_a_distribution_shows_its_median_where_it_is_and_its_slowest_runs_in_the_last_bin():
    svg = charts.distributions({"stage1": [1.0] * 50 + [2.0] * 49 + [900.0]}, "times")
    hints = [one.text for one in parsed(svg).iter("title")]
    assert hints == ["stage1: median 1.5 ms, p99 11 ms, slowest 900 ms of 100"]


def test_one_single_time_makes_a_distribution_too():
    parsed(charts.distributions({"stage1": [3.0]}, "times"))


def test_equal_values_make_a_chart_too():
    parsed(charts.against_time({"a": [charts.Mark("stage1", 1.0, 0.5)]}, [], "accuracy", "d", "higher"))
    parsed(
        charts.lines(
            [charts.Series("a", ((1.0, 0.0), (2.0, 0.0)))], Axis("ms", 1.0, 2.0), Axis("late", 0.0, 1.0), "d"
        )
    )
    parsed(charts.bars({"cat": 0.0}, "%", "d"))


def test_a_timeline_tells_the_late_the_cut_and_the_unanswered():
    fine = Timeline(
        0.0, 1.0, 8.0, 10.0, (("stage1", 1.0, 6.0),), ("stage2", 7.0, 3.0), (), "budget", False, "stage1"
    )
    none = Timeline(40.0, 1.0, 12.0, 10.0, (), ("stage1", 1.0, 9.0), (), "budget", True, None)
    root = parsed(charts.timeline([fine, none], ["stage1", "stage2"], "frames"))
    said = [one.text for one in root.iter("text")]
    assert "stage1 at 8.0 ms: budget" in said and "no answer: budget, LATE" in said
    hints = [one.text for one in root.iter("title")]
    assert "frame 1, stage2, cut off: 3.00 ms from 7.00 ms on" in hints
    assert sum("deadline 10.00 ms" in hint for hint in hints) == 2


def test_bundles_of_one_name_are_told_apart():
    assert names_of(["a/x.edgekit", "b/x.edgekit", "y.edgekit/", "c/x.edgekit"]) == [
        "x",
        "x (2)",
        "y",
        "x (3)",
    ]


def test_block_matching_finds_a_known_shift_and_says_where_it_knows_none():
    pytest.importorskip("cv2", reason="needs cv2, which is not installed")
    texture = np.random.RandomState(0).randint(0, 255, (96, 640, 3)).astype(np.uint8)
    left, right = np.ascontiguousarray(texture[:, 20:-20]), np.ascontiguousarray(texture[:, 40:])
    found = BlockMatching()(left, right)
    assert np.median(found[10:-10, DISPARITIES + 10 : -10]) == 20
    assert (found[:, : DISPARITIES - 1] < 0).all()
    took, same = match(left, right)
    assert took > 0.0 and np.array_equal(same, found)


def test_pictures_narrower_than_what_is_searched_have_no_block_matching():
    small = np.zeros((40, DISPARITIES, 3), np.uint8)
    assert match(small, small) is None
