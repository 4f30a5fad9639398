"""MSDNet and IMTA in a bundle: the golden vectors in ONNX Runtime, the stages' tensors, TensorRT, batches, and `edgekit run`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import edgekit
from edgekit.bundle import Bundle
from edgekit.errors import OptionError
from edgekit.models.imta import IMTA
from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.runtime.pictures import write_png

OPTIONS = MSDNetOptions(nBlocks=3, base=2, step=1, stepmode="even", nChannels=8, growthRate=4)


def _chain(
    bundle: Bundle, inputs: Mapping[str, np.ndarray], backend: str = "onnxruntime"
) -> list[np.ndarray]:
    """Every exit, each stage by the graph that ``backend`` starts with."""
    known, exits = dict(inputs), []
    for stage in bundle.manifest.stages:
        graph = next(v.graph for v in stage.variants if v.name == stage.defaults[backend])
        session = onnxruntime.InferenceSession(bundle.read_bytes(graph))
        names = [entry.name for entry in session.get_outputs()]
        known.update(
            zip(names, session.run(names, {e.name: known[e.name] for e in session.get_inputs()}), strict=True)
        )
        exits.append(known[str(stage.exit)])
    return exits


def _saved(folder: Path, family: str = "msdnet") -> Path:
    torch.manual_seed(0)
    path = folder / f"{family}.pth.tar"
    net = MSDNet(OPTIONS) if family == "msdnet" else IMTA(OPTIONS)
    torch.save({"state_dict": {f"module.{name}": t for name, t in net.state_dict().items()}}, path)
    return path


def test_every_golden_case_is_met_through_a_bundle(shared: Path, tmp_path: Path) -> None:
    cases = [
        case for family in ("msdnet", "imta") for case in sorted((shared / "golden").glob(f"{family}_*.json"))
    ]
    assert cases
    for case in cases:
        facts, arrays = json.loads(case.read_text()), np.load(case.with_suffix(".npz"))
        image = arrays[facts["inputs"][0]]
        bundle = edgekit.export(
            model=facts["family"], checkpoint=case.with_name(facts["checkpoint"]), config=facts["config"],
            size=image.shape[2:], out=tmp_path / f"{case.stem}.edgekit", parity=False,
        )  # fmt: skip
        for number in range(len(image)):
            exits = _chain(bundle, {"image": image[number : number + 1]})
            for name, exit_ in zip(facts["outputs"], exits, strict=True):
                wanted = arrays[name][number]
                assert np.abs(exit_[0] - wanted).max() <= 1e-3 * np.abs(wanted).max(), f"{case.stem} {name}"


@pytest.mark.parametrize("family", ["msdnet", "imta"])
def test_stages_hand_on_only_what_later_ones_read(tmp_path: Path, family: str) -> None:
    bundle = edgekit.export(model=family, checkpoint=_saved(tmp_path, family), out=tmp_path / "x.edgekit")
    stages = bundle.manifest.stages
    assert [stage.exit for stage in stages] == ["logits1", "logits2", "logits3"]
    for number, stage in enumerate(stages):
        read_later = {name for later in stages[number + 1 :] for name in later.inputs}
        assert {out.name for out in stage.outputs} - {stage.exit} <= read_later
        for variant in stage.variants:
            graph = onnx.load_from_string(bundle.read_bytes(variant.graph))
            assert [entry.version for entry in graph.opset_import] == [13]
            assert not {node.op_type for node in graph.graph.node} & {"BatchNormalization", "Identity"}
    picture = bundle.manifest.inputs[0].preprocessing
    assert picture is not None and (picture.fit, picture.crop, picture.height) == ("crop", 1.0, 32)


def test_a_graph_for_any_number_of_pictures_answers_each_as_if_it_were_alone(tmp_path: Path) -> None:
    checkpoint = _saved(tmp_path, "imta")
    alone = edgekit.export(model="imta", checkpoint=checkpoint, out=tmp_path / "one.edgekit", parity=False)
    free = edgekit.export(
        model="imta", checkpoint=checkpoint, target="cpu", batch=None, out=tmp_path / "any.edgekit"
    )
    assert alone.manifest.batch == 1 and free.manifest.batch is None
    images = np.random.default_rng(0).standard_normal((5, 3, 32, 32), dtype=np.float32)
    singly = [_chain(alone, {"image": image[None]}) for image in images]
    for count in (1, 2, 5):
        for number, exits in enumerate(_chain(free, {"image": images[:count]})):
            wanted = np.concatenate([one[number] for one in singly[:count]])
            np.testing.assert_allclose(exits, wanted, rtol=1e-4, atol=1e-4)


def test_a_batch_of_four_is_written_into_every_shape(tmp_path: Path) -> None:
    bundle = edgekit.export(
        model="msdnet", checkpoint=_saved(tmp_path), batch=4, out=tmp_path / "four.edgekit"
    )
    assert bundle.manifest.batch == 4
    assert {out.shape[0] for stage in bundle.manifest.stages for out in stage.outputs} == {4}
    assert np.load(tmp_path / "four.edgekit" / bundle.manifest.golden)["image"].shape == (4, 3, 32, 32)


def test_batches_that_the_target_or_the_task_does_not_allow_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"fixed shapes.*--target cpu"):
        edgekit.export(model="msdnet", checkpoint=_saved(tmp_path), batch=None, out=tmp_path / "x.edgekit")
    with pytest.raises(OptionError, match="batch=0"):
        edgekit.export(model="msdnet", checkpoint=_saved(tmp_path), batch=0, out=tmp_path / "x.edgekit")
    with pytest.raises(OptionError, match="one frame at a time"):
        edgekit.export(model="anynet", size=(64, 64), batch=2, out=tmp_path / "x.edgekit")


def test_a_picture_is_answered_on_the_command_line_with_classes_and_their_probabilities(
    tmp_path: Path,
) -> None:
    bundle = edgekit.export(model="msdnet", checkpoint=_saved(tmp_path), out=tmp_path / "x.edgekit")
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    write_png(str(tmp_path / "x.png"), picture)
    command = [
        sys.executable,
        "-m",
        "edgekit",
        "run",
        bundle.path,
        "--image",
        str(tmp_path / "x.png"),
        "--json",
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout)
    top = document["exits"][-1]["top"]
    assert document["stage"] == "stage3" and document["elapsed_ms"] > 0
    assert len(top) == 5 and 0 < sum(one["probability"] for one in top) <= 1.0001
