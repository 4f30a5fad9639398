"""IMTA computes what the authors' implementation computes, and each of its exits reads the one before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.imta import IMTA, StagedIMTA, build, from_weights
from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.models.msdnet_stages import build as build_msdnet
from edgekit.models.msdnet_weights import jsonable

SMALL = MSDNetOptions(nBlocks=3, base=1, step=1, stepmode="lin_grow", nChannels=8, growthRate=4)


def _weights(prefix: str = "net.") -> dict[str, Tensor]:
    torch.manual_seed(0)
    names = IMTA(SMALL).state_dict()
    return {prefix + n.removeprefix("net.") if n.startswith("net.") else n: t for n, t in names.items()}


def test_every_golden_case_is_met_to_a_ten_thousandth(shared: Path) -> None:
    cases = sorted((shared / "golden").glob("imta_*.json"))
    assert cases
    for case in cases:
        facts, arrays = json.loads(case.read_text()), np.load(case.with_suffix(".npz"))
        path = case.with_name(facts["checkpoint"])
        imta = from_weights(read_state_dict(path), facts["config"], str(path))
        assert jsonable(imta.options) == facts["config"]
        with torch.no_grad():
            exits = imta(torch.from_numpy(arrays[facts["inputs"][0]]))
        for name, exit_ in zip(facts["outputs"], exits, strict=True):
            error = np.abs(exit_.numpy() - arrays[name]).max() / np.abs(arrays[name]).max()
            assert error <= 1e-4, f"{case.name} {name}: {error:.1e}"


def test_the_previous_answer_is_a_named_tensor_between_the_stages() -> None:
    stages = StagedIMTA(IMTA(SMALL)).stages()
    assert [stage.exit for stage in stages] == ["logits1", "logits2", "logits3"]
    assert [name for stage in stages for name in stage.inputs if name.startswith("logits")] == [
        "logits1",
        "logits2",
    ]


def test_stages_one_after_the_other_are_the_uncut_network() -> None:
    torch.manual_seed(0)
    staged = StagedIMTA(IMTA(SMALL))
    known = {"image": torch.randn(2, 3, 32, 32)}
    with torch.no_grad():
        for stage in staged.stages():
            known.update(zip(stage.outputs, stage.module(*(known[n] for n in stage.inputs)), strict=True))
        for number, exit_ in enumerate(staged.reference(known["image"]), 1):
            torch.testing.assert_close(known[f"logits{number}"], exit_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["net.", "net.module."])
def test_a_backbone_from_a_training_of_its_own_keeps_its_second_prefix(tmp_path: Path, prefix: str) -> None:
    weights = {f"module.{name}": tensor for name, tensor in _weights(prefix).items()}
    torch.save({"epoch": 1, "state_dict": weights}, tmp_path / "c.pth.tar")
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        ours = build(tmp_path / "c.pth.tar", {}, None).reference(image)
        theirs = from_weights(_weights(), {}, "w")(image)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_gradients_flow_from_the_last_exit_into_the_first_ones_classifier() -> None:
    imta = IMTA(SMALL).train()
    imta(torch.randn(4, 3, 32, 32))[-1].square().mean().backward()
    assert imta.classifier[0].weight.grad is not None and imta.classifier[0].weight.grad.abs().sum() > 0


def test_the_two_families_send_each_others_weights_to_each_other(tmp_path: Path) -> None:
    torch.save(_weights(), tmp_path / "imta.pth")
    torch.save(MSDNet(SMALL).state_dict(), tmp_path / "msdnet.pth")
    with pytest.raises(CheckpointError, match="--model imta"):
        build_msdnet(tmp_path / "imta.pth", {}, None)
    with pytest.raises(CheckpointError, match="--model msdnet"):
        build(tmp_path / "msdnet.pth", {}, None)


def test_weights_and_config_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match=r"nBlocks=5 contradicts.*nBlocks=3"):
        from_weights(_weights(), {"nBlocks": 5}, "w")
    short = {name: tensor for name, tensor in _weights().items() if not name.startswith("isc_modules.1.")}
    with pytest.raises(CheckpointError, match="1 isc_modules; an IMTA of 3 blocks has 2"):
        from_weights(short, {}, "w")
