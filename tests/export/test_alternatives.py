"""Several networks for one task become one bundle, each of them proven, in the order of their cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgekit
from edgekit.bundle import Bundle
from edgekit.errors import ExportError, OptionError


@pytest.fixture(autouse=True)
def _toys_are_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("toy_networks", None)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return edgekit.export(model="toy_networks:family", out=tmp_path / "family.edgekit")


def test_a_model_may_build_several_networks_and_the_cheapest_comes_first(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert [(one.name, one.stages) for one in manifest.networks] == [
        ("narrow", ("stage1",)),
        ("twin", ("stage2", "stage3")),
        ("wide", ("stage4", "stage5")),
    ]
    assert [one.inputs[0].shape if one.inputs else None for one in manifest.networks] == [
        None,
        None,
        (1, 3, 48, 48),
    ]
    assert manifest.networks[0].options == {"classes": 5}
    assert (manifest.exits["stage1"].accuracy, manifest.exits["stage1"].source) == (0.5, None)
    assert (manifest.exits["stage4"].accuracy, manifest.exits["stage5"].accuracy) == (None, 0.75)
    assert manifest.exits["stage5"].source == "published"


def test_every_network_is_proven_against_its_own_reference(bundle: Bundle) -> None:
    rows = bundle.manifest.provenance["parity"]
    assert isinstance(rows, list)
    assert {row[0] for row in rows} == {stage.name for stage in bundle.manifest.stages}
    golden = np.load(Path(bundle.path, bundle.manifest.golden))
    for network in bundle.manifest.networks:
        tensors = {"image": golden[network.golden_key("image")]}
        for stage in bundle.manifest.only(network.name).stages:
            session = onnxruntime.InferenceSession(bundle.read_bytes(stage.variants[0].graph))
            names = [spec.name for spec in stage.outputs]
            feeds = {name: tensors[name] for name in stage.inputs}
            tensors.update(zip(names, session.run(names, feeds), strict=True))
            np.testing.assert_allclose(tensors[str(stage.exit)], golden[stage.name], rtol=1e-3, atol=1e-5)


def test_graphs_that_coincide_are_stored_once(tmp_path: Path) -> None:
    same: Mapping[str, Mapping[str, object]] = {"one": {}, "other": {}, "third": {"config": {"classes": 5}}}
    bundle = edgekit.export(model="toy_networks:build", alternatives=same, out=tmp_path / "same.edgekit")
    assert len(bundle.manifest.stages) == 6
    assert len(list(Path(bundle.path, "stages").iterdir())) == 2


def test_alternatives_say_only_what_differs(tmp_path: Path) -> None:
    bundle = edgekit.export(
        model="toy_networks:build",
        config={"classes": 4},
        alternatives={
            "large": {"size": [40, 40], "accuracy": 0.9, "source": "published"},
            "small": {"model": "toy_networks:single", "accuracy": 0.8},
        },
        out=tmp_path / "two.edgekit",
    )
    manifest = bundle.manifest
    assert [one.name for one in manifest.networks] == ["small", "large"]
    assert {spec.shape for stage in manifest.stages for spec in stage.outputs if spec.name == stage.exit} == {
        (1, 4)
    }
    assert [manifest.exits[name].accuracy for name in ("stage1", "stage3")] == [0.8, 0.9]
    assert manifest.networks[1].inputs[0].shape == (1, 3, 40, 40)
    networks = manifest.provenance["networks"]
    assert isinstance(networks, dict)
    assert networks["small"]["model"] == "toy_networks:single"


@pytest.mark.parametrize(
    "alternatives, said",
    [
        ({"a": {"bits": 4}}, "alternative a: there is no field 'bits'; it takes accuracy, checkpoint"),
        ({"a": {"config": 4}}, "alternative a: config must be an object"),
        ({"a": {"size": [3]}}, "must be \\(height, width\\)"),
        ({"a": {"accuracy": "high"}}, "accuracy must be a number"),
        ({"a": {"model": "toy_networks:family"}}, "alternative a builds 3 networks"),
    ],
)
def test_a_wrong_alternative_is_refused_by_name(
    tmp_path: Path, alternatives: Mapping[str, Mapping[str, object]], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        edgekit.export(model="toy_networks:build", alternatives=alternatives, out=tmp_path / "x.edgekit")
    assert list(tmp_path.iterdir()) == []


def test_networks_that_answer_different_questions_make_no_bundle(tmp_path: Path) -> None:
    different: Mapping[str, Mapping[str, object]] = {"five": {}, "six": {"config": {"classes": 6}}}
    with pytest.raises(ExportError, match=r"five has exits of the shape \(1, 5\), six \(1, 6\)"):
        edgekit.export(model="toy_networks:build", alternatives=different, out=tmp_path / "x.edgekit")


def test_the_command_takes_alternatives_from_json_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.cli import main

    small = tmp_path / "small.json"
    small.write_text(json.dumps({"model": "toy_networks:single"}))
    (tmp_path / "large.json").write_text("{}")
    command = ["export", "--model", "toy_networks:build", "--out", str(tmp_path / "two.edgekit")]
    words = ["--alternative", f"small={small}", "--alternative", f"large={tmp_path / 'large.json'}"]
    assert main([*command, *words]) == 0
    printed = capsys.readouterr().out
    assert "networks small, large" in printed
    assert "stage2 large" in printed
    assert main([*command, "--alternative", "small"]) == 2
    assert "give NAME=FILE" in capsys.readouterr().err
    assert main([*command, "--alternative", "small=missing.json"]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_mistyped_model_target_or_option_is_named_with_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"model 'anynett' is unknown \(did you mean anynet\?\)"):
        edgekit.export(model="anynett", out=tmp_path / "x.edgekit")
    with pytest.raises(OptionError, match=r"target 'jetson-orion' is unknown \(did you mean jetson-orin\?\)"):
        edgekit.export(model="anynet", target="jetson-orion", out=tmp_path / "x.edgekit")
    with pytest.raises(
        OptionError, match=r"AnyNet has no option 'maxdisplst' \(did you mean maxdisplist\?\); it has "
    ):
        edgekit.export(model="anynet", config={"maxdisplst": [12, 3, 3]}, out=tmp_path / "x.edgekit")
    with pytest.raises(OptionError, match=r"there is no field 'chekpoint' \(did you mean checkpoint\?\)"):
        edgekit.export(model="anynet", alternatives={"a": {"chekpoint": "x"}}, out=tmp_path / "x.edgekit")
