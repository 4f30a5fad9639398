"""Every graph of every lowered classifier gives here, on this device's runtime, the answers it gave where it was exported."""

import os
import shutil
from pathlib import Path
from typing import List

import pytest

from edgekit.bundle import read_bundle
from edgekit.cli import main

FOLDER = os.environ.get("EDGEKIT_LOWERED")
NAMES: List[str] = sorted(path.name for path in Path(FOLDER).glob("*.edgekit")) if FOLDER else []


@pytest.mark.parametrize("name", NAMES or [None])
def test_all_forms_of_a_network_run_here_and_agree(name: str, tmp_path: Path) -> None:
    if FOLDER is None or name is None:
        pytest.skip("EDGEKIT_LOWERED is not set: run scripts/lowered-bundles FOLDER and set it to the folder")
    place = str(tmp_path / name)
    shutil.copytree(str(Path(FOLDER, name)), place)
    variants = [len(stage.variants) for stage in read_bundle(place).manifest.stages]
    assert max(variants) > 1 or not name.startswith("condensenet")
    assert main(["verify", place, "--all-variants"]) == 0
