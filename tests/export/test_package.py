"""`edgekit.export` is a package and a function at once, and costs nothing until it is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def _python(repository: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_imports_neither_torch_nor_onnx(repository: Path) -> None:
    code = (
        "import sys, edgekit.export; print([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    assert _python(repository, code) == "[]\n"


def test_it_is_callable_before_and_after_its_modules_are_imported(repository: Path) -> None:
    code = """
import edgekit
from edgekit.errors import OptionError

def refused():
    try:
        edgekit.export(model="anynet", target="toaster")
    except OptionError as error:
        return "toaster" in str(error)

before = refused()
import edgekit.export.targets
print(before, refused(), edgekit.export.targets.find("cpu").name)
"""
    assert _python(repository, code) == "True True cpu\n"
