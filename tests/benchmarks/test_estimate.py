"""How far off predictions of published latencies are that the fit had not seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import estimate
from benchmarks.published.records import usable
from edgekit.export.estimate import hardware, roofline

GOAL_ERROR, GOAL_SHARE = 0.25, 0.9


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(estimate.RESULTS.read_text())["records"]
    return found


@pytest.mark.parametrize("way", ["network", "family", "module", "fixed quarter of the networks"])
def test_whatever_is_held_out_is_predicted_within_a_quarter_at_the_median(way: str) -> None:
    found = roofline.read_calibration().errors[way]
    assert found["median_relative_error"] <= GOAL_ERROR and found["within_2x"] >= GOAL_SHARE


@pytest.mark.parametrize("way", ["network", "family", "module"])
def test_the_stated_errors_are_those_of_the_recorded_predictions(
    way: str, rows: list[dict[str, object]]
) -> None:
    predicted = np.array([row["predicted_ms_by_held_out"][way] for row in rows])  # type: ignore[index]
    published = np.array([row["milliseconds"] for row in rows])
    assert estimate.errors(predicted / published) == pytest.approx(
        roofline.read_calibration().errors[way], abs=1e-3
    )


def test_a_fit_that_never_saw_a_quarter_of_the_networks_predicts_them_as_stated(shared: Path) -> None:
    records, _ = estimate.load(shared)
    seen = [one for one in records if not estimate.in_fixed_quarter(one.record)]
    unseen = [one for one in records if estimate.in_fixed_quarter(one.record)]
    assert not {one.record.network for one in seen} & {one.record.network for one in unseen}
    fitted = estimate.fit(seen)
    found = estimate.errors(np.array([fitted.predict(one) / one.record.milliseconds for one in unseen]))
    assert found == pytest.approx(
        roofline.read_calibration().errors["fixed quarter of the networks"], abs=0.01
    )


def test_every_record_is_used_or_left_out_for_a_reason(shared: Path) -> None:
    records, left = usable(shared)
    document = roofline.read_calibration().document
    assert len(records) + sum(left.values()) == 239
    assert (document["records"], document["left_out"]) == (len(records), left)


def test_the_facts_in_the_package_are_the_shared_ones(shared: Path) -> None:
    assert hardware.FACTS.read_bytes() == (shared / "facts" / "jetson_hardware.json").read_bytes()
