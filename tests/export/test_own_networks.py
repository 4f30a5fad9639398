"""A user's own staged model exports, and every mistake in one is an error that names the stage and the tensor."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgekit
from edgekit import atomic
from edgekit.bundle import Bundle
from edgekit.errors import BundleError, ExportError, OptionError, ParityError
from edgekit.export import parity


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


def test_numbers_and_masks_cross_a_cut_and_an_exit_may_be_read_again(tmp_path: Path) -> None:
    bundle = edgekit.export(model="toy_networks:scaled", out=tmp_path / "toy.edgekit")
    golden = np.load(tmp_path / "toy.edgekit" / bundle.manifest.golden)
    with edgekit.load(bundle.path) as session:
        result = session.infer(image=golden["image"])
    for name in ("stage1", "stage2"):
        np.testing.assert_allclose(result.exits[name], golden[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [2, None])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("scaled", ("stage1", "scale of shape ()")),
        ("beside", ("stage1", "depends on those beside it")),
        ("alone", ("reference()", "ValueError", "one at a time")),
    ],
)
def test_several_pictures_at_once_are_for_networks_that_keep_them_apart(
    tmp_path: Path, model: str, words: tuple[str, ...], batch: int | None
) -> None:
    with pytest.raises(ExportError) as raised:
        edgekit.export(model=f"toy_networks:{model}", target="cpu", batch=batch, out=tmp_path / "x.edgekit")
    assert all(word in str(raised.value) for word in words), str(raised.value)


def test_what_cannot_be_packed_is_said_before_a_picture_is_run(tmp_path: Path) -> None:
    bundle = edgekit.export(model="toy_networks:scaled", out=tmp_path / "toy.edgekit")
    with (
        edgekit.load(bundle.path) as session,
        pytest.raises(OptionError, match=r"stage1 hands on scale of shape \(\).*to infer"),
    ):
        session.infer_batch(np.zeros((3, 3, 32, 32), np.float32))


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
        ("cycle", ("stage1", "'logits2'", "stage2 writes it", "runs later")),
        ("itself", ("stage2", "'logits2'", "itself")),
        ("no_stage", ("stage 1", "NoneType", "Stage")),
        ("no_module", ("stage2", "builtin_function_or_method", "torch.nn.Module")),
        ("one_name", ("stage2", "inputs", "'features'", "('image',)")),
        ("empty_name", ("stage2", "outputs", "('',)")),
        ("twice", ("stage2", "features, features")),
        ("no_reference", ("reference()", "NoneType", "list of tensors")),
        ("one_reference", ("reference()", "one tensor", "list of tensors")),
        ("reference_raises", ("reference()", "ValueError", "no such layer")),
        ("reused", ("stage2", "'features'", "stage1 has already")),
        ("same_stage", ("stage1, stage1", "stage1, stage2")),
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


def test_a_graph_that_computes_something_else_fails_the_export_with_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = parity.Graphs.run

    def wrong(self: parity.Graphs, stage: str, variant: str, tensors: parity.Arrays) -> dict[str, np.ndarray]:
        out = honest(self, stage, variant, tensors)
        return {name: array * (1.01 if name == "logits2" else 1) for name, array in out.items()}

    monkeypatch.setattr(parity.Graphs, "run", wrong)
    with pytest.raises(ParityError) as raised:
        edgekit.export(model="toy_networks:build", out=tmp_path / "a.edgekit")
    failed = [line for line in str(raised.value).splitlines() if line.endswith("FAILED")]
    assert len(failed) == 3 and all(line.startswith("stage2") and "logits2" in line for line in failed)
    assert list(tmp_path.iterdir()) == []
    edgekit.export(model="toy_networks:build", out=tmp_path / "a.edgekit", parity=False)


def test_a_full_disk_leaves_nothing_and_says_how_much_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    honest = atomic._write

    def full(path: str, data: bytes) -> None:
        nonlocal written
        written += len(data)
        if written > 10_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        honest(path, data)

    monkeypatch.setattr(atomic, "_write", full)
    with pytest.raises(BundleError, match=r"no space left on device; free \d+\.\d MB"):
        edgekit.export(model="toy_networks:build", out=tmp_path / "a.edgekit")
    assert list(tmp_path.iterdir()) == []


def test_overwriting_replaces_the_bundle_that_was_there(tmp_path: Path) -> None:
    def export(size: tuple[int, int], overwrite: bool) -> Bundle:
        return edgekit.export(
            model="toy_networks:build", size=size, out=tmp_path / "a.edgekit", overwrite=overwrite
        )

    export((16, 16), overwrite=False)
    assert export((16, 24), overwrite=True).manifest.inputs[0].shape == (1, 3, 16, 24)
    assert os.listdir(tmp_path) == ["a.edgekit"]


def test_progress_names_the_stages_and_their_seconds(tmp_path: Path) -> None:
    begun: list[str] = []
    ended: dict[str, float] = {}

    def listen(step: str, seconds: float | None) -> None:
        if seconds is None:
            begun.append(step)
        else:
            ended[step] = seconds

    edgekit.export(model="toy_networks:build", out=tmp_path / "a.edgekit", progress=listen)
    assert begun == [
        "reading the network", "running the network", "converting stage1", "converting stage2", "proving parity",
        "writing the bundle",
    ]  # fmt: skip
    assert list(ended) == begun and all(seconds >= 0 for seconds in ended.values())


def test_an_operator_that_the_target_lacks_fails_the_export_and_another_target_takes_it(
    tmp_path: Path,
) -> None:
    def export(target: str) -> Bundle:
        return edgekit.export(
            model="toy_networks:wrong",
            config={"kind": "cubic"},
            target=target,
            out=tmp_path / f"{target}.edgekit",
        )

    with pytest.raises(
        ExportError, match=r"stage2 cannot run on jetson \(TensorRT 8\.2\)(.|\n)*Resize.*cubic"
    ):
        export("jetson")
    assert export("cpu").manifest.target == "cpu"


def test_an_option_that_a_builder_would_lose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no parameter size"):
        edgekit.export(
            model="toy_networks:wrong", config={"kind": "nan"}, size=(16, 16), out=tmp_path / "x.edgekit"
        )
    with pytest.raises(OptionError, match="no parameter checkpoint"):
        edgekit.export(model="toy_networks:build", checkpoint="weights.pth", out=tmp_path / "x.edgekit")
    with pytest.raises(OptionError, match=r"16x16 was asked for.*32x32"):
        edgekit.export(model="toy_networks:stubborn", size=(16, 16), out=tmp_path / "x.edgekit")


def test_a_function_that_is_no_builder_is_told_how_it_would_be_called(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"missing a required argument: 'obj'.*checkpoint, config and size"):
        edgekit.export(model="json:dumps", out=tmp_path / "x.edgekit")
