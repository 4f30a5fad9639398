"""What is done for others between frames: when it is due, and all of it at the end."""

from typing import List

from edgekit.runtime.errands import Errands


def test_what_is_due_is_done_once_and_the_rest_at_its_instant_or_at_the_end() -> None:
    done: List[str] = []
    errands = Errands()
    assert errands.due is None
    for name, at in (("late", 9.0), ("soon", 2.0), ("now", 1.0)):
        errands.add(lambda name=name: done.append(name), at)  # type: ignore[misc]
    assert errands.due == 1.0
    errands.run(2.0)
    errands.run(2.0)
    assert done == ["soon", "now"] and errands.due == 9.0
    errands.run(None)
    assert done[2:] == ["late"] and errands.due is None


def test_one_errand_may_ask_for_another() -> None:
    done: List[int] = []
    errands = Errands()

    def again() -> None:
        done.append(len(done))
        errands.add(again, 5.0)

    errands.add(again, 1.0)
    errands.run(1.0)
    assert done == [0] and errands.due == 5.0
