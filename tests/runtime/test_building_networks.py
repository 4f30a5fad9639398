"""Several networks in one bundle on TensorRT: built, chosen between by budget, rebuilt after an update; on the double."""

from pathlib import Path
from typing import Iterator

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends import open_backend
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.building.engines import Record
from edgekit.runtime.building.plan import Options
from edgekit.runtime.building.work import build_engines
from edgekit.runtime.session import Session
from tests.runtime.robot import RELEASES, robot
from tests.toy_graphs import write_alternatives

STAGES = ("stage1", "stage2", "stage3", "stage4")


def build(bundle: Bundle) -> Record:
    with open_backend("tensorrt") as backend:
        assert isinstance(backend, TensorRT)
        return build_engines(bundle, backend, Options(runs=3))


@pytest.fixture(params=RELEASES)
def bundle(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Bundle]:
    """Three classifiers of rising cost, on a robot with that release."""
    robot(monkeypatch, request.param)
    yield write_alternatives(str(tmp_path / "choice.edgekit"))


def test_every_stage_of_every_network_gets_an_engine(bundle: Bundle) -> None:
    record = build(bundle)
    assert tuple(stage for stage, _, _ in record.chosen) == STAGES


def test_each_network_alone_answers_as_its_golden_does(bundle: Bundle) -> None:
    build(bundle)
    for network in ("small", "medium", "large"):
        with Session.open(bundle.path, "tensorrt", network=network, warmup=1) as session:
            inputs, golden = session.golden()
            result = session.infer(**inputs)
            assert set(result.exits) == set(golden)
            for stage, exact in golden.items():
                np.testing.assert_allclose(result.exits[stage], exact, atol=0.01)


def test_a_session_of_all_takes_the_best_that_fits_the_budget(bundle: Bundle) -> None:
    build(bundle)
    picture = np.random.RandomState(0).randint(0, 256, (12, 16, 3)).astype(np.uint8)
    with Session.open(bundle.path, "tensorrt", warmup=3) as session:
        ample = session.infer(budget_ms=5000.0, image=picture)
        assert (ample.network, ample.missed) == ("large", False)
        tight = session.infer(budget_ms=1e-3, overrun="finish", image=picture)
        assert tight.output is not None and tight.missed
        again = session.infer(budget_ms=5000.0, image=picture)
        assert again.output is not None and ample.output is not None
        np.testing.assert_array_equal(again.output, ample.output)


def test_after_an_update_all_networks_are_refused_or_rebuilt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    robot(monkeypatch, "8.2", patch="1")
    bundle = write_alternatives(str(tmp_path / "choice.edgekit"))
    build(bundle)
    updated = robot(monkeypatch, "8.2", patch="3")
    for network in (None, "large"):
        with pytest.raises(BackendError, match=r"TensorRT 8.2.1 -> 8.2.3"):
            Session.open(bundle.path, "tensorrt", network=network)
    with Session.open(bundle.path, "tensorrt", build=True, warmup=1) as session:
        assert session.infer(image=np.zeros((8, 8, 3), np.uint8)).network == "large"
    assert updated.trt.behaviour.builds >= len(STAGES)
