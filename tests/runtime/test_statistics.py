"""What a list of times says, against numpy's own percentiles, and when it is not believed."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgekit.disparity import disparity_errors
from edgekit.errors import InputError
from edgekit.runtime.statistics import doubts, summarize


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=300))
@example([5907.068750189407, 5907.068750189407])  # numpy 1.19 puts its p90 below its p50
def test_a_summary_is_numpys(times):
    summary = summarize(times)
    expected = [np.min(times), np.mean(times), *np.quantile(times, [0.5, 0.9, 0.99]), np.max(times)]
    assert summary[1:] == pytest.approx(expected)
    assert summary.runs == len(times) == summary.to_json()["runs"]
    assert summary.min <= summary.p50 <= summary.p90 <= summary.p99 <= summary.max


def test_steady_times_raise_no_doubt():
    assert doubts(np.random.default_rng(0).normal(10.0, 0.2, 300)) == []


def test_few_runs_are_too_few_for_a_p99():
    (doubt,) = doubts(np.random.default_rng(0).normal(10.0, 0.1, 30))
    assert "30 runs are too few" in doubt and "--runs 200" in doubt


def test_a_clock_that_falls_is_noticed():
    (doubt,) = doubts(np.linspace(10.0, 13.0, 300))
    assert "unsteady" in doubt and "jetson_clocks" in doubt


def test_hiccups_are_noticed():
    times = np.full(300, 10.0)
    times[::20] = 40.0
    (doubt,) = doubts(times)
    assert "4.0 times the median" in doubt


def test_epe_is_the_mean_error_where_the_truth_is_known():
    truth = np.array([[10.0, np.nan], [100.0, 50.0]], np.float32)
    errors = disparity_errors(np.array([[11.0, 7.0], [96.0, 46.0]], np.float32), truth)
    assert errors.epe == pytest.approx((1.0 + 4.0 + 4.0) / 3)
    assert errors.pixels == 3


def test_d1_counts_only_what_is_off_by_three_pixels_and_five_percent():
    truth = np.array([[10.0, 100.0, 100.0, 2.0]], np.float32)
    disparity = np.array([[14.0, 104.0, 106.0, 4.5]], np.float32)  # 40 %, 4 %, 6 %, and 125 % but 2.5 px
    assert disparity_errors(disparity, truth).d1 == pytest.approx(0.5)


def test_a_hole_is_wrong_and_counts_as_no_disparity_at_all():
    truth = np.array([[10.0, 2.0, 10.0, 10.0]], np.float32)
    errors = disparity_errors(np.array([[np.nan, -1.0, np.inf, 10.0]], np.float32), truth)
    assert (errors.epe, errors.d1) == (5.5, 0.75)


def test_truth_of_another_picture_is_refused():
    with pytest.raises(InputError, match="5 x 4 px and the disparity 6 x 4"):
        disparity_errors(np.zeros((4, 6)), np.zeros((4, 5)))
    with pytest.raises(InputError, match="knows no pixel"):
        disparity_errors(np.zeros((4, 6)), np.full((4, 6), np.nan))
