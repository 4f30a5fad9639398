"""Two sessions under one budget: what is answered, when, and what is said of why. On a virtual clock, and for real."""

import gc
import os
import threading
from contextlib import ExitStack
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError, InputError, OptionError
from edgekit.runtime import Arbiter, Share
from edgekit.runtime.arbiter.arbiter import SPENT
from edgekit.runtime.clock import Clock
from edgekit.runtime.policies import Policy, Reached
from edgekit.runtime.session import Session
from edgekit.runtime.trace import trace
from tests.runtime.arbiter.doubles import DEPTH, SIGNS, Robot


@pytest.fixture
def robot(stereo_bundle: Bundle, classifier_bundle: Bundle) -> Iterator[Robot]:
    made = Robot(stereo_bundle, classifier_bundle)
    yield made
    made.close()


def test_the_budget_is_spent_where_it_gains_most(robot: Robot) -> None:
    arbiter = robot.arbiter()
    # 4/7 and 6/7 of depth's worth for 10 ms each, 2/3 of signs' for 4; its last stage would gain 1/3 for 30.
    shared = arbiter.infer(30, **robot.inputs())
    assert {name: result.stage for name, result in shared.results.items()} == {
        "depth": "stage2",
        "signs": "stage1",
    }
    assert shared.utility == pytest.approx(6 / 7 + 2 / 3)
    assert shared.reason == "budget"
    assert shared.elapsed_ms == pytest.approx(24) and not shared.missed


def test_short_stages_follow_without_a_choice_of_their_own_unless_one_before_was_late(robot: Robot) -> None:
    arbiter = robot.arbiter()
    for _ in range(5):
        arbiter.infer(400, **robot.inputs())
    shared = arbiter.infer(400, **robot.inputs())
    assert {one.reason for one in shared.results.values()} == {"final"}
    chosen = [made.ran for made in shared.choices if made.choice.candidates]
    followed = [made.ran for made in shared.choices if not made.choice.candidates]
    assert "stage2" in followed and "stage2" not in chosen[:1]
    robot.later = {"depth": {name: 4 * ms for name, ms in DEPTH.items()}}
    late = arbiter.infer(400, **robot.inputs())
    depth = [made for made in late.choices if made.choice.network == "depth" and made.ran != "inputs"]
    assert depth[0].ran == "stage1" and depth[1].choice.candidates  # it took four times as long: chosen anew


def test_what_comes_beside_every_stage_counts_as_its_own_time(robot: Robot) -> None:
    arbiter = robot.arbiter()
    for _ in range(100):
        arbiter._pace.beside(6.0)
    choice = arbiter.infer(30, **robot.inputs()).choices[0].choice
    predicted = {(one.network, one.exit): one.predicted_ms for one in choice.candidates}
    assert predicted["depth", "stage2"] == pytest.approx(2 * (10 + 6), rel=0.3)
    assert [one.exit for one in choice.candidates if one.planned and one.network == "depth"] == ["stage1"]


def test_weights_and_utilities_move_it(robot: Robot) -> None:
    arbiter = robot.arbiter(signs={"weight": 9.0, "utilities": [0.1, 1.0]})
    shared = arbiter.infer(48, **robot.inputs())
    assert {name: result.stage for name, result in shared.results.items()} == {
        "depth": "stage1",
        "signs": "stage2",
    }


def test_a_minimum_comes_before_what_would_gain_more(robot: Robot) -> None:
    arbiter = robot.arbiter(signs={"weight": 0.01, "minimum": "stage2"})
    shared = arbiter.infer(50, **robot.inputs())
    assert shared.results["signs"].stage == "stage2" and shared.results["depth"].stage == "stage1"
    assert [made.choice.reason for made in shared.choices][:3] == ["minimum"] * 3
    assert shared.lacking == ()
    assert arbiter.infer(30, **robot.inputs()).lacking == ("signs",)


def test_a_higher_priority_gets_all_that_it_can_use(robot: Robot) -> None:
    arbiter = robot.arbiter(signs={"weight": 0.01, "priority": 1})
    shared = arbiter.infer(42, **robot.inputs())
    assert {name: result.stage for name, result in shared.results.items()} == {
        "depth": None,
        "signs": "stage2",
    }


def test_without_a_budget_everything_runs(robot: Robot) -> None:
    shared = robot.arbiter().infer(**robot.inputs())
    assert shared.reason == "final" and shared.utility == pytest.approx(2.0)
    assert shared.slack_ms is None and not shared.missed
    assert [result.reason for result in shared.results.values()] == ["final", "final"]


def test_a_stage_that_takes_ten_times_as_long_is_cancelled_and_the_answers_are_in_time(robot: Robot) -> None:
    arbiter = robot.arbiter()
    robot.later["depth"] = {"stage2": 100.0}
    shared = arbiter.infer(30, **robot.inputs())
    assert shared.elapsed_ms <= 30 and not shared.missed
    assert {name: result.stage for name, result in shared.results.items()} == {
        "depth": "stage1",
        "signs": "stage1",
    }


def test_an_answer_that_is_good_enough_leaves_its_time_to_others(robot: Robot) -> None:
    class Sure(Policy):
        def stop(self, reached: Reached) -> Optional[str]:
            return "confident"

    shared = robot.arbiter(policies={"signs": [Sure()]}).infer(80, **robot.inputs())
    assert shared.results["signs"].reason == "confident" and shared.results["signs"].stage == "stage1"
    assert shared.results["depth"].stage == "stage4"
    assert shared.reason == "final"


def test_a_network_that_fails_does_not_take_the_other_with_it(robot: Robot) -> None:
    arbiter = robot.arbiter()
    robot.backends["depth"].failing = {"stage1"}
    shared = arbiter.infer(80, **robot.inputs())
    assert shared.results["depth"].output is None and "stage1 broke" in str(shared.results["depth"].error)
    assert shared.results["signs"].stage == "stage2" and shared.reason == "final"
    robot.backends["signs"].failing = {"stage1"}
    assert arbiter.infer(80, **robot.inputs()).reason == "error"
    for backend in robot.backends.values():
        backend.failing.clear()
    assert arbiter.infer(80, **robot.inputs()).utility == pytest.approx(2.0)


def test_exits_are_told_as_soon_as_they_are_there(robot: Robot) -> None:
    told: List[object] = []
    arbiter = robot.arbiter()
    arbiter.infer(
        40,
        on_exit=lambda name, result: told.append((name, result.stage, result.elapsed_ms)),
        **robot.inputs(),
    )
    assert told == [("signs", "stage1", 4.0), ("depth", "stage1", 14.0), ("depth", "stage2", 24.0)]


def test_a_network_without_inputs_is_left_out_of_the_frame(robot: Robot) -> None:
    shared = robot.arbiter().infer(30, depth=robot.inputs()["depth"])
    assert list(shared.results) == ["depth"] and robot.backends["signs"].begun == []


def test_a_network_that_was_too_slow_to_run_hears_from_the_other_that_the_device_is_fast_again(
    robot: Robot,
) -> None:
    arbiter = robot.arbiter(depth={"weight": 5.0})
    inputs = robot.inputs()
    for _ in range(40):  # so that a few frames in which the device's pace changes do not decide
        arbiter.infer(25, **inputs)
    robot.later = {
        "depth": {name: 3 * ms for name, ms in DEPTH.items()},
        "signs": {name: 3 * ms for name, ms in SIGNS.items()},
    }
    for _ in range(4):
        slow = arbiter.infer(25, **inputs)
    assert slow.results["depth"].stage is None
    robot.later = {}
    after = [arbiter.infer(25, **inputs).results["depth"].stage for _ in range(5)]
    assert after[-1] is not None


def test_a_network_whose_inputs_once_took_long_to_make_ready_is_tried_again(robot: Robot) -> None:
    arbiter = robot.arbiter()
    for _ in range(3):
        arbiter.members[1].prepared(500.0)
    reached = [arbiter.infer(30, **robot.inputs()).results["signs"].stage for _ in range(200)]
    assert reached[0] is None and reached[-1] == "stage1"


def test_a_network_whose_stages_were_slow_a_few_times_is_tried_again_at_an_even_chance(robot: Robot) -> None:
    arbiter = robot.arbiter()
    arbiter.members[1].bold = 0.99  # as of a backend that cannot cancel
    stages = robot.opened[1].plan.stages
    stages.start("stage1", [4.0] * 20 + [400.0] * 8)
    for stage, ms in DEPTH.items():  # so well known that all of it is sure to fit, and leaves no time
        robot.opened[0].plan.stages.start(stage, [ms] * 100)
    assert arbiter.infer(42, **robot.inputs()).results["signs"].stage is None
    reached = [arbiter.infer(42, **robot.inputs()).results["signs"].stage for _ in range(100)]
    assert "stage1" in reached


def test_what_is_not_sure_to_fit_is_tried_where_it_is_worth_more_on_average(robot: Robot) -> None:
    arbiter = robot.arbiter()
    robot.opened[1].plan.stages.start("stage1", [4.0] * 20 + [400.0] * 8)
    shared = arbiter.infer(30, **robot.inputs())
    assert shared.results["depth"].stage == "stage2" and shared.results["signs"].stage == "stage1"
    assert [made.choice.reason for made in shared.choices if made.ran == "stage1"] == ["chance", "chance"]
    assert any("worth more on average" in line for line in shared.explain())
    robot.later["signs"] = {"stage1": 400.0}
    unlucky = arbiter.infer(30, **robot.inputs())
    assert unlucky.results["depth"].stage == "stage2" and not unlucky.missed


def test_a_caller_who_came_back_late_sets_out_earlier_from_then_on_and_not_too_early(robot: Robot) -> None:
    arbiter = robot.arbiter()
    robot.later["depth"] = {"stage1": 60.0}
    assert arbiter.infer(40, depth=robot.inputs()["depth"]).elapsed_ms == 40
    for _ in range(1024):
        arbiter._returns.add(0.5)
    for _ in range(3):  # once in a thousand frames
        arbiter._returns.add(1.4)
    shared = arbiter.infer(40, **robot.inputs())
    assert shared.elapsed_ms == pytest.approx(40 - 2 * 1.4) and shared.results["signs"].stage == "stage1"
    for _ in range(3):
        arbiter._returns.add(100.0)  # a machine that stalled
    assert arbiter.infer(40, **robot.inputs()).elapsed_ms == pytest.approx(40 * (1 - SPENT["normal"]))


def test_a_caller_who_waits_for_a_tick_of_the_kernels_behind_his_stage_sets_out_that_much_earlier(
    robot: Robot,
) -> None:
    arbiter = robot.arbiter()
    for number in range(1024):
        arbiter._returns.add(*((4.0,) if number % 30 == 0 else (0.2, 10.0)))
    robot.later["depth"] = {"stage1": 60.0}
    shared = arbiter.infer(33, **robot.inputs())
    assert shared.elapsed_ms < 33 - 4.0 and shared.results["signs"].stage is not None


def test_every_choice_is_explained_and_drawn(robot: Robot) -> None:
    shared = robot.arbiter(depth={"minimum": "stage1"}).infer(30, **robot.inputs())
    lines = shared.explain()
    assert len(lines) == len(shared.choices)
    assert "its minimum" in lines[0] and "nothing that gains is expected to be in time" in lines[-1]
    assert shared.to_json()["stages"] == {"depth": "stage2", "signs": "stage1"}
    labels = [
        f"{name} {stage}" for name in ("depth", "signs") for stage in ("stage1", "stage2", "stage3", "stage4")
    ]
    events = trace([shared.timeline()], labels, {})["traceEvents"]
    assert isinstance(events, list)
    drawn = [event["name"] for event in events if event["ph"] == "X"]
    assert "depth stage2" in drawn and "signs stage1" in drawn


def test_terms_that_do_not_fit_are_refused(robot: Robot) -> None:
    robot.arbiter()
    depth = robot.opened[0]
    for shares, words in (
        ({}, "needs sessions"),
        ([depth], "needs sessions by name"),
        ({"a": "net.edgekit"}, "is no session"),
        ({"a": Share(depth, weight="2")}, "weight"),
        ({"a": Share(depth, priority="high")}, "whole number"),
        ({"a": Share(depth, utilities=3)}, "one for each"),
        ({"a": depth, "b": depth}, "different"),
        ({"a": Share(depth, minimum="stage3")}, "stage3"),
        ({"a": Share(depth, weight=0.0)}, "weight"),
        ({"a": Share(depth, utilities=[1.0])}, "one for each"),
        ({"a": Share(depth, utilities=[0.5, 0.4, 1.0])}, "stage2"),
        ({"a": Share(depth, utilities={"stage1": 1.0, "stage3": 1.0})}, "stage3"),
        ({"a": Share(depth, utilities=[0.1, float("nan"), 1.0])}, "stage2=nan"),
    ):
        with pytest.raises(OptionError, match=words):
            Arbiter(shares)  # type: ignore[arg-type]


def test_a_wrong_call_is_refused_and_the_next_one_answered(robot: Robot) -> None:
    arbiter = robot.arbiter()
    inputs = robot.inputs()
    with pytest.raises(OptionError, match="budget_ms"):
        arbiter.infer(-1, **inputs)
    with pytest.raises(OptionError, match="'sings'"):
        arbiter.infer(30, sings=inputs["signs"])
    with pytest.raises(OptionError, match="no inputs"):
        arbiter.infer(30)
    with pytest.raises(InputError, match="depth: give its inputs by name"):
        arbiter.infer(30, depth=inputs["depth"]["left"])
    with pytest.raises(OptionError, match="must be a function"):
        arbiter.infer(30, "print", **inputs)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="right is missing"):
        arbiter.infer(30, depth={"left": inputs["depth"]["left"]})
    assert arbiter.infer(30, **inputs).utility > 1
    passed = arbiter.infer_by(robot.clock.now() - 1, **inputs)
    assert passed.missed and passed.utility == 0


def test_a_closed_arbiter_says_so_and_leaves_the_sessions_open(robot: Robot) -> None:
    arbiter = robot.arbiter()
    robot.clock.leave()
    arbiter.close()
    arbiter.close()
    with pytest.raises(EdgekitError, match="closed"):
        arbiter.infer(30, **robot.inputs())


# --- For real ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(stereo_bundle: Bundle, classifier_bundle: Bundle) -> Iterator[Arbiter]:
    with Session.open(stereo_bundle.path, threads=1) as depth, Session.open(
        classifier_bundle.path, threads=1
    ) as signs, Arbiter({"depth": depth, "signs": signs}) as arbiter:
        yield arbiter


def _pictures() -> Dict[str, Mapping[str, object]]:
    random = np.random.RandomState(0)
    left, right = (random.randint(0, 256, (14, 30, 3)).astype(np.uint8) for _ in range(2))
    return {
        "depth": {"left": left, "right": right},
        "signs": {"image": random.randn(1, 500).astype(np.float32)},
    }


def test_pictures_are_answered_as_by_the_sessions_alone(
    real: Arbiter, stereo_bundle: Bundle, classifier_bundle: Bundle
) -> None:
    inputs = _pictures()
    shared = real.infer(**inputs)
    for name, bundle in (("depth", stereo_bundle), ("signs", classifier_bundle)):
        with Session.open(bundle.path, threads=1) as alone:
            expected = alone.infer(**inputs[name])
        np.testing.assert_allclose(shared.results[name].output, expected.output, rtol=1e-5, atol=1e-6)


def test_threads_take_turns(real: Arbiter) -> None:
    inputs = _pictures()
    found: List[float] = []
    threads = [threading.Thread(target=lambda: found.append(real.infer(**inputs).utility)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [pytest.approx(2.0)] * 4


def test_a_callback_that_raises_is_the_callers_error_and_the_arbiter_goes_on(real: Arbiter) -> None:
    def broken(name: str, result: object) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        real.infer(on_exit=broken, **_pictures())
    assert real.infer(**_pictures()).utility == pytest.approx(2.0)


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="this system has no SCHED_FIFO")
def test_a_realtime_caller_goes_on_as_he_waited_and_is_what_he_was_a_little_later(
    stereo_bundle: Bundle, classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither being lowered nor Python's looking for garbage is to cost him time on his way back."""
    made: List[Tuple[int, int]] = []  # thread and policy of every change; 0 is the calling one

    def change(thread: int, policy: int, parameters: os.sched_param) -> None:
        made.append((thread, policy & ~os.SCHED_RESET_ON_FORK))

    monkeypatch.setattr(os, "sched_setscheduler", change)
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {0, 1})
    own = int(os.path.basename(os.readlink("/proc/thread-self")))
    with ExitStack() as opened:
        sessions = {
            name: opened.enter_context(Session.open(bundle.path, threads=1, warmup=1))
            for name, bundle in (("depth", stereo_bundle), ("signs", classifier_bundle))
        }
        with Arbiter(sessions, priority="realtime") as arbiter:
            monkeypatch.setattr("edgekit.runtime.arbiter.arbiter.GONE_MS", 1e7)
            arbiter.infer(1000, **_pictures())
            assert (own, os.SCHED_OTHER) not in made and not gc.isenabled()
        assert (own, os.SCHED_OTHER) in made and gc.isenabled()


def test_sessions_on_different_clocks_are_refused(stereo_bundle: Bundle, classifier_bundle: Bundle) -> None:
    class Other(Clock):
        pass

    other = Session.open(classifier_bundle.path, threads=1, clock=Other())
    refused = pytest.raises(OptionError, match="one clock")
    with Session.open(stereo_bundle.path, threads=1) as depth, other as signs, refused:
        Arbiter({"depth": depth, "signs": signs})
