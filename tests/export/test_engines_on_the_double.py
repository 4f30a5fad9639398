"""AnyNet's own graphs through `edgekit build` and TensorRT's backend, on the double that executes by ONNX Runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import Bundle, read_bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends import open_backend
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.building.engines import Record
from edgekit.runtime.building.plan import Options
from edgekit.runtime.building.work import build_engines
from edgekit.runtime.session import Session
from tests.runtime.robot import robot

RELEASES = ("8.2", "10.3")  # bindings by number, tensors by name


@pytest.fixture(params=RELEASES)
def built(
    request: pytest.FixtureRequest, anynet_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Bundle, Record]:
    """AnyNet on a Jetson with that release, every variant of every stage built and tried."""
    robot(monkeypatch, request.param)
    bundle = read_bundle(shutil.copytree(anynet_bundle.path, tmp_path / "anynet.edgekit"))
    with open_backend("tensorrt") as backend:
        assert isinstance(backend, TensorRT)
        return bundle, build_engines(bundle, backend, Options(runs=2, precisions=("fp32",)))


def test_every_graph_of_every_stage_is_built_and_tried(built: tuple[Bundle, Record]) -> None:
    bundle, record = built
    expected = {(stage.name, variant.name) for stage in bundle.manifest.stages for variant in stage.variants}
    assert {(one.stage, one.variant) for one in record.trials if one.durations_ms} == expected
    assert [stage for stage, _, _ in record.chosen] == [stage.name for stage in bundle.manifest.stages]


def test_engines_give_the_golden_disparities_and_every_exit(built: tuple[Bundle, Record]) -> None:
    bundle, _ = built
    with Session.open(bundle.path, "tensorrt", warmup=1) as session:
        inputs, golden = session.golden()
        result = session.infer(**inputs)
        assert set(result.exits) == {stage.name for stage in bundle.manifest.stages}
        for stage, exact in golden.items():
            assert np.abs(result.exits[stage] - exact).max() <= 0.01, stage
        within = session.infer(budget_ms=1e4, **inputs)
        assert within.stage == result.stage and not within.missed


def test_another_tensorrt_refuses_anynet_s_engines_or_rebuilds_them(
    built: tuple[Bundle, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, _ = built
    robot(monkeypatch, "8.5", patch="2")
    with pytest.raises(BackendError, match=r"TensorRT .* -> 8\.5\.2"):
        Session.open(bundle.path, "tensorrt")
    with Session.open(bundle.path) as session:
        assert session.backend.name == "onnxruntime", "the engines are of another release, the graphs are not"
