"""Which exits of several networks are worth a budget: pure planning, from predictions and utilities; no clock, no device, no thread.

What is left of a frame's budget is spent on exits of several networks, each reached by a chain of stages. Which exits are worth
it is a knapsack with one choice a network. It is solved exactly, by merging the networks one after the other and keeping of
every set of choices only those that no other one beats in both time and worth.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

# Sets of choices that are kept while networks are merged. Up to here the solution is exact: two networks with 20 exits each, or
# five with 3, cannot have more. Beyond, of sets that take nearly as long the best one is kept.
MOST_SETS = 1024
# What predictions are rounded by must not decide whether a plan that exactly fills the budget fits.
ROUNDING = 1e-6


class Option(NamedTuple):
    """An exit that a network can still reach in this frame.

    Attributes:
        exit: the stage whose exit it is.
        stages: that must run for it and have not, in order.
        ms: what they take at most, and what else it takes until the answer is there; None if that is unknown.
        utility: what the exit is worth.
        enough: whether it is what the network must reach at least.
    """

    exit: str
    stages: Tuple[str, ...]
    ms: Optional[float]
    utility: float
    enough: bool = False


class Claim(NamedTuple):
    """What one network has reached in this frame, and what it could.

    Attributes:
        priority: nothing of a network of lower priority costs one of higher priority an exit.
        utility: of the exit reached; 0 without.
        lacking: it has not reached what it must at least.
        options: the exits that are worth more, or are what is lacking.
        answered: it has reached an exit, whatever that is worth.
    """

    network: str
    priority: int
    utility: float
    lacking: bool
    options: Tuple[Option, ...]
    answered: bool = False


class Worth(NamedTuple):
    """What a set of choices is worth, compared from left to right.

    ``minima``: how many networks get what they must have, of the highest priority first. ``gains``: what is gained beyond,
    in the same order.
    """

    minima: Tuple[float, ...]
    gains: Tuple[float, ...]


class Set(NamedTuple):
    """One option, or none, for each of the networks merged so far."""

    ms: float
    worth: Worth
    picks: Tuple[Optional[Option], ...]


def plan(claims: Sequence[Claim], left_ms: Optional[float]) -> Tuple[Optional[Option], ...]:
    """The best that ``left_ms`` allow: for every claim the option to go for, or None. Without a limit: the best of each."""
    priorities = levels(claims)
    sets = [Set(0.0, nothing(claims), ())]
    for claim in claims:
        level = priorities.index(claim.priority)
        merged = [one._replace(picks=one.picks + (None,)) for one in sets]
        for option in claim.options:
            took = 0.0 if left_ms is None else option.ms
            if took is None:
                continue
            gain = option.utility - claim.utility
            met = float(claim.lacking and option.enough)
            merged += [
                Set(one.ms + took, add(one.worth, level, met, gain), one.picks + (option,))
                for one in sets
                if left_ms is None or one.ms + took <= left_ms + ROUNDING
            ]
        sets = _unbeaten(merged)
        if len(sets) > MOST_SETS and left_ms is not None:
            sets = _thinned(sets, left_ms)
    return sets[-1].picks


def levels(claims: Sequence[Claim]) -> List[int]:
    """The priorities that there are, the highest first."""
    return sorted({claim.priority for claim in claims}, reverse=True)


def nothing(claims: Sequence[Claim]) -> Worth:
    """What it is worth to run nothing."""
    count = len(levels(claims))
    return Worth((0.0,) * count, (0.0,) * count)


def add(worth: Worth, level: int, met: float, gain: float) -> Worth:
    """``worth``, and of the priority number ``level`` ``met`` minima and ``gain`` more."""
    minima, gains = list(worth.minima), list(worth.gains)
    minima[level] += met
    gains[level] += gain
    return Worth(tuple(minima), tuple(gains))


def _unbeaten(sets: List[Set]) -> List[Set]:
    """Those of which no other takes no longer and is worth as much; dearer ones, which are worth more, last."""
    kept: List[Set] = []
    for one in sorted(sets, key=lambda each: (each.ms, _falling(each.worth))):
        if not kept or one.worth > kept[-1].worth:
            kept.append(one)
    return kept


def _falling(worth: Worth) -> Tuple[float, ...]:
    return tuple(-value for value in worth.minima + worth.gains)


def _thinned(sets: List[Set], left_ms: float) -> List[Set]:
    """At most `MOST_SETS` of them: of those that take nearly as long, the best, which is the last."""
    buckets = [int(one.ms * MOST_SETS / left_ms) for one in sets]
    return [one for k, one in enumerate(sets) if k + 1 == len(sets) or buckets[k] != buckets[k + 1]]
