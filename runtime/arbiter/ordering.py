"""In which order the exits of a plan are reached, and what it is worth in that order if stages take longer than they should.

No clock, no device, no thread. Usually what gains most per ms comes first. But whatever comes last is what is lost if time runs short:
where a long stage is likely to be that, it may be better to have it before a few short ones that gain more per ms and less in all.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

from edgekit.runtime.arbiter.planning import ROUNDING, Claim, Option, Worth, levels

# The shares of frames in which what is planned fits, with what stages take at most, and with what they take as often as not. A stage
# that does not make it costs no answer of its own network, but the time in which another one could have had a better one: at an
# even chance alone, two networks were seen to reach less than with half of the budget each where durations scatter widely. What
# is less sure is weighed by how often it would be in time.
SURE, EVEN = 0.9, 0.5
# What has that many times the time that it surely takes is late so seldom that no order needs to be compared.
AMPLE = 1.5


class Step(NamedTuple):
    """The way from one exit to the next that is gone for on the way to a planned one.

    Attributes:
        minimum: it is what the network must have.
        priority, per_ms, network: what is larger, from left to right, comes first.
        option: its exit, from where the network is now.
        ms, even_ms, gain: what it takes at most and as often as not, and gains, from the exit before it.
        met: a minimum is reached by it.
    """

    minimum: bool
    priority: int
    per_ms: float
    network: str
    option: Option
    ms: float
    even_ms: float
    gain: float
    met: bool


def in_usual_order(
    claims: Sequence[Claim], bold: Sequence[Claim], picks: Sequence[Optional[Option]]
) -> List[Step]:
    """The steps to what is planned: minima first, then the higher priority, then what gains most per ms."""
    ways = [
        _way(claim, even, picked) for claim, even, picked in zip(claims, bold, picks) if picked is not None
    ]
    order: List[Step] = []
    while ways:
        best = max(ways, key=lambda way: way[0][:4])
        order.append(best.pop(0))
        ways = [way for way in ways if way]
    return order


def ample(picks: Sequence[Optional[Option]], left_ms: float) -> bool:
    """Whether what is planned, by what it takes at most, has so much time that no order needs to be compared."""
    return sum(picked.ms or 0.0 for picked in picks if picked is not None) * AMPLE <= left_ms


def in_best_order(
    claims: Sequence[Claim], bold: Sequence[Claim], picks: Sequence[Optional[Option]], left_ms: float
) -> Tuple[List[Step], Worth]:
    """The order of a plan that is worth most on average, and what it is worth.

    Besides the usual one, those are compared in which the next step of another network is taken now, or after one of the first's:
    later ones are when it is that late.
    """
    usual = in_usual_order(claims, bold, picks)
    priorities = levels(claims)
    best, most = usual, expected(usual, priorities, left_ms)
    seen = {usual[0].network} if usual else set()
    for place, step in enumerate(usual):
        if step.network in seen or step[:2] != usual[0][:2]:
            continue
        seen.add(step.network)
        for earlier in {0, 1} - {place}:
            order = usual[:earlier] + [step] + usual[earlier:place] + usual[place + 1 :]
            worth = expected(order, priorities, left_ms)
            if worth > most:
                best, most = order, worth
    return best, most


def expected(order: Sequence[Step], priorities: Sequence[int], left_ms: float) -> Worth:
    """What it is worth on average to take these steps in this order, ``priorities`` being all that there are, the highest first.

    What slows one stage slows those after it, so that all of them are slow, or quick, together; an exit is in time as often as
    what is left lies between what is needed as often as not (`EVEN`) and at most (`SURE`).
    """
    minima, gains = [0.0] * len(priorities), [0.0] * len(priorities)
    surely_ms = evenly_ms = 0.0
    for step in order:
        surely_ms, evenly_ms = surely_ms + step.ms, evenly_ms + step.even_ms
        often = _share(left_ms + ROUNDING, evenly_ms, surely_ms)
        level = priorities.index(step.priority)
        minima[level] += often * step.met
        gains[level] += often * step.gain
    return Worth(tuple(minima), tuple(gains))


def _way(claim: Claim, even: Claim, picked: Option) -> List[Step]:
    """One network's steps to what is planned of it: what gains most per ms is the next exit to go for."""
    lacking = claim.lacking and picked.enough
    ahead = [
        (option.ms or 0.0, likely.ms or 0.0, option.utility - claim.utility, option)
        for option, likely in zip(claim.options, even.options)
        if option.stages == picked.stages[: len(option.stages)] and (option.enough or not lacking)
    ]
    steps: List[Step] = []
    at_ms = at_even = at_gain = 0.0
    while ahead:
        # Without a budget, durations may be unknown.
        rates = [(gain - at_gain) / max(ms - at_ms, 1e-6) for ms, _, gain, _ in ahead]
        # The way to what it must have is gone to its end, whatever lies on it.
        number = 0 if lacking else rates.index(max(rates))
        ms, even_ms, gain, option = ahead[number]
        steps.append(
            Step(
                lacking,
                claim.priority,
                rates[number],
                claim.network,
                option,
                ms - at_ms,
                even_ms - at_even,
                gain - at_gain,
                lacking,
            )
        )
        at_ms, at_even, at_gain, lacking = ms, even_ms, gain, False
        ahead = ahead[number + 1 :]
    return steps


def _share(left_ms: float, evenly_ms: float, surely_ms: float) -> float:
    """In how many frames something is in time: all but few of them where twice the time is left that it surely takes."""
    if left_ms < evenly_ms:
        return 0.0
    if left_ms >= surely_ms:
        return 1 - (1 - SURE) * (surely_ms / left_ms) ** 2
    return EVEN + (SURE - EVEN) * (left_ms - evenly_ms) / (surely_ms - evenly_ms)
