"""What is done for others between frames: when it is due, how long its thread sleeps, and all of it at the end."""

from typing import List

from edgekit.runtime.errands import GONE_MS, Errands


def test_what_is_due_is_done_once_and_the_rest_at_its_instant_or_at_the_end() -> None:
    done: List[str] = []
    errands = Errands()
    assert errands.sleep_until(0.0) is None
    for name, at in (("late", 9.0), ("soon", 2.0), ("now", 1.0)):
        errands.add(lambda name=name: done.append(name), at)  # type: ignore[misc]
    assert errands.sleep_until(0.0) == 1.0 and done == []
    assert errands.sleep_until(2.0) == 9.0
    errands.frame_over(2.0)
    assert done == ["soon", "now"]
    errands.run(None)
    assert done[2:] == ["late"] and errands.sleep_until(99.0) is None


def test_one_errand_may_ask_for_another() -> None:
    done: List[int] = []
    errands = Errands()

    def again() -> None:
        done.append(len(done))
        errands.add(again, 5.0)

    errands.add(again, 1.0)
    assert errands.sleep_until(1.0) == 5.0
    assert done == [0]


def test_a_thread_that_looks_by_itself_soon_after_a_frame_is_not_woken() -> None:
    errands = Errands()
    errands.frame_over(0.0)
    assert errands.sleep_until(0.0) is None, "nobody ever asked"
    assert errands.add(lambda: None, GONE_MS), "it sleeps for good"
    errands.run(None)
    errands.frame_over(10.0)
    assert errands.sleep_until(10.0) == 10.0 + GONE_MS
    assert not errands.add(lambda: None, 10.5 + GONE_MS)
    assert errands.sleep_until(10.0 + GONE_MS) == 10.5 + GONE_MS
    assert errands.sleep_until(10.5 + GONE_MS) is None
