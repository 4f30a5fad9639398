"""How much earlier than the deadline a caller is woken, and for what he is not, on a virtual clock."""

import pytest

from edgekit.runtime.returning import MOST_RESERVED
from tests.runtime.conftest import MakeSession

MS = {"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0}


def test_a_caller_who_was_woken_late_is_woken_earlier_from_then_on(virtual: MakeSession) -> None:
    session = virtual(MS)
    inputs = session.golden()[0]
    assert session.infer(budget_ms=60, **inputs).reserve_ms == 0
    for _ in range(20):
        session._returning._waking.add(2.0)
    reserve = session.infer(budget_ms=60, **inputs).reserve_ms
    assert 2 < reserve < 5


def test_no_machine_wakes_so_late_that_nothing_of_a_budget_is_left(virtual: MakeSession) -> None:
    session = virtual(MS)
    session._returning._waking.add(1000.0)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert result.reserve_ms == pytest.approx(60 * MOST_RESERVED)
    assert result.stage is not None


def test_the_first_exit_is_waited_for_to_the_very_deadline(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage1": 58.0})
    session._returning._waking.add(1000.0)  # so that he would be woken at 51
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert (result.stage, result.missed) == ("stage1", False)
    assert result.elapsed_ms == 58


def test_a_later_exit_is_not_waited_for_beyond_the_reserve(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage2": 45.0})
    session._returning._waking.add(1000.0)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert (result.stage, result.missed) == ("stage1", False)
    assert result.elapsed_ms == pytest.approx(60 - 60 * MOST_RESERVED)


def test_a_frame_without_any_answer_returns_at_the_deadline(virtual: MakeSession) -> None:
    session = virtual(MS, later={"stage1": 1000.0})
    session._returning._waking.add(1000.0)
    result = session.infer(budget_ms=60, **session.golden()[0])
    assert (result.output, result.missed, result.reason) == (None, True, "budget")
    assert result.elapsed_ms == 60
