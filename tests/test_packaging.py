"""What is installed is what the rooms hold: the wheel, the wheel built from the source archive, and Python 3.6 with it."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "*.edgekit")


def build(source: Path, kind: str, out: Path) -> Path:
    """Build a ``wheel`` or an ``sdist`` of the project at ``source``."""
    script = f"import setuptools.build_meta as b; print(b.build_{kind}({str(out)!r}))"
    process = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return out / process.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], ModuleType]) -> Path:
    """The working tree as it is, without what was built in it."""
    needs("setuptools")
    return Path(
        shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "edgekit", symlinks=True, ignore=LEFT_OUT)
    )


@pytest.fixture(scope="module")
def wheel(copy: Path) -> Path:
    return build(copy, "wheel", copy.parent)


def files_of(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("edgekit/")}


def test_the_wheel_holds_every_room(wheel: Path) -> None:
    expected = {f"edgekit/{path.name}" for path in (ROOT / "edgekit").glob("*.py")}
    for room in ("models", "export", "runtime"):
        expected |= {f"edgekit/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / room).rglob("*.py")}
    expected |= {f"edgekit/models/weights/{path.name}" for path in (ROOT / "models" / "weights").glob("*")}
    expected |= {f"edgekit/export/facts/{path.name}" for path in (ROOT / "export" / "facts").glob("*.json")}
    expected |= {f"edgekit/models/facts/{path.name}" for path in (ROOT / "models" / "facts").glob("*.json")}
    expected |= {f"edgekit/kernels/{path.name}" for path in (ROOT / "edgekit" / "kernels").glob("*.*")}
    assert files_of(wheel) == expected | {"edgekit/py.typed"}


def test_the_source_archive_builds_the_same_wheel(wheel: Path, copy: Path, tmp_path: Path) -> None:
    archive = build(copy, "sdist", tmp_path)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    again = build(tmp_path / archive.name.removesuffix(".tar.gz"), "wheel", tmp_path)
    assert files_of(again) == files_of(wheel)


def test_python_3_6_installs_the_wheel_and_opens_the_front_door(
    wheel: Path, tmp_path: Path, interpreter: Callable[[str], str]
) -> None:
    python = interpreter("3.6")
    command = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
        str(wheel),
    ]
    installed = subprocess.run(command, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import edgekit, edgekit.bundle; print(edgekit.__version__)"
    imported = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.strip() == wheel.name.split("-")[1]
    helped = subprocess.run([python, "-m", "edgekit", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert helped.returncode == 0, helped.stderr
    assert "bench" in helped.stdout
