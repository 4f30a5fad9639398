"""Evolution finds the front of a space small enough to try all of it, within the budget, and does not mind being interrupted."""

from __future__ import annotations

import random

import pytest

from edgekit.export.search.evolution import Judged, Settings, evolve, front, survivors
from edgekit.export.search.genes import Candidate, Genes
from edgekit.models.oqa_space import SupernetOptions, kept_blocks
from tests.export.search.supernets import options

SETTINGS = Settings(budget_ms=40.0, population=16, generations=12, seed=3)
GENES = Genes(options(4), (4,))


def cost(candidate: Candidate) -> float:
    """Kernels and expansions of all blocks that are there."""
    config = GENES.config(candidate)
    kept = kept_blocks(GENES.options, config.d)
    return float(sum(config.ks[k] + config.e[k] for k in kept)) / 2


def accuracy(candidate: Candidate) -> float:
    """Late kernels and early expansions are worth most."""
    config = GENES.config(candidate)
    kept = kept_blocks(GENES.options, config.d)
    return sum(config.ks[k] * (1 + k) + config.e[k] * (20 - k) for k in kept) / 2000


def _search(
    settings: Settings = SETTINGS, stop: int | None = None, judged: list[Judged] | None = None
) -> list[Judged]:
    found = [] if judged is None else judged

    def interrupting(generation: int, done: int, latest: Judged) -> None:
        if len(found) == stop:
            raise KeyboardInterrupt

    evolve(GENES, cost, accuracy, settings, found, interrupting)
    return found


def test_no_network_exceeds_the_budget_and_none_is_judged_twice() -> None:
    judged = _search()
    assert all(one.ms <= SETTINGS.budget_ms for one in judged)
    assert len({one.candidate for one in judged}) == len(judged)


def _best_within(judged: list[Judged]) -> float:
    """The best accuracy at every budget, on average over the budgets."""
    budgets = [SETTINGS.budget_ms * k / 20 for k in range(10, 21)]
    return sum(max((one.accuracy for one in judged if one.ms <= b), default=0.0) for b in budgets) / len(
        budgets
    )


def test_evolution_beats_as_many_networks_drawn_at_random() -> None:
    judged = _search()
    for seed in range(5):
        generator = random.Random(seed)
        draws = (GENES.draw(generator) for _ in range(100 * len(judged)))
        fitting = [
            Judged(one, 0, cost(one), accuracy(one)) for one in draws if cost(one) <= SETTINGS.budget_ms
        ]
        assert _best_within(judged) > _best_within(fitting[: len(judged)])


@pytest.mark.parametrize("stop", [1, 16, 17, 50, 130])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(stop: int) -> None:
    judged: list[Judged] = []
    with pytest.raises(KeyboardInterrupt):
        _search(stop=stop, judged=judged)
    assert len(judged) == stop
    assert _search(judged=judged) == _search()


def test_another_seed_searches_elsewhere() -> None:
    other = Settings(SETTINGS.budget_ms, SETTINGS.population, SETTINGS.generations, 4)
    assert _search(other) != _search()


def test_a_space_that_is_used_up_ends_the_search() -> None:
    tiny = Genes(SupernetOptions(4, 0.25, 4, (3,), (3,), (1, 2)), (4,))
    judged: list[Judged] = []
    evolve(
        tiny,
        lambda one: float(sum(map(int, one.subnet[1:6]))),
        lambda one: 0.5,
        Settings(99.0, 20, 99, 0),
        judged,
    )
    assert len(judged) == 2**5


def _judged(ms: float, accuracy: float) -> Judged:
    return Judged(Candidate(4, f"{ms} {accuracy}"), 0, ms, accuracy)


def test_the_front_is_what_nothing_beats_in_both() -> None:
    generator = random.Random(0)
    many = [_judged(generator.randint(1, 30), generator.randint(1, 30) / 30) for _ in range(60)]
    kept = front(many)
    for one in many:
        beaten = any(
            other.ms <= one.ms
            and other.accuracy >= one.accuracy
            and (other.ms, other.accuracy) != (one.ms, one.accuracy)
            for other in many
        )
        alike = any((other.ms, other.accuracy) == (one.ms, one.accuracy) for other in kept)
        assert alike != beaten


def test_the_ends_of_a_front_survive_and_its_crowds_do_not() -> None:
    line = [_judged(1, 0.1), _judged(2, 0.2), _judged(2.1, 0.21), _judged(2.2, 0.22), _judged(9, 0.9)]
    kept = {one.ms for one in survivors(line, 3)}
    assert {1, 9} <= kept and len(kept) == 3
