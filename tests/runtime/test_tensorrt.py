"""The TensorRT backend against doubles that have exactly the names of a release: no figure comes from here."""

import gc
import sys
import threading
import time
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.errors import BackendError, InputError, OptionError
from edgekit.runtime.backends import StageCancelled, open_backend
from edgekit.runtime.execution import Call, Execution
from edgekit.runtime.session import SURE, TRIED, Session
from tests.runtime.robot import EVERY_RELEASE, RELEASES, Robot, robot
from tests.toy_graphs import stereo_exits, write_stereo
from tests.yardstick import documented_seconds

OVERHEAD_US = 50.0  # on the machine of the documented figures


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """Every release that a robot has."""
    return str(request.param)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, release: str) -> Robot:
    """A Jetson with that release."""
    return robot(monkeypatch, release)


@pytest.fixture
def built(machine: Robot, stereo_path: Path) -> Iterator[Session]:
    """The toy stereo network on its engines."""
    with Session.open(str(stereo_path), "tensorrt", build=True, warmup=1) as session:
        yield session


def test_every_exit_is_what_the_network_gives(built: Session) -> None:
    inputs, golden = built.golden()
    for scale in (1.0, -0.5):
        left, right = inputs["left"] * scale, inputs["right"] * scale
        result = built.infer(left=left, right=right)
        for stage, exact in stereo_exits(left, right).items():
            np.testing.assert_allclose(result.exits[stage], exact, atol=0.05)
    assert result.reason == "final" and set(result.exits) == set(golden)


def test_exits_outlive_the_frames_after_them_and_the_session(built: Session) -> None:
    inputs, golden = built.golden()
    kept = built.infer(**inputs).exits
    built.infer(left=inputs["left"] * 3, right=inputs["right"])
    built.close()
    np.testing.assert_allclose(kept["stage4"], golden["stage4"], atol=0.05)


def test_frames_that_take_turns_do_not_write_into_each_other(built: Session) -> None:
    inputs, golden = built.golden()
    doubled = {name: array * 2 for name, array in inputs.items()}
    first, second = built.anytime(**inputs), built.anytime(**doubled)
    for one, two in zip(first, second):
        np.testing.assert_allclose(one.exits[one.stage or ""], golden[one.stage or ""], atol=0.05)
        np.testing.assert_allclose(two.exits[two.stage or ""], 2 * golden[two.stage or ""], atol=0.1)


def test_stages_hand_their_tensors_to_each_other_on_the_gpu(built: Session, machine: Robot) -> None:
    built.infer(**built.golden()[0])
    del machine.gpu.copies[:]
    result = built.infer(**built.golden()[0])
    sizes = [result.exits[stage].nbytes for stage in ("stage1", "stage2", "stage4")]
    assert [("dtoh", size) for size in sizes] == machine.gpu.copies  # the exits, and nothing else


def test_a_camera_writes_straight_into_what_the_gpu_reads(built: Session, machine: Robot) -> None:
    left, right = built.input_view("left"), built.input_view("right")
    assert left.dtype == np.float32 and not left.any()
    for scale in (1.0, 2.0):
        left[...], right[...] = (array * scale for array in built.golden()[0].values())
        result = built.infer(left=left, right=right)
        np.testing.assert_allclose(result.exits["stage4"], stereo_exits(left, right)["stage4"], atol=0.1)
    with pytest.raises(InputError, match="takes left, right"):
        built.input_view("image")


def test_a_job_answers_what_stood_in_a_view_when_it_was_submitted(built: Session, machine: Robot) -> None:
    left, right = built.input_view("left"), built.input_view("right")
    inputs, golden = built.golden()
    left[...], right[...] = inputs["left"], inputs["right"]
    machine.trt.behaviour.seconds = {"fp32": 0.02, "fp16": 0.02}
    job = built.submit(left=left, right=right)
    left[...] = 0.0  # the camera's next frame
    for stage, exit in job.result().exits.items():
        np.testing.assert_allclose(exit, golden[stage], atol=0.05)


def test_a_view_may_be_held_and_written_after_the_session_is_closed(built: Session, machine: Robot) -> None:
    view = built.input_view("left")
    built.close()
    view[...] = 1.0
    assert machine.gpu.contexts == 1
    del view
    gc.collect()
    assert machine.gpu.contexts == 0


def test_one_scratch_memory_serves_all_stages_and_nothing_is_left(machine: Robot, stereo_path: Path) -> None:
    with Session.open(str(stereo_path), "tensorrt", build=True, warmup=1) as session:
        inputs = session.golden()[0]
        session.infer(**inputs)
        sizes = list(machine.gpu.live.values())
        assert sizes.count(4096) == 1
        for _ in range(5):
            session.infer(**inputs)
        assert list(machine.gpu.live.values()) == sizes  # frames reuse what the first one took
    del session
    gc.collect()
    assert machine.gpu.live == {} and machine.gpu.contexts == 0


def test_a_discrete_gpu_gets_copies(monkeypatch: pytest.MonkeyPatch, stereo_path: Path) -> None:
    machine = robot(monkeypatch, "10.3", integrated=False, sm=(8, 6), name="NVIDIA RTX A2000")
    with Session.open(str(stereo_path), "tensorrt", build=True, warmup=1) as session:
        inputs, golden = session.golden()
        del machine.gpu.copies[:]
        result = session.infer(**inputs)
        assert [kind for kind, _ in machine.gpu.copies].count("htod") == 2
        np.testing.assert_allclose(result.exits["stage4"], golden["stage4"], atol=0.05)
        assert session.fingerprint.module == "NVIDIA RTX A2000" and session.fingerprint.sm == "8.6"


def test_a_launched_stage_is_not_cancelled_and_no_other_begins(built: Session) -> None:
    assert built.backend.cancels is False
    frame = built.backend.start(built.golden()[0])
    frame.run("stage1")
    frame.cancel()
    assert np.isfinite(frame.read("disparity1")).all()
    with pytest.raises(StageCancelled):
        frame.run("stage2")


def test_a_stage_that_cannot_be_cancelled_must_surely_fit_to_be_begun(
    machine: Robot, stereo_path: Path
) -> None:
    with Session.open(str(stereo_path), "tensorrt", build=True, warmup=1) as session:
        assert session.trying == SURE
    with Session.open(str(stereo_path), "onnxruntime", warmup=1) as session:
        assert session.trying == TRIED


def test_a_stage_that_fails_leaves_the_answers_before_it(built: Session, machine: Robot) -> None:
    inputs = built.golden()[0]
    results = built.anytime(**inputs)
    next(results)
    machine.trt.behaviour.fails = True
    last = list(results)[-1]
    assert last.reason == "error" and "stage2 failed in TensorRT" in (last.error or "")
    assert list(last.exits) == ["stage1"]
    machine.trt.behaviour.fails = False
    assert built.infer(**inputs).reason == "final"


def test_pictures_work_as_on_every_backend(built: Session) -> None:
    picture = np.full((14, 30, 3), 90, np.uint8)
    result = built.infer(budget_ms=10000.0, left=picture, right=picture)
    assert result.output is not None and result.output.shape == (14, 30)


def test_threads_share_a_session(built: Session) -> None:
    inputs, golden = built.golden()
    wrong = []

    def work() -> None:
        for _ in range(5):
            result = built.infer(budget_ms=60000.0, **inputs)
            if not np.allclose(result.exits["stage4"], golden["stage4"], atol=0.05):
                wrong.append(result)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("option", [{"providers": ["CPUExecutionProvider"]}, {"threads": 2}])
def test_options_of_onnx_runtime_are_refused(machine: Robot, option: Any) -> None:
    with pytest.raises(OptionError, match="TensorRT has none"):
        open_backend("tensorrt", **option)


def test_without_a_driver_it_is_one_sentence_and_onnx_runtime_still_works(
    monkeypatch: pytest.MonkeyPatch, stereo_bundle: Bundle
) -> None:
    robot(monkeypatch, devices=0)
    with pytest.raises(
        BackendError, match="no GPU can be used: cuInit failed: no CUDA-capable device"
    ) as caught:
        Session.open(stereo_bundle.path, "tensorrt")
    assert "\n" not in str(caught.value)
    with Session.open(stereo_bundle.path, warmup=0) as session:
        assert session.backend.name == "onnxruntime"


@pytest.mark.parametrize(
    ("missing", "advice"), [("tensorrt", "comes with JetPack"), ("pycuda.driver", "pip3 install pycuda")]
)
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, missing: str, advice: str) -> None:
    robot(monkeypatch)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendError, match=advice):
        open_backend("tensorrt")


def test_a_tensorrt_from_before_jetpack_4_6_1_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    robot(monkeypatch).trt.__version__ = "7.1.3.0"
    with pytest.raises(BackendError, match=r"update to JetPack 4\.6\.1"):
        open_backend("tensorrt")


def test_a_gpu_without_memory_is_one_sentence(machine: Robot, stereo_path: Path) -> None:
    Session.open(str(stereo_path), "tensorrt", build=True, warmup=0).close()
    machine.gpu.memory = 1000
    with pytest.raises(BackendError, match="close other programs"):
        Session.open(str(stereo_path), "tensorrt")


@pytest.mark.parametrize("every", EVERY_RELEASE)
def test_every_recorded_release_builds_and_runs(
    monkeypatch: pytest.MonkeyPatch, every: str, tmp_path: Path
) -> None:
    machine = robot(monkeypatch, every)
    machine.trt.behaviour.dla_cores = 1
    bundle = write_stereo(str(tmp_path / "toy.edgekit"))
    with Session.open(bundle.path, "tensorrt", build=True, warmup=1) as session:
        inputs, golden = session.golden()
        np.testing.assert_allclose(session.infer(**inputs).exits["stage4"], golden["stage4"], atol=0.05)


def test_what_the_backend_does_for_a_stage_takes_little_time(built: Session, machine: Robot) -> None:
    """Decisions and bindings of a whole frame, without what the engines compute and without copies."""
    machine.trt.behaviour.hollow = True
    inputs = built.golden()[0]
    warm = built.backend.start(inputs)
    for stage in built.stages:
        warm.run(stage.name)
    warm.end()
    plan, stages = built.plan, len(built.stages)

    def frame() -> float:
        frame = built.backend.start(inputs)
        frame.run("stage1")  # copies the inputs
        frame.read = lambda name: inputs["left"]  # type: ignore[method-assign]
        now = plan.clock.now()
        execution = Execution(plan, frame, Call(now, now, 1000.0, 0.5, None), lambda: None)
        begun = time.perf_counter()
        execution.finish()
        return (time.perf_counter() - begun) / stages

    taken = sorted(documented_seconds(frame()) * 1e6 for _ in range(500))
    assert taken[100] <= OVERHEAD_US  # of the fifth that no neighbour disturbed
