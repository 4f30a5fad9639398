"""Which network's stage runs next: pure decisions, from predictions and utilities; no clock, no device, no thread.

What is planned (`edgekit.runtime.arbiter.planning`) is planned again after every stage that is not short. Where not everything is
sure to fit, plans that are sure to fit are weighed against bolder ones by what they are worth on average, and so are the orders in
which a plan may run (`edgekit.runtime.arbiter.ordering`).
"""

import itertools
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from edgekit.runtime.arbiter.ordering import Step, ample, in_best_order, in_usual_order
from edgekit.runtime.arbiter.planning import Claim, Option, plan


class Candidate(NamedTuple):
    """An exit that was considered, for the record: what it would take and gain, and whether it is part of the plan."""

    network: str
    exit: str
    predicted_ms: Optional[float]
    gain: float
    planned: bool


class Next(NamedTuple):
    """A stage with an exit that comes right after the one that was chosen, of the same network; ``ms`` and ``gain`` are its own."""

    stage: str
    ms: float
    gain: float


class Choice(NamedTuple):
    """What runs next, and why.

    Attributes:
        network, stage: None if nothing does.
        exit: the exit that the stage is run for.
        predicted_ms: what it takes until that is there.
        gain: what it is worth more than what the network has.
        reason: of running: ``minimum`` (its network must reach it), ``gain`` (of what is planned, it gains most per ms),
            ``first`` (there is no answer at all yet, and nothing is expected to be in time: the least late one is tried),
            ``chance`` (the same of a plan that is not sure to fit, and worth more on average than what is); of stopping:
            ``final`` (nothing more can be gained), ``budget`` (nothing that gains is expected to be in time).
        left_ms: what was left for stages; None without a budget.
        candidates: all that was considered; of a stage that followed without a choice of its own, nothing.
        then: what comes right after it, if it takes no longer than expected.
    """

    network: Optional[str]
    stage: Optional[str]
    exit: Optional[str]
    predicted_ms: Optional[float]
    gain: float
    reason: str
    left_ms: Optional[float]
    candidates: Tuple[Candidate, ...]
    then: Tuple[Next, ...] = ()


def choose(
    claims: Sequence[Claim],
    left_ms: Optional[float],
    bold: Optional[Callable[[], Sequence[Claim]]] = None,
    spare: Optional[Callable[[], Sequence[Claim]]] = None,
) -> Choice:
    """The stage to run next.

    Args:
        claims: of all networks, with what stages take at most (in `SURE` of frames); one that is over has no options.
        left_ms: for stages; None without a budget.
        bold: the same with what they take as often as not. Where not everything is sure to fit, what is worth more on
            average is then planned. None plans only what is sure.
        spare: the same with what they take where they are as quick as a network alone would still try them: for time that
            nothing else can use, so that nothing is lost if it does not suffice.
    """
    picks, chance = plan(claims, left_ms), False
    if bold is None or left_ms is None or left_ms <= 0:
        order = in_usual_order(claims, claims, picks)
    else:
        order, picks, chance = _bolder(claims, bold, picks, left_ms)
        if not order and spare is not None:
            likely = spare()
            picks, chance = plan(likely, left_ms), True
            order = in_usual_order(likely, likely, picks)
    candidates = tuple(
        Candidate(claim.network, option.exit, option.ms, option.utility - claim.utility, _is(option, picked))
        for claim, picked in zip(claims, picks)
        for option in claim.options
    )
    if order:
        step = order[0]
        reason = "minimum" if step.minimum else "chance" if chance else "gain"
        claim = claims[_index(claims, step.network)]
        then = () if step.minimum else _then(claim, order)
        return _run(claim, step.option, reason, left_ms, candidates, then)
    wanted = [(claim, option) for claim in claims for option in claim.options]
    if not wanted:
        return Choice(None, None, None, None, 0.0, "final", left_ms, candidates)
    answered = any(claim.answered for claim in claims)
    if not answered and left_ms is not None and left_ms > 0:
        claim, option = min(wanted, key=_least_late)
        return _run(claim, option, "first", left_ms, candidates)
    return Choice(None, None, None, None, 0.0, "budget", left_ms, candidates)


Picks = Tuple[Optional[Option], ...]


def _bolder(
    claims: Sequence[Claim], bold: Callable[[], Sequence[Claim]], sure: Picks, left_ms: float
) -> Tuple[List[Step], Picks, bool]:
    """The order of the plan that is worth most on average, of what fits surely, as often as not, or half way between; that plan;
    and whether it is not the sure one."""
    everything = _all_of(claims, sure)
    if everything and ample(sure, left_ms):
        return in_usual_order(claims, claims, sure), sure, False
    even = bold()
    (best, most), picks = in_best_order(claims, even, sure, left_ms), sure
    if everything:
        return best, picks, False
    for middle in (False, True):
        others = plan(_between(claims, even) if middle else even, left_ms)
        if _exits(others) == _exits(picks):
            continue
        order, worth = in_best_order(claims, even, others, left_ms)
        if worth > most:
            best, most, picks = order, worth, others
    return best, picks, picks is not sure


def _then(claim: Claim, order: Sequence[Step]) -> Tuple[Next, ...]:
    """What comes right after the first stage of ``order`` of the same network, as long as every stage has an exit."""
    alone = list(itertools.takewhile(lambda step: step.network == claim.network, order))
    goal = alone[-1].option.stages
    way = [one for one in claim.options if one.stages == goal[: len(one.stages)]]
    found: List[Next] = []
    for number, (before, after) in enumerate(zip(way, way[1:]), 1):
        if len(before.stages) != number or len(after.stages) != number + 1:
            break
        if before.ms is None or after.ms is None:
            break
        found.append(Next(after.exit, after.ms - before.ms, after.utility - before.utility))
    return tuple(found)


def _between(claims: Sequence[Claim], bold: Sequence[Claim]) -> List[Claim]:
    return [
        claim._replace(
            options=tuple(
                one if one.ms is None or even.ms is None else one._replace(ms=(one.ms + even.ms) / 2)
                for one, even in zip(claim.options, likely.options)
            )
        )
        for claim, likely in zip(claims, bold)
    ]


def _all_of(claims: Sequence[Claim], picks: Sequence[Optional[Option]]) -> bool:
    """Whether the best of every network is planned."""
    return all(
        picked is not None and picked.utility >= max(option.utility for option in claim.options)
        for claim, picked in zip(claims, picks)
        if claim.options
    )


def _exits(picks: Sequence[Optional[Option]]) -> List[Optional[str]]:
    return [None if picked is None else picked.exit for picked in picks]


def _is(option: Option, picked: Optional[Option]) -> bool:
    return picked is not None and option.exit == picked.exit and option.stages == picked.stages


def _least_late(wanted: Tuple[Claim, Option]) -> Tuple[bool, float, int]:
    claim, option = wanted
    late = float("inf") if option.ms is None else option.ms
    return not claim.lacking, late, len(option.stages)


def _run(
    claim: Claim,
    option: Option,
    reason: str,
    left_ms: Optional[float],
    candidates: Tuple[Candidate, ...],
    then: Tuple[Next, ...] = (),
) -> Choice:
    gain = option.utility - claim.utility
    return Choice(
        claim.network, option.stages[0], option.exit, option.ms, gain, reason, left_ms, candidates, then
    )


def _index(claims: Sequence[Claim], network: str) -> int:
    return [claim.network for claim in claims].index(network)
