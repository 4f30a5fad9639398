"""A user's own staged model exports, and every mistake in one is an error that names the stage and the tensor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgekit
from edgekit.errors import ExportError, OptionError


@pytest.fixture(autouse=True)
def _toys_are_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("toy_networks", None)


def _wrong(kind: str, out: Path) -> str:
    with pytest.raises(ExportError) as raised:
        edgekit.export(model="toy_networks:wrong", config={"kind": kind}, out=out / "x.edgekit")
    assert list(out.iterdir()) == []
    return str(raised.value)


def test_a_network_of_ones_own_becomes_a_bundle_that_answers_as_it_does(tmp_path: Path) -> None:
    bundle = edgekit.export(
        model="toy_networks:build", size=(24, 40), config={"classes": 7}, out=tmp_path / "toy.edgekit"
    )
    manifest = bundle.manifest
    assert (manifest.family, manifest.name, manifest.task) == ("toy", "toy", "classification")
    assert [stage.exit for stage in manifest.stages] == ["logits1", "logits2"]
    assert manifest.inputs[0].shape == (1, 3, 24, 40)
    golden = np.load(tmp_path / "toy.edgekit" / manifest.golden)
    first, second = (
        onnxruntime.InferenceSession(bundle.read_bytes(stage.variants[0].graph)) for stage in manifest.stages
    )
    logits, features = first.run(None, {"image": golden["image"]})
    np.testing.assert_allclose(logits, golden["stage1"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        second.run(None, {"features": features})[0], golden["stage2"], rtol=1e-4, atol=1e-5
    )


def test_costs_are_those_of_the_layers(tmp_path: Path) -> None:
    stages = edgekit.export(model="toy_networks:build", out=tmp_path / "toy.edgekit").manifest.stages
    assert stages[0].macs == 16 * 16 * 8 * 27 + 8 * 5
    assert stages[0].parameters == 8 * 27 + 2 * 8 + 8 * 5 + 5
    assert stages[1].macs == 16 * 16 * 8 * 2 * 9 + 8 * 5
    assert stages[1].parameters == 8 * 2 * 9 + 8 + 8 * 5 + 5


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ("stage2", "'feature_maps'", "nothing writes it", "image, logits1, features")),
        ("cycle", ("stage2", "'logits2'", "runs later")),
        ("reused", ("stage2", "'features'", "stage1 has already")),
        ("same_stage", ("'stage1'",)),
        ("no_such_exit", ("stage2", "'answer'", "logits2")),
        ("number_list", ("stage2", "list", "logits2")),
        ("too_many", ("stage2", "2 tensors", "1: logits2")),
        ("other_classes", ("stage1 (1, 5)", "stage2 (1, 6)")),
        ("nan", ("stage2", "NaN")),
        ("raises", ("stage2", "_Returns", "RuntimeError")),
        ("no_stages", ("stages()",)),
        ("no_exit", ("no stage has an exit",)),
        ("reference", ("reference()", "2 exits", "1: stage1")),
    ],
)
def test_a_mistake_in_a_staged_model_is_named(tmp_path: Path, kind: str, words: tuple[str, ...]) -> None:
    message = _wrong(kind, tmp_path)
    assert all(word in message for word in words), message


def test_an_operator_that_cannot_be_written_is_named_with_its_place_and_a_way_out(tmp_path: Path) -> None:
    message = _wrong("sampler", tmp_path)
    assert (
        "aten.grid_sampler" in message
        and "inner.warp" in message
        and "8.2" in message
        and "shifts" in message
    )


def test_what_is_no_staged_model_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="StagedModel"):
        edgekit.export(model="toy_networks:no_model", out=tmp_path / "x.edgekit")
    with pytest.raises(OptionError, match="cannot be imported"):
        edgekit.export(model="toy_networks:nothing", out=tmp_path / "x.edgekit")
    with pytest.raises(OptionError, match="anynet"):
        edgekit.export(model="resnet", out=tmp_path / "x.edgekit")
