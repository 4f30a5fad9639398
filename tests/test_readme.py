"""The README's commands do what it says: its blocks run in order in an empty folder, as a reader would type them.

A block is left out only if its first line says that it needs the network or a robot.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.readme import read_results, updated

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# Of a block with a budget in it: whether a budget is met is also up to what else the machine does.
ATTEMPTS = 3


class Block(NamedTuple):
    language: str
    text: str

    @property
    def left_out(self) -> bool:
        return self.text.startswith(("# needs the network", "# needs a robot"))


BLOCKS = [
    Block(*found) for found in re.findall(r"^```(bash|python)\n(.*?)^```", README.read_text(), re.M | re.S)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder but for the checkout's scripts and a checkpoint file as the authors' code writes it."""
    import torch

    from edgekit.models.checkpoint import read_state_dict

    folder = tmp_path_factory.mktemp("readme")
    (folder / "scripts").symlink_to(ROOT / "scripts")
    weights = read_state_dict(ROOT / "models" / "weights" / "anynet.safetensors")
    state = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 299, "state_dict": state}, folder / "kitti2015_checkpoint.tar")
    return folder


@pytest.mark.slow
def test_every_command_of_the_readme_runs(folder: Path, tmp_path: Path) -> None:
    run = [block for block in BLOCKS if not block.left_out]
    assert len(run) >= 4 and {block.language for block in run} == {"bash", "python"}
    command = tmp_path / "edgekit"  # what the package's console script does, with this interpreter
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgekit "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    for block in run:
        text = f"set -euo pipefail\n{block.text}" if block.language == "bash" else block.text
        shell = ["bash", "-c"] if block.language == "bash" else [sys.executable, "-c"]
        for _ in range(ATTEMPTS if "--budget-ms" in text else 1):
            process = subprocess.run(
                [*shell, text], cwd=folder, env=environment, capture_output=True, text=True
            )
            if process.returncode == 0:
                break
        assert process.returncode == 0, f"{block.text}\n{process.stdout}\n{process.stderr}"
    for written in ("disparity.png", "anynet.edgekit/manifest.json", "kitti.edgekit/manifest.json"):
        assert (folder / written).is_file()


def test_the_readme_quotes_the_committed_figures_and_no_others() -> None:
    assert updated(README.read_text(), read_results()) == README.read_text()


def test_the_readme_names_only_files_that_exist() -> None:
    for document in [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"


def test_every_lowering_has_a_line_in_its_document() -> None:
    document = (ROOT / "docs" / "lowerings.md").read_text()
    for path in (ROOT / "export" / "lowering").glob("*.py"):
        # The register, and the lists of who uses which.
        if path.stem not in ("__init__", "anynet", "condensenet", "oqa"):
            assert f"(../export/lowering/{path.name})" in document, f"{path.name} is not in docs/lowerings.md"
