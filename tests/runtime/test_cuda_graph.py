"""CUDA graphs of stages, against a double of the driver's library: recorded after a warm-up, launched as one, and left where refused."""

import ctypes
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from edgekit.errors import BackendError
from edgekit.runtime.backends import cuda_graph
from edgekit.runtime.session import Session
from tests.pycuda_double import Gpu
from tests.runtime.robot import RELEASES, Robot, robot
from tests.toy_graphs import stereo_exits, write_stereo


class Driver:
    """A double of libcuda's graph functions on the double of PyCUDA: a capture takes what was enqueued since it began.

    Attributes:
        calls: how often each was called; ``fails`` is the error code that a function of this name gives.
    """

    def __init__(self, gpu: Gpu, flagged: bool = True) -> None:
        self.calls: Dict[str, int] = {}
        self.fails: Dict[str, int] = {}
        self.alive: Dict[int, List[Any]] = {}
        self._gpu, self._since = gpu, {}  # type: ignore[var-annotated]
        names = [
            "cuStreamBeginCapture_v2",
            "cuStreamEndCapture",
            "cuGraphLaunch",
            "cuGraphExecDestroy",
            "cuGraphDestroy",
        ]
        for name in [*names, "cuGraphInstantiateWithFlags" if flagged else "cuGraphInstantiate"]:
            setattr(self, name, self._counted(name, getattr(self, "_" + name.replace("WithFlags", ""))))

    def _counted(self, name: str, function: Any) -> Any:
        def call(*arguments: Any) -> int:
            self._gpu.require_context()
            self.calls[name] = self.calls.get(name, 0) + 1
            done = function(*arguments)
            return self.fails.get(name, 0) or int(done or 0)

        return call

    def _cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: int) -> None:
        self._since[stream.value] = len(self._gpu.streams[int(stream.value or 0)]._work)

    def _cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> None:
        work = self._gpu.streams[int(stream.value or 0)]._work
        begun = self._since.pop(stream.value)
        graph._obj.value = self._kept(work[begun:])
        del work[begun:]

    def _cuGraphInstantiate(self, ready: Any, graph: ctypes.c_void_p, *rest: Any) -> None:
        ready._obj.value = self._kept(self.alive[int(graph.value or 0)])

    def _cuGraphLaunch(self, ready: ctypes.c_void_p, stream: ctypes.c_void_p) -> None:
        if not self.fails.get("cuGraphLaunch"):
            for work in self.alive[int(ready.value or 0)]:
                self._gpu.streams[int(stream.value or 0)].enqueue(work)

    def _cuGraphExecDestroy(self, ready: ctypes.c_void_p) -> None:
        del self.alive[int(ready.value or 0)]

    _cuGraphDestroy = _cuGraphExecDestroy

    def _kept(self, work: List[Any]) -> int:
        number = 1 + max(self.alive, default=0)
        self.alive[number] = list(work)
        return number


@pytest.fixture(params=RELEASES)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Robot:
    """A robot with that release, whose user wants CUDA graphs."""
    monkeypatch.setenv("EDGEKIT_CUDA_GRAPHS", "1")
    return robot(monkeypatch, request.param)


@pytest.fixture
def driver(machine: Robot, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Its driver's library."""
    double = Driver(machine.gpu, flagged=machine.trt.__version__[:2] != "8.")
    monkeypatch.setattr(cuda_graph.ctypes, "CDLL", lambda name: double)
    return double


@pytest.fixture
def built(driver: Driver, tmp_path: Path) -> str:
    """The toy stereo network with its engines."""
    bundle = write_stereo(str(tmp_path / "toy.edgekit"))
    Session.open(bundle.path, "tensorrt", build=True, warmup=1).close()
    assert not driver.alive, "everything was given back"
    driver.calls.clear()
    return bundle.path


def frames(session: Session, count: int) -> None:
    """Frames of different pictures, each compared with what the network gives."""
    inputs, _ = session.golden()
    for number in range(count):
        left, right = inputs["left"] * (1.0 + number), inputs["right"] - number
        result = session.infer(left=left, right=right)
        for stage, exact in stereo_exits(left, right).items():
            np.testing.assert_allclose(result.exits[stage], exact, atol=0.02 * (1 + number))


def test_stages_are_recorded_after_a_warm_up_and_give_the_same_answers(driver: Driver, built: str) -> None:
    with Session.open(built, "tensorrt", warmup=1) as session:
        frames(session, 5)
        assert session.backend.settings["cuda_graphs"] == {"refused": {}}
        assert driver.calls["cuStreamBeginCapture_v2"] == len(session.stages)
        assert driver.calls["cuGraphLaunch"] >= 4 * len(session.stages)
    assert not driver.alive, "everything was given back"


@pytest.mark.parametrize("function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphLaunch"])
def test_a_stage_that_cannot_be_recorded_is_launched_as_ever_and_it_is_said_why(
    driver: Driver, built: str, function: str
) -> None:
    driver.fails[function] = 900
    with Session.open(built, "tensorrt", warmup=1) as session:
        frames(session, 4)
        refused = session.backend.settings["cuda_graphs"]["refused"]  # type: ignore[index]
        assert refused == {stage.name: f"{function} failed with CUDA's error 900" for stage in session.stages}
        assert driver.calls[function] == len(session.stages), "tried once a stage"


def test_without_the_driver_s_library_the_reason_is_one_sentence(
    machine: Robot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def absent(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda_graph.ctypes, "CDLL", absent)
    bundle = write_stereo(str(tmp_path / "toy.edgekit"))
    with pytest.raises(
        BackendError, match=r"CUDA graphs cannot be had: libcuda.so.1: .*; launch without them"
    ):
        Session.open(bundle.path, "tensorrt", build=True)


def test_nothing_is_recorded_unless_asked_for(
    driver: Driver, built: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEKIT_CUDA_GRAPHS")
    with Session.open(built, "tensorrt", warmup=1) as session:
        frames(session, 3)
        assert "cuda_graphs" not in session.backend.settings
    assert not driver.calls
