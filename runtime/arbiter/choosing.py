"""Which network's stage runs next: pure decisions, from predictions and utilities; no clock, no device, no thread.

What is planned (`edgekit.runtime.arbiter.planning`) is planned again after every stage. Where not everything is sure to fit, plans
that are sure to fit are weighed against bolder ones by what they are worth on average.
"""

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from edgekit.runtime.arbiter.planning import ROUNDING, Claim, Option, Worth, levels, plan

# The shares of frames in which what is planned fits, with what stages take at most, and with what they take as often as not. A stage
# that does not make it costs no answer of its own network, but the time in which another one could have had a better one: at an
# even chance alone, two networks were seen to reach less than with half of the budget each where durations scatter widely. What
# is less sure is weighed by how often it would be in time.
SURE, EVEN = 0.9, 0.5


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
            ``chance`` (the same of a plan that is not sure to fit, and worth more on average than what is); of stopping:
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


def choose(
    claims: Sequence[Claim], left_ms: Optional[float], bold: Optional[Callable[[], Sequence[Claim]]] = None
) -> Choice:
    """The stage to run next.

    Args:
        claims: of all networks, with what stages take at most (in `SURE` of frames); one that is over has no options.
        left_ms: for stages; None without a budget.
        bold: the same with what they take as often as not. Where not everything is sure to fit, what is worth more on
            average is then planned. None plans only what is sure.
    """
    picks, chance = plan(claims, left_ms), False
    if bold is not None and left_ms is not None and left_ms > 0 and not _all_of(claims, picks):
        picks, chance = _bolder(claims, bold(), picks, left_ms)
    candidates = tuple(
        Candidate(claim.network, option.exit, option.ms, option.utility - claim.utility, _is(option, picked))
        for claim, picked in zip(claims, picks)
        for option in claim.options
    )
    steps = [_first_step(claim, picked) for claim, picked in zip(claims, picks) if picked is not None]
    if steps:
        step = max(steps)
        reason = "minimum" if step.minimum else "chance" if chance else "gain"
        return _run(claims[_index(claims, step.network)], step.option, reason, left_ms, candidates)
    wanted = [(claim, option) for claim in claims for option in claim.options]
    if not wanted:
        return Choice(None, None, None, None, 0.0, "final", left_ms, candidates)
    answered = any(claim.answered for claim in claims)
    if not answered and left_ms is not None and left_ms > 0:
        claim, option = min(wanted, key=_least_late)
        return _run(claim, option, "first", left_ms, candidates)
    return Choice(None, None, None, None, 0.0, "budget", left_ms, candidates)


def expected(
    claims: Sequence[Claim], bold: Sequence[Claim], picks: Sequence[Optional[Option]], left_ms: float
) -> Worth:
    """What a plan is worth on average, its exits reached in the order in which they would be run.

    What slows one stage slows those after it, so that all of them are slow, or quick, together; an exit is in time as often as
    what is left lies between what is needed as often as not (`EVEN`) and at most (`SURE`).
    """
    ways = [
        _Way(levels(claims).index(claim.priority), claim, even, picked)
        for claim, even, picked in zip(claims, bold, picks)
        if picked is not None
    ]
    priorities = len(levels(claims))
    minima, gains = [0.0] * priorities, [0.0] * priorities
    surely_ms = evenly_ms = 0.0
    while ways:
        way = max(ways, key=_Way.urgency)
        step = way.take()
        surely_ms, evenly_ms = surely_ms + step.ms, evenly_ms + step.even_ms
        often = _share(left_ms, evenly_ms, surely_ms)
        minima[way.level] += often * step.met
        gains[way.level] += often * step.gain
        ways = [one for one in ways if one.ahead]
    return Worth(tuple(minima), tuple(gains))


class _Ahead(NamedTuple):
    """An exit on a network's way to what is planned of it; times and gain from where it is."""

    ms: float
    even_ms: float
    gain: float
    met: bool


class _Way:
    """What is ahead of one network in a plan, in the steps in which `_first_step` would take them.

    Attributes:
        level: of its priority.
        ahead: the exits on its way, the planned one last.
    """

    def __init__(self, level: int, claim: Claim, even: Claim, picked: Option) -> None:
        self.level = level
        lacking = claim.lacking and picked.enough
        self.ahead = [
            _Ahead(
                option.ms or 0.0, likely.ms or 0.0, option.utility - claim.utility, lacking and option.enough
            )
            for option, likely in zip(claim.options, even.options)
            if option.stages == picked.stages[: len(option.stages)] and (option.enough or not lacking)
        ]
        self._lacking = lacking
        self._choose()

    def urgency(self) -> Tuple[bool, int, float]:
        """Larger is taken sooner."""
        return self._lacking, -self.level, self._per_ms

    def take(self) -> _Ahead:
        """Go to the next exit."""
        there = self.ahead[self._next]
        self.ahead = [
            _Ahead(one.ms - there.ms, one.even_ms - there.even_ms, one.gain - there.gain, False)
            for one in self.ahead[self._next + 1 :]
        ]
        self._lacking = False
        if self.ahead:
            self._choose()
        return there

    def _choose(self) -> None:
        rates = [one.gain / max(one.ms, 1e-6) for one in self.ahead]
        # What it must have is gone for first, else what gains most per ms
        self._next = 0 if self._lacking else rates.index(max(rates))
        self._per_ms = rates[self._next]


def _bolder(
    claims: Sequence[Claim], bold: Sequence[Claim], sure: Tuple[Optional[Option], ...], left_ms: float
) -> Tuple[Tuple[Optional[Option], ...], bool]:
    """The plan that is worth most on average, of what fits surely, as often as not, or half way between; whether it is not the
    sure one."""
    best, most = sure, expected(claims, bold, sure, left_ms)
    for middle in (False, True):
        picks = plan(_between(claims, bold) if middle else bold, left_ms)
        if _exits(picks) == _exits(best):
            continue
        worth = expected(claims, bold, picks, left_ms)
        if worth > most:
            best, most = picks, worth
    return best, best is not sure


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


def _share(left_ms: float, evenly_ms: float, surely_ms: float) -> float:
    """In how many frames something is in time."""
    if left_ms + ROUNDING < evenly_ms:
        return 0.0
    if left_ms + ROUNDING >= surely_ms:
        return SURE
    return EVEN + (SURE - EVEN) * max(left_ms - evenly_ms, 0.0) / (surely_ms - evenly_ms)


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
