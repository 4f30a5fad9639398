"""CondenseNets of rising cost in one bundle: each answers as it does alone, and a session takes the best that fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit
from edgekit.bundle import Bundle, read_bundle
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions

SIZES = {"deep": (3, 3, 3), "shallow": (1, 1, 1)}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, stages in SIZES.items():
        torch.manual_seed(len(found))
        net = CondenseNet(
            CondenseNetOptions(stages=stages, growth=(8, 16, 32), data="cifar10", num_classes=10)
        )
        net.condense(1.0)
        found[name] = tmp_path_factory.mktemp("nets") / f"{name}.pth.tar"
        torch.save({"state_dict": net.state_dict()}, found[name])
    return found


@pytest.fixture(scope="module")
def bundle(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    alternatives: dict[str, dict[str, object]] = {
        name: {"checkpoint": str(path), "config": {"data": "cifar10"}} for name, path in checkpoints.items()
    }
    alternatives["shallow"] |= {"accuracy": 0.7, "source": "published"}
    alternatives["deep"] |= {"accuracy": 0.8, "source": "published"}
    out = tmp_path_factory.mktemp("bundle") / "pair.edgekit"
    return edgekit.export(model="condensenet", target="jetson", alternatives=alternatives, out=out)


def test_they_stand_in_the_order_of_their_cost_with_all_their_forms(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert [(one.name, one.stages) for one in manifest.networks] == [
        ("shallow", ("stage1",)),
        ("deep", ("stage2",)),
    ]
    small, large = manifest.stages
    assert small.macs < large.macs
    assert [len(stage.variants) >= 3 for stage in manifest.stages] == [True, True]
    assert manifest.exits["stage2"].accuracy == 0.8


def test_each_answers_as_it_does_in_a_bundle_of_its_own(
    bundle: Bundle, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    for name, path in checkpoints.items():
        alone = edgekit.export(
            model="condensenet",
            target="jetson",
            checkpoint=path,
            config={"data": "cifar10"},
            out=tmp_path / f"{name}.edgekit",
        )
        with edgekit.load(bundle.path, network=name) as chosen, edgekit.load(alone.path) as single:
            ours, theirs = chosen.infer(image=image).output, single.infer(image=image).output
        assert ours is not None and theirs is not None
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_without_a_budget_the_best_answers_and_a_caller_who_looks_at_every_answer_gets_the_soonest_first(
    bundle: Bundle,
) -> None:
    image = np.zeros((1, 3, 32, 32), np.float32)
    with edgekit.load(read_bundle(bundle.path).path) as session:
        assert session.infer(image=image).network == "deep"
        seen = [result.network for result in session.anytime(budget_ms=5000, image=image)]
    assert seen in (["shallow", "deep"], ["deep"])  # whichever was measured to be the sooner
