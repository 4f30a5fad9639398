"""What waiting for stages could reach at most: nothing is lost where durations can be foreseen, and much where they cannot."""

import numpy as np
import pytest

from benchmarks.scheduler_ceiling import ALLOWED, ceiling
from edgekit.runtime.simulation.workload import Workload

STAGES = (("stage1", True), ("stage2", True), ("stage3", True))
USUAL = np.array([5.0, 3.0, 6.0])
BUDGETS = (6.0, 9.0, 12.0, 16.0)


def frames(factors: np.ndarray) -> Workload:
    durations = USUAL * factors
    return Workload(STAGES, np.zeros(len(durations)), np.full(len(durations), 0.5), durations, {})


def test_where_every_frame_takes_the_same_the_oracle_is_reached_and_nothing_is_late() -> None:
    found = ceiling("quiet", frames(np.ones((200, 3))), BUDGETS, 0.97)
    assert (found.of_oracle, found.late_share, found.late_at_bar) == (1.0, 0.0, 0.0)


def test_what_the_stages_before_foretell_costs_nothing() -> None:
    paces = np.repeat(np.random.RandomState(0).uniform(0.7, 1.4, 2000), 3).reshape(-1, 3)
    assert ceiling("quiet", frames(paces), BUDGETS, 0.97).of_oracle > 0.99


@pytest.mark.parametrize("spread", [0.1, 0.2])
def test_what_nobody_can_foretell_costs_the_more_the_more_it_differs_and_is_hardly_ever_late(
    spread: float,
) -> None:
    random = np.random.RandomState(0)
    narrow, wide = (
        ceiling("quiet", frames(random.lognormal(0, s, (4000, 3))), BUDGETS, 0.97) for s in (0.03, spread)
    )
    assert wide.of_oracle < narrow.of_oracle <= 1
    assert wide.late_share <= ALLOWED
    assert wide.late_at_bar is None or wide.late_at_bar > ALLOWED
