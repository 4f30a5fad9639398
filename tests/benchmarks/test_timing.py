"""Contenders take turns, and ratios are taken inside a round, so that a machine that slows down midway changes none."""

from collections.abc import Mapping

import pytest

from benchmarks.timing import Contender, Times, interleave


def contender(name: str, milliseconds: float, calls: list[str]) -> Contender:
    def run() -> Mapping[str, float]:
        calls.append(name)
        return {name: milliseconds}

    return run


def test_contenders_take_turns_and_the_first_run_of_a_turn_is_not_counted() -> None:
    calls: list[str] = []
    times = interleave({"a": contender("a", 1.0, calls), "b": contender("b", 2.0, calls)}, rounds=2, runs=3)
    assert "".join(calls) == "aaaabbbb" * 2
    assert times.rounds == {"a": [1.0, 1.0], "b": [2.0, 2.0]}


def test_a_ratio_does_not_change_when_the_machine_slows_down() -> None:
    steady, slowing = Times(), Times()
    for load in (1.0, 1.0, 1.0):
        steady.add("ours", 10 * load)
        steady.add("theirs", 40 * load)
    for load in (1.0, 3.0, 9.0):
        slowing.add("ours", 10 * load)
        slowing.add("theirs", 40 * load)
    assert steady.ratio(["ours"], ["theirs"]) == slowing.ratio(["ours"], ["theirs"]) == 0.25


def test_parts_are_summed_within_their_round() -> None:
    times = Times()
    for first, second in ((1.0, 5.0), (2.0, 1.0), (3.0, 3.0)):
        times.add("first", first)
        times.add("second", second)
    assert times.median("first", "second") == 6.0
    assert times.ratio(["first"], ["first", "second"]) == pytest.approx(0.5)
