"""Engines that came with the bundle, on a desktop GPU: the backend against the double of the release whose names it has."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import Bundle, write_bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends.cuda import Cuda
from edgekit.runtime.session import Session
from tests import tensorrt_double
from tests.runtime.robot import Robot, robot
from tests.toy_graphs import stereo_files, stereo_manifest


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch) -> Robot:
    """A PC with an RTX GPU and TensorRT-RTX, and without TensorRT."""
    machine = robot(monkeypatch, "11.0", integrated=False, sm=(8, 6), name="NVIDIA RTX A2000")
    machine.trt.__version__ = "1.7.1.116"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", machine.trt)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    return machine


def compiled(folder: Path, machine: Robot, target: str = "rtx-sm86") -> Bundle:
    """The toy stereo network with an engine for every graph."""
    files = stereo_files()
    manifest = stereo_manifest(files)._replace(target=target)
    with Cuda():
        for stage in manifest.stages:
            for variant in stage.variants:
                plan = tensorrt_double.plan(machine.trt, files[variant.graph])
                files[f"rtx/{stage.name}.{variant.name}.engine"] = plan
    return write_bundle(str(folder / "toy.edgekit"), manifest, files)


def test_a_bundle_with_engines_runs_on_them_by_itself(desktop: Robot, tmp_path: Path) -> None:
    with Session.open(compiled(tmp_path, desktop).path, warmup=1) as session:
        assert session.backend.name == "tensorrt_rtx" and session.fingerprint.tensorrt == "1.7.1"
        inputs, golden = session.golden()
        np.testing.assert_allclose(session.infer(**inputs).exits["stage4"], golden["stage4"], atol=1e-5)


def test_engines_of_another_gpu_are_refused_in_one_sentence(desktop: Robot, tmp_path: Path) -> None:
    bundle = compiled(tmp_path, desktop, "rtx-sm89")
    with pytest.raises(
        BackendError,
        match=r"for SM89, this GPU \(NVIDIA RTX A2000\) is SM86; export it with --target rtx-sm86",
    ):
        Session.open(bundle.path, "tensorrt_rtx")
    with Session.open(bundle.path, warmup=0) as session:  # ONNX Runtime still works
        assert session.backend.name == "onnxruntime"


def test_a_bundle_without_engines_says_how_to_get_them(desktop: Robot, stereo_bundle: Bundle) -> None:
    with pytest.raises(
        BackendError, match="no engine of stage1 plain for desktop GPUs; export it with --target rtx-sm86"
    ):
        Session.open(stereo_bundle.path, "tensorrt_rtx")


def test_without_the_package_it_says_what_to_install(
    desktop: Robot, stereo_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BackendError, match="pip install tensorrt-rtx-cu12"):
        Session.open(stereo_bundle.path, "tensorrt_rtx")
