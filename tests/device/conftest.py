"""The one bundle that every test of a device works on."""

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: "pytest.TempPathFactory") -> Path:
    """A copy of $EDGEKIT_BUNDLE, as scp leaves it on a robot, so that nothing is measured or damaged in the original."""
    source = os.environ.get("EDGEKIT_BUNDLE")
    if not source:
        pytest.skip("EDGEKIT_BUNDLE is not set: export a bundle and set it to its path")
    place = tmp_path_factory.mktemp("robot") / "net.edgekit"
    shutil.copytree(source, str(place))
    return place
