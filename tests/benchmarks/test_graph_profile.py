"""The profile of a bundle names the nodes that its stages run and what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.graph_profile import main
from tests.toy_graphs import write_stereo


@pytest.fixture
def bundle(tmp_path: Path, needs) -> Path:
    needs("onnxruntime")
    path = tmp_path / "toy.edgekit"
    write_stereo(str(path))
    return path


def test_every_stage_is_listed_with_its_costliest_nodes(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bundle), "--runs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "stage1" in printed and "stage2" in printed and " ms in " in printed


def test_a_stage_that_the_bundle_lacks_is_said_so(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(bundle), "--stage", "stage9"]) == 2
    assert "no stage 'stage9'" in capsys.readouterr().err
