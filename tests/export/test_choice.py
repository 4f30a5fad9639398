"""Equal graphs are chosen by measuring: in turns, a tie keeps the simpler one, and what was measured stays with the bundle."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import edgekit
from edgekit.export.choice import choose, table, take_turns
from edgekit.export.exporter import run
from edgekit.export.request import Request
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions


def test_candidates_take_turns_and_the_first_run_of_a_turn_does_not_count() -> None:
    calls: list[str] = []
    now = [0.0]

    def candidate(name: str, seconds: float) -> object:
        def run() -> None:
            now[0] += seconds * (10 if not calls or calls[-1] != name else 1)  # a cold run is slow
            calls.append(name)

        return run

    times = take_turns({"a": candidate("a", 2e-3), "b": candidate("b", 1e-3)}, 3, 2, lambda: now[0])  # type: ignore[dict-item]
    assert calls == ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3
    assert np.allclose(times["a"], [2.0] * 3) and np.allclose(times["b"], [1.0] * 3)


@pytest.mark.parametrize(
    ("times", "taken"),
    [
        ({"simple": [10, 10, 10, 10], "tricky": [9.9, 9.9, 9.9, 9.9]}, "simple"),  # 1 % is a tie
        ({"simple": [10, 10, 10, 10], "tricky": [9, 9, 9, 9]}, "tricky"),
        ({"simple": [10, 10, 10, 10], "tricky": [5, 5, 15, 15]}, "simple"),  # not in most rounds
        # Rounds are compared with their own.
        ({"simple": [10, 20, 10, 20], "tricky": [9, 18, 9, 18]}, "tricky"),
        ({"a": [10, 10, 10], "b": [9.85, 9.85, 9.85], "c": [9.7, 9.7, 9.7]}, "c"),  # ties do not add up
    ],
)
def test_a_tie_keeps_the_simpler_form(times: dict[str, list[float]], taken: str) -> None:
    assert choose(times) == taken


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.floats(0.1, 100), min_size=1, max_size=6),
    st.integers(1, 9),
)
def test_what_is_taken_is_never_more_than_the_tie_slower_than_the_best(
    speeds: dict[str, float], rounds: int
) -> None:
    taken = choose({name: [speed] * rounds for name, speed in speeds.items()})
    assert speeds[taken] <= min(speeds.values()) / 0.98 + 1e-9


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    options = CondenseNetOptions(stages=(2, 2), growth=(8, 16), data="cifar10", num_classes=10)
    net = CondenseNet(options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    net.condense(1.0)
    path = tmp_path_factory.mktemp("condensenet") / "x.pth.tar"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in net.state_dict().items()}}, path)
    return path


def test_for_the_target_cpu_every_block_gets_its_measured_form(checkpoint: Path, tmp_path: Path) -> None:
    size = (16, 16)
    exported = run(
        Request("condensenet", checkpoint, "cpu", size, {"data": "cifar10"}, tmp_path / "x.edgekit")
    )
    parts = {row.part for row in exported.measured}
    assert parts == {"denseblock_1", "denseblock_2", "whole"}
    for part in parts:
        rows = [row for row in exported.measured if row.part == part]
        assert sum(row.chosen for row in rows) == 1 and len(rows) >= 3
    (stage,) = exported.bundle.manifest.stages
    taken = next(row.form for row in exported.measured if row.part == "whole" and row.chosen)
    assert stage.defaults["onnxruntime"] == taken
    kept = exported.bundle.manifest.provenance["measured"]
    assert isinstance(kept, dict) and len(kept["times"]) == len(exported.measured)
    assert any("denseblock_1" in line and "*" in line for line in table(exported.measured))
    with edgekit.load(str(tmp_path / "x.edgekit")) as session:
        assert session.variants == {"stage1": taken}


def test_without_measuring_and_for_other_targets_nothing_is_timed(checkpoint: Path, tmp_path: Path) -> None:
    for target, measure in product(("cpu", "jetson"), (False, True)):
        if (target, measure) == ("cpu", True):
            continue
        out = tmp_path / f"{target}-{measure}.edgekit"
        request = Request(
            "condensenet", checkpoint, target, (16, 16), {"data": "cifar10"}, out, measure=measure
        )
        exported = run(request)
        assert exported.measured == () or exported.measured == []
        assert exported.bundle.manifest.stages[0].defaults["onnxruntime"] == "blocks"


@pytest.mark.slow
def test_anynet_s_three_dimensional_convolutions_are_chosen_in_the_same_way(tmp_path: Path) -> None:
    exported = run(Request("anynet", None, "cpu", (64, 96), {}, tmp_path / "a.edgekit"))
    for stage in exported.bundle.manifest.stages[:3]:
        rows = [row for row in exported.measured if row.stage == stage.name]
        graphs = {variant.name for variant in stage.variants if variant.runtime is None}
        assert {row.form for row in rows} == graphs
        assert next(row.form for row in rows if row.chosen) == stage.defaults["onnxruntime"]
