"""Evolution towards networks that nothing beats in both time and accuracy; where it was interrupted, it goes on as if it had not been.

Of all networks found so far, those survive that fewest others dominate, and of equals those in the emptiest part of the front
(Deb et al., NSGA-II, IEEE Transactions on Evolutionary Computation 6(2), 2002, section III).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit.export.search.genes import Candidate, Genes

MUTATED = 0.1  # share of a child's genes that are drawn anew
CROSSED = 0.5  # share of the children that have two parents
TRIES = 200  # draws a wanted child, before the space counts as used up


@dataclass(frozen=True)
class Judged:
    """A network that was judged: in which generation, its time in ms, and its accuracy (a share)."""

    candidate: Candidate
    generation: int
    ms: float
    accuracy: float


@dataclass(frozen=True)
class Settings:
    """How long and how widely to search.

    Attributes:
        budget_ms: what a network may take.
        population: networks a generation.
        generations: after the first one, which is drawn.
        seed: of everything that is drawn.
    """

    budget_ms: float
    population: int
    generations: int
    seed: int


Cost = Callable[[Candidate], float]
Progress = Callable[[int, int, Judged], None]  # generation, how many of it are judged, the latest


def evolve(
    genes: Genes,
    cost: Cost,
    accuracy: Cost,
    settings: Settings,
    judged: list[Judged],
    progress: Progress = lambda generation, done, latest: None,
) -> None:
    """Judge generation after generation, lengthening ``judged``; what is in there already is not judged again.

    Args:
        cost: a network's time in ms, quickly known.
        accuracy: its accuracy, slowly known.
        progress: called behind every network, when ``judged`` holds it.
    """  # fmt: skip
    known = {one.candidate: one for one in judged}
    for generation in range(settings.generations + 1):
        earlier = [one for one in known.values() if one.generation < generation]
        wanted = children(genes, cost, settings, earlier, generation)
        if not wanted:
            return  # every network within the budget was judged
        for done, candidate in enumerate(wanted, 1):
            if candidate not in known:
                known[candidate] = Judged(candidate, generation, cost(candidate), accuracy(candidate))
                judged.append(known[candidate])
            progress(generation, done, known[candidate])


def children(
    genes: Genes, cost: Cost, settings: Settings, earlier: Sequence[Judged], generation: int
) -> list[Candidate]:
    """The networks of a generation, none of which was there before: the same whenever they are asked for."""
    generator = random.Random(f"{settings.seed} {generation}")
    parents = survivors(earlier, settings.population)
    seen = {one.candidate for one in earlier}
    found: list[Candidate] = []
    if generation == 0:
        found = [one for one in (genes.uniform(bits, largest) for bits in genes.bits for largest in (False, True))
                 if cost(one) <= settings.budget_ms][: settings.population]  # fmt: skip
        found = list(dict.fromkeys(found))
    for _ in range(settings.population * TRIES):
        if len(found) >= settings.population:
            break
        child = genes.draw(generator) if not parents else _child(genes, parents, generator)
        if child not in seen and child not in found and cost(child) <= settings.budget_ms:
            found.append(child)
    return found


def _child(genes: Genes, parents: Sequence[Judged], generator: random.Random) -> Candidate:
    one = generator.choice(parents).candidate
    if generator.random() < CROSSED:
        one = genes.cross(one, generator.choice(parents).candidate, generator)
    return genes.mutate(one, generator, MUTATED)


def front(judged: Sequence[Judged]) -> list[Judged]:
    """Those that nothing is both faster and at least as accurate as, or as fast and more accurate; by time."""
    kept: list[Judged] = []
    for one in sorted(judged, key=lambda one: (one.ms, -one.accuracy)):
        if not kept or one.accuracy > kept[-1].accuracy:
            kept.append(one)
    return kept


def survivors(judged: Sequence[Judged], count: int) -> list[Judged]:
    """The ``count`` best: front by front, and of the last one the least crowded."""
    rest, kept = list(judged), list[Judged]()
    while rest and len(kept) < count:
        best = front(rest)
        taken = {one.candidate for one in best}
        rest = [one for one in rest if one.candidate not in taken]
        kept += _least_crowded(best, count - len(kept))
    return kept


def _least_crowded(best: Sequence[Judged], count: int) -> list[Judged]:
    """Of a front by time, the ends and those with the widest gaps between their neighbours."""
    spread_ms = max(best[-1].ms - best[0].ms, 1e-12)
    spread = max(best[-1].accuracy - best[0].accuracy, 1e-12)

    def room(place: int) -> float:
        if place in (0, len(best) - 1):
            return float("inf")
        before, after = best[place - 1], best[place + 1]
        return (after.ms - before.ms) / spread_ms + (after.accuracy - before.accuracy) / spread

    order = sorted(range(len(best)), key=lambda place: -room(place))
    return [best[place] for place in order[:count]]
