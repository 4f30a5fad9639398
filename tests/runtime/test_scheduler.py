"""The scheduler's promises, over random networks, durations and deadlines."""

from typing import Dict, List, NamedTuple, Optional, Tuple

from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.scheduler import Decision, Scheduler

durations = st.floats(min_value=0.01, max_value=100, allow_nan=False)
networks = st.lists(st.tuples(st.booleans(), durations, durations), min_size=1, max_size=8)
budgets = st.floats(min_value=0.01, max_value=1000)


class Network(NamedTuple):
    stages: List[Tuple[str, bool]]
    real: Dict[str, float]
    model: LatencyModel
    scheduler: Scheduler


def network(drawn: List[Tuple[bool, float, float]]) -> Network:
    """Stages with or without an exit (the last one has one), what they were measured at, and what they really take."""
    stages = [(f"stage{k + 1}", has_exit) for k, (has_exit, _, _) in enumerate(drawn)]
    stages[-1] = (stages[-1][0], True)
    model = LatencyModel([name for name, _ in stages])
    for (name, _), (_, measured, _) in zip(stages, drawn):
        model.start(name, [measured] * 3)
    real = {name: took for (name, _), (_, _, took) in zip(stages, drawn)}
    return Network(stages, real, model, Scheduler(stages, model))


def walk(net: Network, budget: Optional[float]) -> Tuple[List[Decision], float]:
    """The decisions of one frame that starts at 0, and the instant of the last one."""
    now, decisions = 0.0, []
    while True:
        decision = net.scheduler.next(now, budget, len(decisions))
        decisions.append(decision)
        if not decision.run or decision.stage is None:
            return decisions, now
        now += net.real[decision.stage]


def exits(net: Network, decisions: List[Decision]) -> List[str]:
    return [name for (name, has_exit), decision in zip(net.stages, decisions) if has_exit and decision.run]


@given(networks, budgets)
def test_after_the_first_answer_no_stage_is_started_that_is_not_expected_to_fit(
    drawn: List[Tuple[bool, float, float]], budget: float
) -> None:
    net = network(drawn)
    now, answered = 0.0, False
    for k, decision in enumerate(walk(net, budget)[0]):
        if not decision.run or decision.stage is None:
            break
        predicted = net.model.predict(decision.stage)
        assert predicted is not None
        assert not answered or now + predicted <= budget
        now += net.real[decision.stage]
        answered = answered or net.stages[k][1]


@given(networks, budgets)
def test_when_stages_take_no_longer_than_predicted_only_the_first_answer_can_be_late(
    drawn: List[Tuple[bool, float, float]], budget: float
) -> None:
    net = network([(has_exit, measured, min(took, measured)) for has_exit, measured, took in drawn])
    decisions, end = walk(net, budget)
    assert len(exits(net, decisions)) <= 1 or end <= budget


@given(networks, budgets)
def test_an_answer_is_always_worked_for_and_stages_run_in_order(
    drawn: List[Tuple[bool, float, float]], budget: float
) -> None:
    net = network(drawn)
    decisions, _ = walk(net, budget)
    ran = [decision.stage for decision in decisions if decision.run]
    assert ran == [name for name, _ in net.stages[: len(ran)]]
    assert exits(net, decisions)


@given(networks, budgets)
def test_when_stages_take_no_longer_than_predicted_no_work_is_begun_that_leads_to_no_answer(
    drawn: List[Tuple[bool, float, float]], budget: float
) -> None:
    net = network([(has_exit, measured, min(took, measured)) for has_exit, measured, took in drawn])
    decisions, _ = walk(net, budget)
    last = sum(decision.run for decision in decisions) - 1
    assert net.stages[last][1]


@given(networks, budgets, budgets)
def test_more_time_never_gives_a_worse_answer(
    drawn: List[Tuple[bool, float, float]], one: float, other: float
) -> None:
    # The same durations on both sides, and each stage takes what it was measured at.
    net = network([(has_exit, measured, measured) for has_exit, measured, _ in drawn])
    less, more = sorted((one, other))
    assert len(exits(net, walk(net, less)[0])) <= len(exits(net, walk(net, more)[0]))


@given(networks)
def test_without_a_deadline_every_stage_runs(drawn: List[Tuple[bool, float, float]]) -> None:
    net = network(drawn)
    decisions, _ = walk(net, None)
    assert [decision.run for decision in decisions] == [True] * len(net.stages) + [False]
    assert decisions[-1].reason == "final"


def test_a_stage_without_an_exit_runs_only_if_the_next_exit_fits_too() -> None:
    net = network([(True, 1, 1), (False, 1, 1), (True, 50, 50)])
    decisions, _ = walk(net, 30)
    assert [decision.stage for decision in decisions if decision.run] == ["stage1"]
    assert decisions[-1].reason == "budget"


def test_a_stage_whose_duration_nobody_knows_waits_for_a_frame_without_a_deadline() -> None:
    model = LatencyModel(["stage1", "stage2"])
    scheduler = Scheduler([("stage1", True), ("stage2", True)], model)
    assert scheduler.next(0, 100, 0).run
    assert not scheduler.next(1, 100, 1).run
    assert scheduler.next(1, None, 1).run


def test_stages_behind_the_last_exit_never_run() -> None:
    model = LatencyModel(["stage1", "stage2"])
    scheduler = Scheduler([("stage1", True), ("stage2", False)], model)
    assert scheduler.next(0, None, 1) == Decision(False, None, None, "final")
