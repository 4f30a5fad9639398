"""The arbiter on a device that is not there, frame by frame against whoever knows all durations, and against halves."""

from typing import List

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.runtime.arbiter.members import Terms
from edgekit.runtime.arbiter.simulated import SimulatedNetwork, arbitrate, best, in_turns
from edgekit.runtime.simulation.workload import QUIET, Conditions, Every, modelled
from tests.runtime.arbiter.doubles import DEPTH, SIGNS

FRAMES = 300


def networks(stereo: Bundle, classifier: Bundle, conditions: Conditions) -> List[SimulatedNetwork]:
    made = []
    for seed, (name, bundle, took) in enumerate((("depth", stereo, DEPTH), ("signs", classifier, SIGNS))):
        spread = np.random.default_rng(seed).lognormal(0.0, 0.1, (50, len(took)))
        measured = {stage: tuple(took[stage] * spread[:, k]) for k, stage in enumerate(took)}
        stages = [(one.name, one.exit is not None) for one in bundle.manifest.stages]
        load = modelled(stages, measured, FRAMES, 5.0, seed, conditions)
        made.append(SimulatedNetwork(name, bundle.manifest, load, Terms()))
    return made


@pytest.mark.parametrize(
    "conditions", [QUIET, Conditions(neighbour=Every(1.8, 50))], ids=["quiet", "neighbour"]
)
def test_no_frame_is_late_none_is_better_than_possible_and_halves_are_below(
    stereo_bundle: Bundle, classifier_bundle: Bundle, conditions: Conditions
) -> None:
    both = networks(stereo_bundle, classifier_bundle, conditions)
    for budget in (1.0, 12.0, 30.0, 60.0):
        ours, halves, most = arbitrate(both, budget), in_turns(both, budget), best(both, budget)
        assert not ours.late.any() and (ours.utility <= most + 1e-9).all()
        if most.any():
            assert halves.utility.mean() < ours.utility.mean()
        else:
            assert budget == 1.0 and not ours.utility.any()  # nothing fits, for nobody


def test_with_all_the_time_there_is_everything_is_reached(
    stereo_bundle: Bundle, classifier_bundle: Bundle
) -> None:
    both = networks(stereo_bundle, classifier_bundle, QUIET)
    assert best(both, 1e4).tolist() == [2.0] * FRAMES == arbitrate(both, 1e4).utility.tolist()


@pytest.mark.parametrize("budget", [13.5, 14.0, 14.5])
def test_where_both_first_exits_just_fit_a_few_slow_runs_do_not_cost_one_of_them_for_good(
    stereo_bundle: Bundle, classifier_bundle: Bundle, budget: float
) -> None:
    """10 ms and 4 ms on average: what was slow by chance when it last ran must be tried again, and the rest of the time used."""
    both = networks(stereo_bundle, classifier_bundle, QUIET)
    ours, rest = arbitrate(both, budget), in_turns(both, budget, halves=False)
    assert ours.utility.mean() > 0.9 * best(both, budget).mean()
    assert ours.utility.mean() > 0.97 * rest.utility.mean()
