"""Which network's stage runs next: pure decisions, from predictions and utilities; no clock, no device, no thread.

What is left of a frame's budget is spent on exits of several networks, each reached by a chain of stages. Which exits are worth
it is a knapsack with one choice a network. It is solved exactly, by merging the networks one after the other and keeping of
every set of choices only those that no other one beats in both time and worth; and it is solved again after every stage.
"""

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

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


class Candidate(NamedTuple):
    """An exit that was considered, for the record: what it would take and gain, and whether it is part of the plan."""

    network: str
    exit: str
    predicted_ms: Optional[float]
    gain: float
    planned: bool


class Choice(NamedTuple):
    """What runs next, and why.

    Attributes:
        network, stage: None if nothing does.
        exit: the exit that the stage is run for.
        predicted_ms: what it takes until that is there.
        gain: what it is worth more than what the network has.
        reason: of running: ``minimum`` (its network must reach it), ``gain`` (of what is planned, it gains most per ms),
            ``first`` (there is no answer at all yet, and nothing is expected to be in time: the least late one is tried),
            ``chance`` (nothing is sure enough to be in time, and what has a chance costs nobody anything); of stopping:
            ``final`` (nothing more can be gained), ``budget`` (nothing that gains is expected to be in time).
        left_ms: what was left for stages; None without a budget.
        candidates: all that was considered.
    """

    network: Optional[str]
    stage: Optional[str]
    exit: Optional[str]
    predicted_ms: Optional[float]
    gain: float
    reason: str
    left_ms: Optional[float]
    candidates: Tuple[Candidate, ...]


class Worth(NamedTuple):
    """What a set of choices is worth, compared from left to right.

    ``minima``: how many networks get what they must have, of the highest priority first. ``gains``: what is gained beyond,
    in the same order.
    """

    minima: Tuple[int, ...]
    gains: Tuple[float, ...]


class Set(NamedTuple):
    """One option, or none, for each of the networks merged so far."""

    ms: float
    worth: Worth
    picks: Tuple[Optional[Option], ...]


def plan(claims: Sequence[Claim], left_ms: Optional[float]) -> Tuple[Optional[Option], ...]:
    """The best that ``left_ms`` allow: for every claim the option to go for, or None. Without a limit: the best of each."""
    levels = sorted({claim.priority for claim in claims}, reverse=True)
    nothing = Worth((0,) * len(levels), (0.0,) * len(levels))
    sets = [Set(0.0, nothing, ())]
    for claim in claims:
        level = levels.index(claim.priority)
        merged = [one._replace(picks=one.picks + (None,)) for one in sets]
        for option in claim.options:
            took = 0.0 if left_ms is None else option.ms
            if took is None:
                continue
            gain = option.utility - claim.utility
            met = int(claim.lacking and option.enough)
            merged += [
                Set(one.ms + took, _add(one.worth, level, met, gain), one.picks + (option,))
                for one in sets
                if left_ms is None or one.ms + took <= left_ms + ROUNDING
            ]
        sets = _unbeaten(merged)
        if len(sets) > MOST_SETS and left_ms is not None:
            sets = _thinned(sets, left_ms)
    return sets[-1].picks


def choose(claims: Sequence[Claim], left_ms: Optional[float]) -> Choice:
    """The stage to run next.

    Args:
        claims: of all networks; one that is over has no options.
        left_ms: for stages; None without a budget.
    """
    picks = plan(claims, left_ms)
    candidates = tuple(
        Candidate(claim.network, option.exit, option.ms, option.utility - claim.utility, option is picked)
        for claim, picked in zip(claims, picks)
        for option in claim.options
    )
    steps = [_first_step(claim, picked) for claim, picked in zip(claims, picks) if picked is not None]
    if steps:
        step = max(steps)
        reason = "minimum" if step.minimum else "gain"
        return _run(claims[_index(claims, step.network)], step.option, reason, left_ms, candidates)
    wanted = [(claim, option) for claim in claims for option in claim.options]
    if not wanted:
        return Choice(None, None, None, None, 0.0, "final", left_ms, candidates)
    answered = any(claim.answered for claim in claims)
    if not answered and left_ms is not None and left_ms > 0:
        claim, option = min(wanted, key=_least_late)
        return _run(claim, option, "first", left_ms, candidates)
    return Choice(None, None, None, None, 0.0, "budget", left_ms, candidates)


def choose_boldly(
    claims: Sequence[Claim], bold: Callable[[], Sequence[Claim]], left_ms: Optional[float]
) -> Choice:
    """`choose`, and where that leaves the rest of the time to nobody, what has a chance to be in time.

    Args:
        claims: with what stages take at most.
        bold: the same with what they take as often as not.
        left_ms: for stages; None without a budget.
    """
    choice = choose(claims, left_ms)
    if choice.reason not in ("budget", "first"):
        return choice
    chance = choose(bold(), left_ms)
    return chance._replace(reason="chance") if chance.reason in ("gain", "minimum") else choice


class _Step(NamedTuple):
    """The next exit on the way to a planned one; larger is more urgent."""

    minimum: bool
    priority: int
    per_ms: float
    network: str
    option: Option


def _first_step(claim: Claim, picked: Option) -> _Step:
    """Of the exits on the way to ``picked``, the one that gains most per ms is the next to go for."""
    way = [option for option in claim.options if option.stages == picked.stages[: len(option.stages)]]
    if claim.lacking and picked.enough:
        # The way to what it must have is gone to its end, whatever lies on it.
        way = [option for option in way if option.enough] or [picked]
        target = min(way, key=lambda option: len(option.stages))
        return _Step(True, claim.priority, _per_ms(claim, target), claim.network, target)
    target = max(way, key=lambda option: _per_ms(claim, option))
    return _Step(False, claim.priority, _per_ms(claim, target), claim.network, target)


def _per_ms(claim: Claim, option: Option) -> float:
    # Without a budget, durations may be unknown.
    return (option.utility - claim.utility) / max(option.ms or 0.0, 1e-6)


def _least_late(wanted: Tuple[Claim, Option]) -> Tuple[bool, float, int]:
    claim, option = wanted
    late = float("inf") if option.ms is None else option.ms
    return not claim.lacking, late, len(option.stages)


def _run(
    claim: Claim, option: Option, reason: str, left_ms: Optional[float], candidates: Tuple[Candidate, ...]
) -> Choice:
    gain = option.utility - claim.utility
    return Choice(claim.network, option.stages[0], option.exit, option.ms, gain, reason, left_ms, candidates)


def _index(claims: Sequence[Claim], network: str) -> int:
    return [claim.network for claim in claims].index(network)


def _add(worth: Worth, level: int, met: int, gain: float) -> Worth:
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
