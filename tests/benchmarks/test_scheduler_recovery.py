"""What counts as settled after a switch, on answers that are known."""

import numpy as np

from benchmarks.scheduler_recovery import PHASE, SWITCHES, settling


def steady(random: np.random.RandomState, rare: float) -> np.ndarray:
    """Phases of third exits, of which a share ``rare`` are second ones and as many fourth ones (switches, frames)."""
    return random.choice([2, 3, 4], (SWITCHES, PHASE), p=[rare, 1 - 2 * rare, rare])


def test_where_nothing_was_switched_nearly_every_phase_is_settled_at_once() -> None:
    random = np.random.RandomState(0)
    for rare in (0.0, 0.02, 0.1, 0.3):
        begun = np.concatenate([settling(steady(random, rare)) for _ in range(20)]).ravel()
        assert (begun == 0).mean() >= 0.95


def test_as_many_frames_are_counted_as_answers_are_worse_than_usual_after_a_switch() -> None:
    phases = steady(np.random.RandomState(1), 0.02)
    phases[:, :7] = 1
    begun, middles = settling(phases)
    assert np.median(begun) in (6, 7)  # one worse of five may be usual
    assert np.median(middles) == 0


def test_one_phase_that_never_settles_is_told_and_does_not_change_what_is_usual() -> None:
    phases = np.full((SWITCHES, PHASE), 3)
    phases[4] = 2
    begun, _ = settling(phases)
    assert begun[4] == PHASE
    assert set(begun[:4] + begun[5:]) == {0}
