"""When the backend `native` is taken without being asked for, and what leaves its programs alone."""

import os
import sys
from pathlib import Path
from typing import Dict

import pytest

import edgekit
from edgekit import cli
from edgekit.bundle import Bundle, read_bundle
from edgekit.errors import BackendError
from edgekit.kernels import compiling
from edgekit.runtime.backends import open_backend
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.building.plan import Options, plan_build
from edgekit.runtime.device.fingerprint import fingerprint_of
from edgekit.runtime.device.priority import may_be_realtime
from edgekit.runtime.loading import choose_variants
from edgekit.runtime.profile import Profile, StageProfile
from edgekit.runtime.quickest import quickest, worth_measuring
from edgekit.runtime.variants import variant_choices
from tests.runtime.programs import write_native
from tests.runtime.robot import robot
from tests.runtime.scenes import check_taken_only_where_measured, measured, taken

BENCH = ["--runs", "3", "--warmup", "0", "--threads", "1"]


@pytest.fixture(autouse=True)
def _compiler(needs_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here runs without one. What other tests have loaded from caches of their own does not count as built here."""
    monkeypatch.setattr(compiling, "_loaded", {})


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_native(str(tmp_path / "native.edgekit"))


@pytest.fixture
def without_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


def test_a_profile_from_elsewhere_does_not_have_the_kernels_built_here(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured(bundle, onnxruntime=9.0, native=1.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another robot"))
    assert taken(bundle) == "onnxruntime"
    assert not (tmp_path / "another robot").exists()


def test_it_is_taken_only_where_both_were_measured_here_and_it_was_quicker(bundle: Bundle) -> None:
    check_taken_only_where_measured(bundle, "native")


def test_of_several_that_were_measured_the_quickest_is_taken(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: Dict[str, float] = {"onnxruntime": 3.0, "openvino": 1.0, "native": 2.0}

    def known(asked: Bundle, name: str, threads: int) -> Profile:
        with open_backend("native", threads=1) as backend:
            fingerprint = fingerprint_of(backend.name, backend.version, backend.settings)
        return Profile(fingerprint, "", {"stage1": StageProfile("plain", (times[name],))})

    monkeypatch.setattr("edgekit.runtime.quickest._measured_anywhere", lambda asked: set(times))
    monkeypatch.setattr("edgekit.runtime.quickest._measured_here", known)
    assert quickest(bundle, 1) == "openvino"
    times["openvino"] = 2.5
    assert quickest(bundle, 1) == "native"
    times["onnxruntime"] = 2.01
    assert quickest(bundle, 1) == "onnxruntime", "less than two hundredths are none"


def test_where_the_compiler_is_gone_what_it_had_won_runs_on_onnx_runtime(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(bundle, native=1.0, onnxruntime=2.0)
    monkeypatch.setenv("CC", "/nonexistent")
    assert taken(bundle) == "onnxruntime"
    assert worth_measuring(bundle) == []


def test_bench_says_so_where_nobody_has_measured_it_and_measures_the_quicker_from_then_on(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", bundle.path, *BENCH]) == 0
    assert "--backend native` measures them" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["bench", bundle.path, *BENCH, "--backend", "native"]) == 0
    assert len(os.listdir(os.path.join(bundle.path, "profiles"))) == 2
    measured(bundle, native=1.0, onnxruntime=2.0)
    capsys.readouterr()
    assert cli.main(["bench", bundle.path, *BENCH]) == 0
    said = capsys.readouterr().out
    assert "native " in said and "measures them" not in said


def test_without_onnx_runtime_it_is_the_usual_one(
    bundle: Bundle, without_onnx_runtime: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert taken(bundle) == "native"
    for verb in (["verify", bundle.path, "--all-variants"], ["bench", bundle.path, *BENCH]):
        assert cli.main(verb) == 0
        assert "native " in capsys.readouterr().out


def test_without_both_it_says_what_to_install(
    tmp_path: Path, bundle: Bundle, without_onnx_runtime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    partly = write_native(str(tmp_path / "partly.edgekit"), stages=(1, 2))
    with pytest.raises(BackendError, match="ONNX Runtime is not installed"):
        edgekit.load(partly.path)
    monkeypatch.setenv("CC", "/nonexistent")
    with pytest.raises(BackendError, match="ONNX Runtime is not installed"):
        edgekit.load(bundle.path)


def test_other_backends_never_see_its_programs(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    read = read_bundle(bundle.path).manifest
    for backend in ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"):
        assert set(choose_variants(read, backend, None, None).values()) == {"plain"}
        assert variant_choices(read, backend) == [{"stage1": "plain", "stage2": "plain", "stage3": "plain"}]
    assert cli.main(["verify", bundle.path, "--all-variants", "--backend", "onnxruntime"]) == 0
    assert " native" not in capsys.readouterr().out


def test_no_engine_is_built_of_its_programs(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    robot(monkeypatch, "8.2")
    with open_backend("tensorrt") as backend:
        assert isinstance(backend, TensorRT)
        assert {step.variant for step in plan_build(bundle, backend, Options())} == {"plain"}


def test_its_threads_have_the_priority_of_what_loads_the_stages(bundle: Bundle) -> None:
    def in_real_time() -> int:
        tasks = [int(task) for task in os.listdir("/proc/self/task")]
        return sum(os.sched_getscheduler(task) == os.SCHED_FIFO for task in tasks)

    allowed = may_be_realtime()  # which not every machine does
    before = in_real_time()
    with edgekit.load(bundle.path, backend="native", threads=3, priority="realtime" if allowed else "normal"):
        assert in_real_time() - before == (2 if allowed else 0)  # the third is the caller
    assert in_real_time() == before


def test_inspect_says_that_they_are_its_alone(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", bundle.path]) == 0
    assert capsys.readouterr().out.count("native   (native only)") == 3


def test_doctor_says_whether_it_can_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor"]) == 0
    assert "compiler       gcc" in capsys.readouterr().out.replace("clang", "gcc")
    monkeypatch.setenv("CC", "/nonexistent")
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "compiler       not installed" in said and "native         not installed" in said
