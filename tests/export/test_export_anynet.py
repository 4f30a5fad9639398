"""AnyNet in a bundle: the golden vectors in ONNX Runtime, the figures of the paper, and every way an export can fail."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch

import edgekit
from edgekit.bundle import Bundle, read_bundle
from edgekit.errors import BundleError, CheckpointError, OptionError
from edgekit.export import networks, operators
from edgekit.export.staging import run_stages
from edgekit.export.tensorrt_table import version
from edgekit.models.anynet import AnyNet, AnyNetOptions, StagedAnyNet


def _chain(
    bundle: Bundle, inputs: Mapping[str, np.ndarray], backend: str = "onnxruntime"
) -> dict[str, np.ndarray]:
    """Every exit by stage, each stage by the graph that ``backend`` starts with."""
    known, exits = dict(inputs), {}
    for stage in bundle.manifest.stages:
        graph = next(v.graph for v in stage.variants if v.name == stage.defaults[backend])
        session = onnxruntime.InferenceSession(bundle.read_bytes(graph), providers=["CPUExecutionProvider"])
        names = [spec.name for spec in stage.outputs]
        known.update(
            zip(names, session.run(names, {name: known[name] for name in stage.inputs}), strict=True)
        )
        if stage.exit is not None:
            exits[stage.name] = known[stage.exit]
    return exits


@pytest.mark.slow
def test_every_golden_case_is_met_in_onnx_runtime(shared: Path, tmp_path: Path) -> None:
    cases = sorted((shared / "golden").glob("anynet_*.json"))
    assert cases
    for case in cases:
        spec = json.loads(case.read_text())
        arrays = np.load(case.with_suffix(".npz"))
        inputs = {name: arrays[name] for name in spec["inputs"]}
        size = inputs["left"].shape[2:]
        bundle = edgekit.export(
            model="anynet", checkpoint=case.parent / spec["checkpoint"], size=size, config=spec["config"],
            out=tmp_path / f"{case.stem}.edgekit", parity=False,
        )  # fmt: skip
        if bundle.manifest.inputs[0].shape != inputs["left"].shape:
            continue  # a size that a bundle pads: the reference never saw those pixels
        for backend in ("onnxruntime", "tensorrt"):
            for stage, exit_ in _chain(bundle, inputs, backend).items():
                beyond = float((np.abs(exit_ - arrays[stage]) > 2e-2).mean())
                assert beyond <= 1e-3, f"{case.name}: {beyond:.2%} of {stage} is further than 2e-2 px away"


def test_costs_are_those_of_the_paper() -> None:
    """Without the propagation, both views of 368x1232."""
    staged = StagedAnyNet(AnyNet(AnyNetOptions(with_spn=False)), (368, 1232))
    runs = run_stages(
        staged, staged.stages(), {name: torch.randn(1, 3, 368, 1232) for name in ("left", "right")}
    )
    assert sum(run.parameters for run in runs) == 34_629
    assert round(sum(run.macs for run in runs) / 1e9, 2) == 1.00


def test_every_graph_is_one_that_the_oldest_jetson_reads(anynet_bundle: Bundle) -> None:
    for stage in anynet_bundle.manifest.stages:
        for variant in stage.variants:
            proto = onnx.load_from_string(anynet_bundle.read_bytes(variant.graph))
            onnx.checker.check_model(proto, full_check=True)
            assert [entry.version for entry in proto.opset_import] == [13]
            assert operators.check(onnx_ir.from_proto(proto), version("8.2")) == []
            used = {node.op_type for node in proto.graph.node}
            assert not used & {"GridSample", "ScatterND", "Identity", "Dropout", "BatchNormalization"}, (
                variant.graph
            )


def test_the_bundle_holds_what_was_asked_for(anynet_bundle: Bundle, anynet_checkpoint: Path) -> None:
    manifest = read_bundle(anynet_bundle.path, check="hash").manifest
    assert [stage.exit for stage in manifest.stages] == [f"disparity{k}" for k in range(1, 5)]
    assert manifest.options["maxdisplist"] == [12, 3, 3] and manifest.options["with_spn"] is True
    assert manifest.target == "jetson" and manifest.provenance["opset"] == 13
    assert manifest.provenance["checkpoint"] == anynet_checkpoint.name
    assert {spec.unit for stage in manifest.stages for spec in stage.outputs} == {"px", None}
    golden = np.load(Path(anynet_bundle.path) / manifest.golden)
    assert set(golden) == {"left", "right", "stage1", "stage2", "stage3", "stage4"}


def test_golden_arrays_are_the_reference_and_the_graphs_meet_them(anynet_bundle: Bundle) -> None:
    golden = np.load(Path(anynet_bundle.path) / anynet_bundle.manifest.golden)
    for backend in ("onnxruntime", "tensorrt"):
        for stage, exit_ in _chain(anynet_bundle, golden, backend).items():
            assert (np.abs(exit_ - golden[stage]) > 2e-2).mean() <= 1e-3


def test_the_same_export_twice_gives_the_same_graphs(
    anynet_bundle: Bundle, anynet_checkpoint: Path, tmp_path: Path
) -> None:
    again = edgekit.export(
        model="anynet", checkpoint=anynet_checkpoint, size=(96, 192), out=tmp_path / "b.edgekit", parity=False
    )
    first, second = (
        {n: f for n, f in b.manifest.files.items() if n.endswith((".onnx", ".npz"))}
        for b in (anynet_bundle, again)
    )
    assert first == second


def test_odd_sizes_are_padded_in_the_tensor_and_kept_in_the_recipe(
    anynet_checkpoint: Path, tmp_path: Path
) -> None:
    bundle = edgekit.export(
        model="anynet", checkpoint=anynet_checkpoint, size=(75, 131), out=tmp_path / "a.edgekit", target="cpu",
        measure=False,
    )  # fmt: skip
    left = bundle.manifest.inputs[0]
    assert left.shape == (1, 3, 80, 144)
    assert left.preprocessing is not None and (left.preprocessing.height, left.preprocessing.width) == (
        75,
        131,
    )


class TestRefusedBeforeAnySlowWork:
    """Within the time that looking takes, and with nothing written."""

    @pytest.fixture(autouse=True)
    def _no_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*arguments: object) -> None:
            raise AssertionError("the network was run")

        monkeypatch.setattr(networks, "run_stages", never)

    def test_an_unknown_target(self, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match="jetson-tx2"):
            edgekit.export(model="anynet", target="jetson-tx1", out=tmp_path / "a.edgekit")

    @pytest.mark.parametrize("size", [(0, 5), (16,), (16.5, 32), "384x1248", (8, 640), (10**6, 10**6)])
    def test_an_impossible_size(self, tmp_path: Path, anynet_checkpoint: Path, size: object) -> None:
        with pytest.raises(OptionError, match="size"):
            edgekit.export(
                model="anynet", checkpoint=anynet_checkpoint, size=size, out=tmp_path / "a.edgekit"
            )

    def test_an_output_that_exists(self, tmp_path: Path) -> None:
        (tmp_path / "a.edgekit").mkdir()
        with pytest.raises(BundleError, match="exists"):
            edgekit.export(model="anynet", out=tmp_path / "a.edgekit")
        (tmp_path / "file").write_text("mine")
        with pytest.raises(BundleError, match="is not a bundle"):
            edgekit.export(model="anynet", out=tmp_path / "file", overwrite=True)
        assert (tmp_path / "file").read_text() == "mine"

    def test_an_output_without_a_place(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="does not exist"):
            edgekit.export(model="anynet", out=tmp_path / "missing" / "a.edgekit")

    def test_an_output_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda *arguments, **options: False)  # root may write anywhere
        with pytest.raises(BundleError, match="not writable"):
            edgekit.export(model="anynet", out=tmp_path / "a.edgekit")

    def test_a_config_that_contradicts_the_weights(self, tmp_path: Path, anynet_checkpoint: Path) -> None:
        with pytest.raises(OptionError, match="with_spn"):
            edgekit.export(
                model="anynet",
                checkpoint=anynet_checkpoint,
                config={"with_spn": False},
                out=tmp_path / "a.edgekit",
            )

    def test_a_checkpoint_of_another_network(self, tmp_path: Path) -> None:
        torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "c.tar")
        with pytest.raises(CheckpointError, match="not an AnyNet"):
            edgekit.export(model="anynet", checkpoint=tmp_path / "c.tar", out=tmp_path / "a.edgekit")
