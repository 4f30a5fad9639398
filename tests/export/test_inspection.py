"""`edgekit inspect --for TARGET`: what the target's TensorRT would say, graph by graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit import cli
from edgekit.bundle import Bundle, write_bundle
from tests.runtime.programs import write_native
from tests.toy_graphs import COLUMNS, ROWS, Node, graph, stereo_files, stereo_manifest

FLAT = (1, 1, ROWS, COLUMNS)


def _bundle(folder: Path, *replaced: str) -> str:
    """The toy stereo network, in which these graphs of stage 2 use an operator that TensorRT 8.2 does not import."""
    files = stereo_files()
    nodes = [Node("ReduceMax", ["gap"], ["peak"], {"axes": [1], "keepdims": 1}), Node("Add", ["peak", "disparity1"], ["sum"]),
             Node("HardSwish", ["sum"], ["disparity2"])]  # fmt: skip
    for name in replaced:
        files[f"stages/stage2.{name}.onnx"] = graph(
            nodes, {"disparity1": FLAT, "gap": (1, 3, ROWS, COLUMNS)}, {"disparity2": FLAT}, {}
        )
    bundle: Bundle = write_bundle(str(folder / "toy.edgekit"), stereo_manifest(files), files)
    return bundle.path


def test_a_bundle_that_the_target_takes_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", _bundle(tmp_path), "--for", "jetson-tx2"]) == 0
    text = capsys.readouterr().out
    assert "stage2  swapped  2      taken" in text and "TensorRT 8.2 takes every stage" in text


def test_a_graph_that_is_refused_is_named_with_node_reason_and_what_runs_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", _bundle(tmp_path, "swapped"), "--for", "jetson-tx2"]) == 0
    text = capsys.readouterr().out
    assert (
        "! stage2 swapped, TensorRT 8.2:" in text and "(HardSwish): TensorRT 8.2 does not import it" in text
    )
    assert "stage2: edgekit takes plain on TensorRT 8.2, and leaves out swapped" in text


def test_a_stage_without_a_graph_that_is_taken_makes_it_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _bundle(tmp_path, "plain", "swapped")
    assert cli.main(["inspect", path, "--for", "jetson-tx2", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["runs"]
    (found,) = document["graphs"][1]["findings"]["TensorRT 8.2"]
    assert found["operator"] == "HardSwish" and found["advice"]
    assert cli.main(["inspect", path, "--for", "10.3"]) == 0


def test_every_release_from_7_1_to_11_is_asked_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", _bundle(tmp_path), "--for", "all"]) == 0
    head, *_ = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stage ")]
    assert head.split()[3:5] == ["7.1", "7.2"] and head.split()[-1] == "11.1"


def test_xaviers_accelerator_is_spoken_of_as_recalled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", _bundle(tmp_path), "--for", "jetson-xavier"]) == 0
    text = capsys.readouterr().out
    assert (
        "DLA: stage1 plain: 1 of 2 nodes may run there, 1 stay on the GPU (1 ReduceMean)" in text
        and "recalled" in text
    )


@pytest.mark.parametrize(
    ("asked", "what"), [("jetson-tx3", "did you mean jetson-tx2"), ("6.0", "older than")]
)
def test_what_nobody_knows_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, what: str
) -> None:
    assert cli.main(["inspect", _bundle(tmp_path), "--for", asked]) == 2
    assert what in capsys.readouterr().err


def test_quantised_nodes_are_refused_where_there_is_no_int8(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = stereo_files()
    nodes = [Node("QuantizeLinear", ["disparity2", "scale", "zero"], ["q"]), Node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
             Node("Mul", ["d", "factor"], ["half"])]  # fmt: skip
    constants = {"scale": np.float32([0.1]), "factor": np.float32([0.5]), "zero": np.float32([0.0])}
    files["stages/stage3.plain.onnx"] = graph(nodes, {"disparity2": FLAT}, {"half": FLAT}, constants)
    bundle = write_bundle(str(tmp_path / "q.edgekit"), stereo_manifest(files), files)
    assert cli.main(["inspect", bundle.path, "--for", "jetson-tx2"]) == 1
    assert "jetson-tx2 has no INT8; export with --precision float32" in capsys.readouterr().out


def test_programs_of_the_native_backend_are_no_graphs_to_ask_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_native(str(tmp_path / "native.edgekit"))
    assert cli.main(["inspect", bundle.path, "--for", "jetson-tx2", "--json"]) == 0
    assert {one["variant"] for one in json.loads(capsys.readouterr().out)["graphs"]} == {"plain"}
