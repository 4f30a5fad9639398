"""Every name of TensorRT's Python bindings that the backend touches exists in every release that it claims.

The double raises AttributeError for what is not recorded for its release, so whatever runs on it touches recorded names only;
and this shows that whatever is written in the backend's files has run.
"""

import ast
import json
from pathlib import Path
from typing import Dict, Iterator, Set, Tuple

import pytest

from edgekit.bundle import write_bundle
from edgekit.errors import BackendError
from edgekit.runtime.session import Session
from tests import tensorrt_double
from tests.runtime.robot import EVERY_RELEASE, robot
from tests.toy_graphs import stereo_files, write_stereo

BACKENDS = Path(__file__).resolve().parents[2] / "runtime" / "backends"
FILES = [BACKENDS / f"tensorrt_{name}.py" for name in ("library", "engine", "builder")]
REST = [
    path for path in BACKENDS.parent.rglob("*.py") if path not in FILES
]  # touch TensorRT through these files only


def everything(monkeypatch: pytest.MonkeyPatch, release: str, folder: Path) -> Set[Tuple[str, str]]:
    """Build with every precision, too little memory and an unreadable graph; load, run, and run again: what was touched."""
    machine = robot(monkeypatch, release, sm=(8, 7))
    behaviour = machine.trt.behaviour
    behaviour.dla_cores = 1
    behaviour.most_workspace = 64 << 20
    bundle = write_stereo(str(folder / f"{release}.edgekit"))
    files, manifest = stereo_files(), bundle.manifest
    plain, swapped = manifest.stages[1].variants
    quantised = manifest.stages[1]._replace(variants=(plain, swapped._replace(precision="int8", bits=8)))
    manifest = manifest._replace(stages=manifest.stages[:1] + (quantised,) + manifest.stages[2:])
    bundle = write_bundle(bundle.path, manifest, files, overwrite=True)
    with Session.open(bundle.path, "tensorrt", build=True, warmup=1) as session:
        inputs = session.golden()[0]
        for _ in range(2):
            session.infer(**inputs)
        session.infer(left=session.input_view("left"), right=session.input_view("right"))
    behaviour.refuses = {b"toy": "unsupported"}
    other = write_stereo(str(folder / f"{release}-refused.edgekit"))
    with pytest.raises(
        BackendError, match=r"cannot be built for this device: plain: TensorRT .* cannot read the graph"
    ):
        Session.open(other.path, "tensorrt", build=True)
    touched: Set[Tuple[str, str]] = behaviour.touched
    return touched


def written() -> Iterator[Tuple[str, str]]:
    """Every attribute in the backend's files, and every name given to getattr or hasattr: file and name."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                yield path.name, node.attr
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("getattr", "hasattr")
            ):
                name = getattr(node.args[1], "value", getattr(node.args[1], "s", None))
                if isinstance(name, str):
                    yield path.name, name


def test_every_name_in_the_backends_files_runs_on_a_release_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    touched: Dict[str, Set[str]] = {}
    for release in EVERY_RELEASE:
        for kind, name in everything(monkeypatch, release, tmp_path):
            assert name in tensorrt_double.API[release][kind], f"{kind}.{name} is not recorded for {release}"
            touched.setdefault(name, set()).add(release)
    recorded = {
        name for classes in tensorrt_double.API.values() for names in classes.values() for name in names
    }
    ours = {
        "name",
        "load",
        "read",
        "type",
        "shape",
        "dtype",
        "log",
        "version",
        "error",
    }  # words that we use too
    for file, name in written():
        if name in recorded - ours:
            assert name in touched, f"{file}: {name} was never touched"
    assert {
        "execute_async_v2",
        "execute_async_v3",
        "max_workspace_size",
        "set_device_memory",
        "DLA_core",
    } <= set(touched)
    assert touched["execute_async_v2"] == {"8.2", "8.4"}
    for path in REST:
        assert "trt" not in path.read_text(encoding="utf-8"), path
    assert touched["build_serialized_network"] == set(EVERY_RELEASE)


def test_the_doubles_names_are_those_recorded_from_nvidias_bindings(shared: Path) -> None:
    facts = json.loads((shared / "facts" / "tensorrt_python_api.json").read_text(encoding="utf-8"))
    for release, classes in tensorrt_double.API.items():
        for kind, names in classes.items():
            assert names == facts[release][kind]


def test_the_double_has_no_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = robot(monkeypatch, "8.2"), robot(monkeypatch, "11.0")
    assert not hasattr(old.trt.IExecutionContext, "execute_async_v3")
    assert not hasattr(new.trt.IExecutionContext, "execute_async_v2")
    assert not hasattr(new.trt.BuilderFlag, "FP16")
    config = new.trt.IBuilderConfig()
    with pytest.raises(AttributeError, match="max_workspace_size"):
        config.max_workspace_size = 1
    with pytest.raises(tensorrt_double.DoubleLacks):
        config.progress_monitor  # noqa: B018
