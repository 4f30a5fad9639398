"""The budgeted batch procedure gives the published implementation's thresholds, accuracy and mean cost."""

import json
from pathlib import Path
from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.runtime.calibration.budgeted_batch import (
    EVERYBODY,
    NOBODY,
    PUBLISHED,
    geometric_shares,
    share_thresholds,
)
from edgekit.runtime.calibration.exiting import exits_taken

# What the published implementation writes for a threshold that nobody, or everybody, reaches.
THEIRS = 1e8


def test_every_published_case_is_reproduced(shared: Path) -> None:
    cases = sorted((shared / "golden").glob("budgeted_batch*.json"))
    assert cases
    for case in cases:
        arrays = np.load(str(case.with_suffix(".npz")))
        exits = int(json.loads(case.read_text(encoding="utf-8")).get("stages", len(arrays["flops"])))
        for k, p in enumerate(arrays["p"]):
            thresholds = share_thresholds(
                arrays["val_probabilities"].max(axis=2), geometric_shares(float(p), exits)
            )
            theirs = arrays["thresholds"][k]
            expected = np.where(theirs == THEIRS, NOBODY, np.where(theirs == -THEIRS, EVERYBODY, theirs))
            assert thresholds.tolist() == expected.tolist(), f"{case.name}, p = {p}"
            for part in ("val", "test"):
                probabilities, labels = arrays[f"{part}_probabilities"], arrays[f"{part}_labels"]
                taken = exits_taken(probabilities.max(axis=2), thresholds)
                answers = probabilities.argmax(axis=2)[taken, np.arange(len(labels))]
                accuracy = 100.0 * float((answers == labels).mean())
                assert accuracy == pytest.approx(float(arrays[f"{part}_accuracy"][k]), abs=1e-9)
            # Theirs was summed in float32.
            cost = float(arrays["flops"].astype(np.float64)[taken].mean())
            assert cost == pytest.approx(float(arrays["test_flops"][k]), rel=2.0**-21)


def test_the_published_settings_are_forty() -> None:
    assert len(PUBLISHED) == 40
    assert (PUBLISHED[0], PUBLISHED[19], PUBLISHED[-1]) == (0.05, 1.0, 2.0)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 4.0), st.integers(2, 24))
def test_shares_are_geometric_and_sum_to_one(p: float, exits: int) -> None:
    shares = geometric_shares(p, exits)
    assert shares.dtype == np.float32
    assert float(shares.sum(dtype=np.float64)) == pytest.approx(1.0, abs=1e-5)
    assert shares[1:].tolist() == pytest.approx((shares[:-1] * p).tolist(), rel=1e-4, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6))
def test_every_exit_takes_its_share_where_confidences_differ(
    seed: int, samples: int, weights: List[float]
) -> None:
    shares = (np.asarray(weights) + 1e-3) / (np.asarray(weights) + 1e-3).sum()
    confidence = np.random.RandomState(seed).permutation(len(shares) * samples).reshape(len(shares), samples)
    taken = exits_taken(confidence / confidence.size, share_thresholds(confidence / confidence.size, shares))
    counts = np.bincount(taken, minlength=len(shares))
    assert counts.sum() == samples
    for count, share in zip(counts[:-1], shares):
        assert abs(count - np.floor(samples * share)) <= 1  # 1: the share is rounded to float32
