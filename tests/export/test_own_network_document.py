"""The worked examples of docs/own-network.md do what it says, typed as a reader would type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import read_bundle
from edgekit.runtime.pictures import write_png


@pytest.fixture(scope="module")
def folder(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the document's files were written and its commands run."""
    folder = tmp_path_factory.mktemp("own")
    text = (repository / "docs" / "own-network.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None, "every Python block says which file it is"
        (folder / name[1]).write_text(block)
    command = folder / "edgekit"  # what the package's console script does, with this interpreter
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgekit "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(repository),
    }
    commands = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    assert len(commands) == 2
    for block in commands:
        process = subprocess.run(
            ["bash", "-euc", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, f"{block}\n{process.stdout}\n{process.stderr}"
    return folder


def test_the_network_from_scratch_is_exported_as_it_was_asked_for(folder: Path) -> None:
    manifest = read_bundle(str(folder / "branchy.edgekit")).manifest
    assert (manifest.family, manifest.task) == ("branchy", "classification")
    assert [stage.exit for stage in manifest.stages] == ["logits1", "logits2"]
    assert manifest.inputs[0].shape == (1, 3, 48, 48)
    assert manifest.stages[1].inputs == ("features",)


def test_its_answers_are_called_by_the_names_of_its_classes(folder: Path, repository: Path) -> None:
    write_png(str(folder / "x.png"), np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8))
    process = subprocess.run(
        [sys.executable, "-m", "edgekit", "run", "branchy.edgekit", "--image", "x.png"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert all(name in process.stdout for name in ("left", "right", "stop", "%", "stage2", "ms"))


def test_the_plain_network_is_cut_at_the_layers_that_were_named(folder: Path) -> None:
    manifest = read_bundle(str(folder / "resnet.edgekit")).manifest
    assert [stage.exit for stage in manifest.stages] == ["logits1", "logits2", "logits3"]
    assert [stage.inputs for stage in manifest.stages] == [("image",), ("layer1",), ("layer3_0",)]
    assert {out.shape for stage in manifest.stages for out in stage.outputs if out.name == stage.exit} == {
        (1, 7)
    }
