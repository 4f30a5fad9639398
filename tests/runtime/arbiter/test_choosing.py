"""The arbiter's promises, over random networks, predictions, utilities and budgets."""

import itertools
from typing import List, NamedTuple, Optional, Sequence, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.runtime.arbiter import planning
from edgekit.runtime.arbiter.choosing import Choice, choose
from edgekit.runtime.arbiter.ordering import EVEN, SURE, expected, in_usual_order
from edgekit.runtime.arbiter.planning import Claim, Option, plan

# Whole numbers, so that sums are exact and ties come up.
stages = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20), st.booleans()), min_size=1, max_size=4)


class Network(NamedTuple):
    name: str
    priority: int
    minimum: Optional[int]  # the stage that it must reach at least
    ms: List[int]
    worth: List[int]  # after every stage
    exits: List[bool]

    def claim(self, done: int) -> Claim:
        reached = [k for k in range(done) if self.exits[k]]
        utility = self.worth[reached[-1]] if reached else 0
        lacking = self.minimum is not None and not any(k >= self.minimum for k in reached)
        options = [
            Option(
                f"stage{k}",
                tuple(f"stage{j}" for j in range(done, k + 1)),
                float(sum(self.ms[done : k + 1])),
                float(self.worth[k]),
                self.minimum is None or k >= self.minimum,
            )
            for k in range(done, len(self.ms))
            if self.exits[k]
        ]
        wanted = [one for one in options if one.utility > utility or (lacking and one.enough)]
        return Claim(self.name, self.priority, float(utility), lacking, tuple(wanted), bool(reached))


@st.composite
def networks(draw: st.DrawFn, most: int = 3, priorities: int = 2) -> List[Network]:
    found = []
    for number in range(draw(st.integers(1, most))):
        drawn = draw(stages)
        worth = list(itertools.accumulate(gain for _, gain, _ in drawn))
        exits = [has_exit for _, _, has_exit in drawn[:-1]] + [True]
        minimum = draw(st.none() | st.sampled_from([k for k, has_exit in enumerate(exits) if has_exit]))
        priority = draw(st.integers(0, priorities - 1))
        found.append(Network(f"net{number}", priority, minimum, [ms for ms, _, _ in drawn], worth, exits))
    return found


budgets = st.integers(1, 150)


def ends(nets: Sequence[Network]) -> List[Tuple[int, ...]]:
    """Every way to run some stages of each network, up to an exit."""
    return list(itertools.product(*[[0] + [k + 1 for k, one in enumerate(net.exits) if one] for net in nets]))


def took(nets: Sequence[Network], done: Sequence[int]) -> int:
    return sum(sum(net.ms[:count]) for net, count in zip(nets, done))


def utility(nets: Sequence[Network], done: Sequence[int], priority: Optional[int] = None) -> float:
    mine = [(net, count) for net, count in zip(nets, done) if priority is None or net.priority == priority]
    return sum(net.claim(count).utility for net, count in mine)


def minima(nets: Sequence[Network], done: Sequence[int]) -> int:
    """How many networks have what they must have at least."""
    return sum(net.minimum is not None and not net.claim(count).lacking for net, count in zip(nets, done))


def walk(nets: Sequence[Network], budget: float, real: float = 1.0) -> Tuple[List[int], float, List[Choice]]:
    """A frame whose stages take ``real`` of what was predicted: stages run of each network, the time, every choice."""
    done, now, choices = [0] * len(nets), 0.0, []
    while True:
        choice = choose([net.claim(count) for net, count in zip(nets, done)], budget - now)
        choices.append(choice)
        if choice.network is None:
            return done, now, choices
        number = [net.name for net in nets].index(choice.network)
        assert choice.stage == f"stage{done[number]}"  # stages run in order
        now += nets[number].ms[done[number]] * real
        done[number] += 1


def fits_at_all(nets: Sequence[Network], budget: float) -> bool:
    return any(0 < took(nets, end) <= budget and utility(nets, end) > 0 for end in ends(nets))


@given(networks(), budgets)
def test_what_runs_is_over_before_the_deadline_if_anything_could_be(nets: List[Network], budget: int) -> None:
    _, now, choices = walk(nets, budget)
    assert now <= budget or choices[0].reason == "first"


@settings(deadline=None)
@given(networks(), budgets)
def test_nothing_could_have_been_worth_more(nets: List[Network], budget: int) -> None:
    """Against every possible end of the frame: first the minima, then what is gained, the higher priority first."""

    def worth(done: Sequence[int]) -> Tuple[object, ...]:
        levels = sorted({net.priority for net in nets}, reverse=True)
        met = [
            minima(
                [net for net in nets if net.priority == level],
                [c for n, c in zip(nets, done) if n.priority == level],
            )
            for level in levels
        ]
        return (*met, *[utility(nets, done, level) for level in levels])

    done, _, choices = walk(nets, budget)
    if choices[0].reason == "first":
        return
    best = max(worth(end) for end in ends(nets) if took(nets, end) <= budget)
    assert worth(done) == best


@given(networks(), budgets)
def test_minima_are_honoured_whenever_they_all_fit(nets: List[Network], budget: int) -> None:
    least = [0 if net.minimum is None else net.minimum + 1 for net in nets]
    if took(nets, least) <= budget:
        done, _, _ = walk(nets, budget)
        assert all(not net.claim(count).lacking for net, count in zip(nets, done))


@given(networks(), budgets)
def test_minima_come_first(nets: List[Network], budget: int) -> None:
    """Whatever happens later, such as a stage that takes longer than expected, cannot cost what must be."""
    _, _, choices = walk(nets, budget)
    reasons = [choice.reason for choice in choices]
    assert "minimum" not in reasons[reasons.index("gain") :] if "gain" in reasons else True


@given(networks(most=2, priorities=1), budgets)
def test_never_less_than_one_after_the_other_with_half_the_budget_each(
    nets: List[Network], budget: int
) -> None:
    nets = [net._replace(minimum=None) for net in nets]
    halves = []
    for net in nets:
        count = 0
        for k, has_exit in enumerate(net.exits):
            if has_exit and sum(net.ms[: k + 1]) <= budget / len(nets):
                count = k + 1
        halves.append(count)
    done, _, _ = walk(nets, budget)
    assert utility(nets, done) >= utility(nets, halves)


@given(networks(), budgets, st.floats(0.1, 1.0))
def test_stages_that_take_less_than_predicted_leave_more_for_others(
    nets: List[Network], budget: int, real: float
) -> None:
    done, now, choices = walk(nets, budget, real)
    assert now <= budget + 1e-6 or choices[0].reason == "first"
    if choices[0].reason != "first" and len({net.priority for net in nets}) == 1:
        assert minima(nets, done) >= minima(nets, walk(nets, budget)[0])


@given(networks(priorities=1), budgets, budgets)
def test_more_time_is_never_worth_less(nets: List[Network], one: int, other: int) -> None:
    nets = [net._replace(minimum=None) for net in nets]
    less, more = sorted((one, other))
    if fits_at_all(nets, less):
        assert utility(nets, walk(nets, less)[0]) <= utility(nets, walk(nets, more)[0])


@given(networks())
def test_without_a_budget_everything_that_gains_runs(nets: List[Network]) -> None:
    done: List[int] = [0] * len(nets)
    while True:
        choice = choose([net.claim(count) for net, count in zip(nets, done)], None)
        if choice.network is None:
            break
        done[[net.name for net in nets].index(choice.network)] += 1
    assert choice.reason == "final"
    assert [net.claim(count).utility for net, count in zip(nets, done)] == [net.worth[-1] for net in nets]


@given(networks(), budgets)
def test_a_choice_tells_what_it_was_made_from(nets: List[Network], budget: int) -> None:
    for choice in walk(nets, budget)[2]:
        planned = [one for one in choice.candidates if one.planned]
        assert sum(one.predicted_ms or 0.0 for one in planned) <= max(choice.left_ms or 0.0, 0.0) + 1e-3
        assert len({one.network for one in planned}) == len(planned)
        if choice.network is not None:
            considered = [(one.network, one.exit, one.predicted_ms, one.gain) for one in choice.candidates]
            assert (choice.network, choice.exit, choice.predicted_ms, choice.gain) in considered


def test_two_cheap_exits_are_taken_before_one_dear_one_of_the_same_worth() -> None:
    def claim(name: str, *exits: Tuple[float, float]) -> Claim:
        options = [
            Option(f"stage{k}", tuple(f"stage{j}" for j in range(1, k + 1)), ms, worth)
            for k, (ms, worth) in enumerate(exits, 1)
        ]
        return Claim(name, 0, 0.0, False, tuple(options))

    # Greedily, the first exit of `dear` gains most per ms; together with it, nothing else would fit.
    claims = [claim("dear", (10.0, 0.6)), claim("cheap", (6.0, 0.34), (12.0, 0.7))]
    assert choose(claims, 12.0)[:3] == ("cheap", "stage1", "stage2")
    assert choose(claims, 16.0)[:2] == ("dear", "stage1")


def _depth_and_signs(depth_ms: float) -> List[Claim]:
    depth = Claim("depth", 0, 0.0, False, (Option("stage1", ("stage1",), depth_ms, 0.53),))
    signs = Claim(
        "signs",
        0,
        0.85,
        False,
        (Option("stage4", ("stage4",), 0.4, 0.93), Option("stage5", ("stage4", "stage5"), 0.7, 1.0)),
        True,
    )
    return [depth, signs]


def test_what_just_does_not_fit_surely_is_weighed_by_how_often_it_would() -> None:
    sure, bold = _depth_and_signs(11.4), _depth_and_signs(10.3)
    assert choose(sure, 11.3).exit == "stage5"  # what is sure is worth 0.15
    choice = choose(sure, 11.3, lambda: bold)
    planned = [(one.network, one.exit) for one in choice.candidates if one.planned]
    assert ("depth", "stage1") in planned and choice.reason == "chance"
    assert (
        choose(sure, 10.0, lambda: bold).reason == "gain"
    )  # it would be in time in fewer than every other frame
    assert choose(sure, 13.0, lambda: bold).reason == "gain"  # everything is sure to fit


def test_a_plan_is_worth_its_exits_times_how_often_each_is_in_time() -> None:
    sure, bold = _depth_and_signs(12.0), _depth_and_signs(10.0)
    order = in_usual_order(sure, bold, [sure[0].options[0], sure[1].options[1]])
    # signs first, which gains most per ms: 0.7 ms; depth is then in time in between: half way from 10.7 to 12.7 ms. What has far
    # more time than it surely takes is hardly ever late.
    assert [(step.network, step.option.exit) for step in order] == [("signs", "stage5"), ("depth", "stage1")]
    assert SURE * 0.15 < expected(order[:1], [0], 11.7).gains[0] < 0.15
    assert expected(order[1:], [0], 11.0).gains[0] == pytest.approx((SURE + EVEN) / 2 * 0.53)
    assert expected(order, [0], 11.7).gains[0] == pytest.approx(0.15 + (SURE + EVEN) / 2 * 0.53, abs=1e-3)
    assert expected(order, [0], 10.6).gains[0] == pytest.approx(0.15, abs=1e-3)


def test_a_long_stage_comes_before_short_ones_that_would_make_it_late() -> None:
    """signs gains more per ms, but less in all: what comes last is lost where time runs short."""
    sure, bold = _depth_and_signs(11.4), _depth_and_signs(10.3)
    assert choose(sure, 30.0, lambda: bold)[:2] == ("signs", "stage4")
    assert choose(sure, 11.6, lambda: bold)[:2] == ("depth", "stage1")
    first = [
        claim._replace(priority=k) for k, claim in enumerate(sure)
    ]  # signs is not to be put at risk by depth
    second = [claim._replace(priority=k) for k, claim in enumerate(bold)]
    assert choose(first, 11.6, lambda: second).network == "signs"


def test_time_that_nothing_else_can_use_is_spent_on_what_is_seldom_in_time() -> None:
    sure, bold, spare = (_depth_and_signs(ms)[:1] for ms in (11.4, 10.3, 9.7))
    answered = [one[0]._replace(utility=0.1, answered=True) for one in (sure, bold, spare)]
    assert choose(answered[:1], 10.0, lambda: answered[1:2]).reason == "budget"
    tried = choose(answered[:1], 10.0, lambda: answered[1:2], lambda: answered[2:])
    assert tried[:2] == ("depth", "stage1") and tried.reason == "chance"
    assert choose(answered[:1], 9.0, lambda: answered[1:2], lambda: answered[2:]).reason == "budget"


def test_a_choice_tells_what_comes_right_after_it_of_the_same_network() -> None:
    (then,) = choose(_depth_and_signs(11.4), 20.0).then
    assert then.stage == "stage5" and (then.ms, then.gain) == pytest.approx((0.3, 0.07))
    assert choose(_depth_and_signs(11.4), 0.5).then == ()  # only stage4 is planned


def test_without_any_answer_the_least_late_exit_is_tried_and_nothing_once_there_is_one() -> None:
    slow = Claim("slow", 0, 0.0, False, (Option("stage1", ("stage1",), 50.0, 1.0),))
    slower = Claim("slower", 0, 0.0, False, (Option("stage1", ("stage1",), 70.0, 9.0),))
    assert choose([slower, slow], 20.0)[:2] == ("slow", "stage1")
    assert choose([slower, slow], 20.0).reason == "first"
    assert choose([slower, slow._replace(utility=0.5, answered=True)], 20.0).reason == "budget"
    assert choose([slower, slow], 0.0).reason == "budget"


def test_a_stage_that_never_ran_is_not_begun_within_a_budget_but_for_a_first_answer() -> None:
    unknown = Claim("new", 0, 0.0, False, (Option("stage1", ("stage1",), None, 1.0),))
    known = Claim("known", 0, 0.0, False, (Option("stage1", ("stage1",), 5.0, 0.1),))
    assert choose([unknown, known], 20.0).network == "known"
    assert choose([unknown], 20.0)[:2] == ("new", "stage1")
    assert choose([unknown, known], None).network is not None


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5),
        min_size=4,
        max_size=6,
    ),
    budgets,
)
def test_many_networks_are_planned_in_bounded_memory_and_nearly_as_well(
    drawn: List[List[Tuple[int, int]]], budget: int
) -> None:
    claims = []
    for number, each in enumerate(drawn):
        ms, worth = (
            list(itertools.accumulate(a for a, _ in each)),
            list(itertools.accumulate(b for _, b in each)),
        )
        options = [
            Option(f"stage{k}", tuple(map(str, range(k + 1))), float(ms[k]), float(worth[k]))
            for k in range(len(each))
        ]
        claims.append(Claim(f"net{number}", 0, 0.0, False, tuple(options)))

    def reached() -> float:
        picks = [pick for pick in plan(claims, float(budget)) if pick is not None]
        assert sum(pick.ms or 0.0 for pick in picks) <= budget
        return sum(pick.utility for pick in picks)

    exact = reached()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "MOST_SETS", 64)
        assert reached() >= 0.8 * exact
