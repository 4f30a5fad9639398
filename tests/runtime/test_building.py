"""`edgekit build` against doubles: what it chooses, what it says, and what is left when it is killed. No figure comes from here."""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

import numpy as np
import pytest

from edgekit import atomic, cli
from edgekit.bundle import Bundle, read_bundle, write_bundle
from edgekit.errors import BackendError, BundleError, OptionError
from edgekit.runtime.backends import open_backend
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.building import proving
from edgekit.runtime.building.engines import (
    Record,
    Trial,
    engines_folder,
    find_engines,
    read_plan,
    read_record,
)
from edgekit.runtime.building.plan import Options, device, expected_seconds, plan_build
from edgekit.runtime.building.work import News, build_engines
from edgekit.runtime.device import jetson
from edgekit.runtime.session import Session
from tests.runtime.robot import RELEASES, Robot, robot
from tests.toy_graphs import stereo_files, write_stereo

QUICK = Options(runs=3)


def build(bundle: Bundle, options: Options = QUICK, tell: Any = lambda news: None) -> Record:
    with open_backend("tensorrt") as backend:
        assert isinstance(backend, TensorRT)
        return build_engines(bundle, backend, options, tell)


@pytest.fixture
def bundle(stereo_path: Path) -> Bundle:
    """The toy stereo network."""
    return read_bundle(stereo_path)


@pytest.fixture
def tx2(monkeypatch: pytest.MonkeyPatch) -> Robot:
    """A TX2 with TensorRT 8.2."""
    return robot(monkeypatch, "8.2")


def precisions(record: Record) -> Set[str]:
    return {precision for _, _, precision in record.chosen}


def test_the_fastest_precision_is_taken_for_every_stage(tx2: Robot, bundle: Bundle) -> None:
    tx2.trt.behaviour.seconds = {"fp32": 0.03}
    record = build(bundle)
    assert precisions(record) == {"fp16"}
    with Session.open(bundle.path) as session:  # nobody has to ask for TensorRT where engines are
        assert session.backend.name == "tensorrt"
        assert session.backend.settings["precisions"] == dict.fromkeys(session.variants, "fp16")
        assert session.profile is not None
    tx2.trt.behaviour.seconds = {"fp16": 0.003}
    assert precisions(build(bundle)) == {"fp16"}  # measured once is measured


def test_an_engine_that_is_not_exact_is_not_taken_however_fast(tx2: Robot, bundle: Bundle) -> None:
    tx2.trt.behaviour.seconds = {"fp32": 0.002}
    tx2.trt.behaviour.half_overflows = True
    record = build(bundle)
    assert precisions(record) == {"fp32"}
    refused = [trial.refused for trial in record.trials if trial.precision == "fp16"]
    assert all("not finite in fp16" in str(reason) for reason in refused) and len(refused) == 5


def test_engines_that_are_not_exact_together_give_way_to_the_most_exact(
    tx2: Robot, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tx2.trt.behaviour.seconds = {"fp32": 0.01}
    monkeypatch.setattr(proving, "CHAIN", 1e-6)
    record = build(bundle)
    assert precisions(record) == {"fp32"} and "the most exact ones are taken" in str(record.note)


def test_xavier_also_tries_its_dla_and_int8_only_where_a_graph_is_quantised(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    machine = robot(monkeypatch, "8.5", sm=(7, 2))
    machine.trt.behaviour.dla_cores = 2
    machine.trt.behaviour.seconds = {"fp32": 0.03, "fp16": 0.03}
    record = build(bundle)
    assert {trial.precision for trial in record.trials} == {"fp32", "fp16", "dla"}
    assert precisions(record) == {"dla"}
    with Session.open(bundle.path, "tensorrt", warmup=1) as session:
        assert session.infer(**session.golden()[0]).reason == "final"
    plain, swapped = bundle.manifest.stages[1].variants
    stage = bundle.manifest.stages[1]._replace(variants=(plain, swapped._replace(precision="int8")))
    stages = bundle.manifest.stages[:1] + (stage,) + bundle.manifest.stages[2:]
    quantised = write_bundle(
        bundle.path, bundle.manifest._replace(stages=stages), stereo_files(), overwrite=True
    )
    tried = {(trial.variant, trial.precision) for trial in build(quantised).trials if trial.stage == "stage2"}
    assert tried == {("plain", "fp32"), ("plain", "fp16"), ("plain", "dla"), ("swapped", "int8")}


def test_tx2_never_tries_int8_and_orin_tries_tf32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for sm, tf32 in (((6, 2), False), ((8, 7), True)):
        machine = robot(monkeypatch, "10.3", sm=sm)
        machine.trt.behaviour.no_int8 = sm == (6, 2)
        tried = {trial.precision for trial in build(write_stereo(str(tmp_path / f"{sm}.edgekit"))).trials}
        assert ("tf32" in tried, "int8" in tried) == (tf32, False)


def test_tensorrt_11_is_strongly_typed_and_takes_what_the_graph_says(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    robot(monkeypatch, "11.0", sm=(6, 2))
    assert {trial.precision for trial in build(bundle).trials} == {"fp32"}


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    tx2: Robot, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", bundle.path, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "10 of 10 engines are to be built" in text and "stage2  swapped  fp16" in text
    assert tx2.trt.behaviour.builds == 0 and not (Path(bundle.path) / "engines").exists()
    assert cli.main(["build", bundle.path, "--runs", "2"]) == 0
    capsys.readouterr()
    assert cli.main(["build", bundle.path, "--dry-run", "--json"]) == 0
    assert not any(step["build"] for step in json.loads(capsys.readouterr().out)["steps"])


def test_what_is_there_is_not_built_again(tx2: Robot, bundle: Bundle) -> None:
    build(bundle)
    assert tx2.trt.behaviour.builds == 10
    build(bundle)
    assert tx2.trt.behaviour.builds == 10
    lost = find_engines(bundle, device_of())[3]
    os.unlink(lost.path)
    build(bundle)
    assert tx2.trt.behaviour.builds == 11
    assert cli.main(["build", bundle.path, "--force", "--runs", "2"]) == 0
    assert tx2.trt.behaviour.builds == 21


def device_of() -> Any:
    with open_backend("tensorrt") as backend:
        assert isinstance(backend, TensorRT)
        return device(backend)


@pytest.mark.parametrize("seed", range(5))
def test_an_engine_truncated_or_changed_anywhere_is_never_loaded_and_built_anew(
    tx2: Robot, bundle: Bundle, seed: int
) -> None:
    build(bundle)
    chance = random.Random(seed)
    for number, engine in enumerate(find_engines(bundle, device_of())):
        data = Path(engine.path).read_bytes()
        place = chance.choice([0, chance.randrange(len(data)), len(data) - 1])
        changed = data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
        Path(engine.path).write_bytes(changed if number % 2 else data[:place])
    with pytest.raises(BackendError, match="damaged or cut off; `edgekit build"):
        Session.open(bundle.path, "tensorrt")
    Session.open(bundle.path, "tensorrt", build=True, warmup=1).close()


def test_after_an_update_load_says_what_changed_and_rebuilds_if_asked(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    robot(monkeypatch, "8.2", patch="1")
    build(bundle)
    updated = robot(monkeypatch, "8.2", patch="3", cuda=(10, 3, 0))
    with pytest.raises(
        BackendError, match=r"of another device or state \(TensorRT 8.2.1 -> 8.2.3, CUDA 10.2 -> 10.3\)"
    ) as said:
        Session.open(bundle.path, "tensorrt")
    assert "\n" not in str(said.value) and "build=True" in str(said.value)
    with Session.open(bundle.path) as session:  # the ONNX Runtime path still works
        assert session.backend.name == "onnxruntime"
    with Session.open(bundle.path, "tensorrt", build=True, warmup=1) as session:
        assert session.infer(**session.golden()[0]).reason == "final"
    assert updated.trt.behaviour.builds == 10


def test_a_change_of_power_mode_is_a_change(
    tx2: Robot, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mode(number: int, name: str) -> jetson.Jetson:
        power = jetson.PowerMode(number, name)
        return jetson.Jetson("NVIDIA Jetson TX2", None, "TX2", "tegra186", "6.2", "32.7.1", "4.6.1", "10.2", power, (power,),
                             None, None, None, {})  # fmt: skip

    monkeypatch.setattr(jetson, "read_jetson", lambda root: mode(0, "MAXN"))
    build(bundle)
    monkeypatch.setattr(jetson, "read_jetson", lambda root: mode(3, "MAXP_CORE_ARM"))
    with pytest.raises(BackendError, match="power mode MAXN -> MAXP_CORE_ARM"):
        Session.open(bundle.path, "tensorrt")


def test_an_engine_of_another_graph_is_not_taken(tx2: Robot, bundle: Bundle) -> None:
    build(bundle)
    files = stereo_files()
    other = files["stages/stage2.swapped.onnx"].replace(b"toy", b"tyo")
    files["stages/stage2.plain.onnx"] = files["stages/stage2.swapped.onnx"] = other
    kept = Path(bundle.path).with_name("engines")
    shutil.copytree(os.path.join(bundle.path, "engines"), str(kept))
    changed = write_bundle(bundle.path, bundle.manifest, files, overwrite=True)
    if os.path.exists(os.path.join(bundle.path, "engines")):
        shutil.rmtree(os.path.join(bundle.path, "engines"))
    shutil.copytree(str(kept), os.path.join(bundle.path, "engines"))
    with pytest.raises(BackendError, match=r"no engine of stage2 .*goes on where it stopped"):
        Session.open(changed.path, "tensorrt")


def test_where_memory_is_short_less_is_tried_and_then_said(tx2: Robot, bundle: Bundle) -> None:
    tx2.trt.behaviour.most_workspace = 40 << 20
    build(bundle)
    assert tx2.trt.behaviour.builds == 40  # 256 MB, 128, 64, 32
    tx2.trt.behaviour.most_workspace = 1 << 20
    with pytest.raises(BackendError, match=r"with 16 MB of workspace after 64 MB: .*OutOfMemory"):
        build(write_stereo(bundle.path + "2"), QUICK._replace(workspace=64 << 20))


def test_a_graph_that_tensorrt_refuses_is_left_out_and_named(tx2: Robot, bundle: Bundle) -> None:
    tx2.trt.behaviour.refuses = {b"swapped": ""}
    files = stereo_files()
    files["stages/stage2.swapped.onnx"] = files["stages/stage2.swapped.onnx"].replace(b"toy", b"bad")
    tx2.trt.behaviour.refuses = {b"bad": "No importer registered for op: Bad"}
    made = write_bundle(bundle.path, bundle.manifest, files, overwrite=True)
    record = build(made)
    refused = {(trial.variant, trial.precision): trial.refused for trial in record.trials if trial.refused}
    assert set(refused) == {("swapped", "fp32"), ("swapped", "fp16")}
    assert "No importer registered" in str(refused[("swapped", "fp32")])
    builds = tx2.trt.behaviour.builds
    build(made)
    assert tx2.trt.behaviour.builds == builds  # what was refused is not tried again


def test_a_timing_cache_that_does_not_fit_is_not_used(tx2: Robot, bundle: Bundle) -> None:
    build(bundle)
    folder = Path(engines_folder(bundle, device_of()))
    (folder / "timing.cache").write_bytes(b"of another device")
    os.unlink(find_engines(bundle, device_of())[0].path)
    build(bundle)
    assert (folder / "timing.cache").read_bytes().startswith(b"CACHE 8.2")


def test_a_second_build_at_the_same_time_is_refused(tx2: Robot, bundle: Bundle) -> None:
    def nested(news: News) -> None:
        with pytest.raises(BackendError, match="another build is running"):
            build(bundle)

    build(bundle, tell=nested)


def test_a_second_build_that_wants_everything_anew_takes_nothing_from_the_first(
    tx2: Robot, bundle: Bundle
) -> None:
    def nested(news: News) -> None:
        assert cli.main(["build", bundle.path, "--force"]) == 2

    build(bundle, tell=nested)
    assert tx2.trt.behaviour.builds == 10 and len(finished(bundle)) == 10


def test_a_build_whose_disk_is_full_says_so_and_goes_on_when_it_is_not(
    tx2: Robot, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, written = atomic.write_file, [0]

    def little(path: str, data: bytes) -> None:
        written[0] += len(data)
        if written[0] > 12_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, data)

    monkeypatch.setattr(atomic, "write_file", little)
    with pytest.raises(BundleError, match=r"no space left on device; free .* MB and more, and run it again"):
        build(bundle)
    kept, builds = finished(bundle), tx2.trt.behaviour.builds
    assert 0 < len(kept) < 10
    monkeypatch.setattr(atomic, "write_file", whole)
    build(bundle)
    assert tx2.trt.behaviour.builds - builds == 10 - len(kept)
    assert all(finished(bundle)[name] == kept[name] for name in kept)


def test_a_pipe_where_an_engine_or_the_record_should_be_is_built_anew(tx2: Robot, bundle: Bundle) -> None:
    build(bundle)
    engine = find_engines(bundle, device_of())[0].path
    for place in (engine, os.path.join(os.path.dirname(engine), "build.json")):
        os.unlink(place)
        os.mkfifo(place)
    assert len(build(bundle).chosen) == 4


def test_a_bundle_that_cannot_be_written_to_is_one_sentence(
    tx2: Robot, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(atomic, "write_file", refuse)
    with pytest.raises(BundleError, match="read-only file system; copy the bundle"):
        build(bundle)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (Options(precisions=("int8",)), "has fp32, fp16"),
        (Options(variants={"stage2": "banded"}), "no such graph"),
    ],
)
def test_what_is_not_there_cannot_be_asked_for(
    tx2: Robot, bundle: Bundle, options: Options, what: str
) -> None:
    tx2.trt.behaviour.no_int8 = True
    with pytest.raises(OptionError, match=what):
        build(bundle, options)


def test_progress_learns_how_long_it_takes(
    tx2: Robot, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    tx2.trt.behaviour.build_seconds = 0.02
    news: List[News] = []
    build(bundle, tell=news.append)
    assert news[0].left_s is None and 0.1 < (news[1].left_s or 0.0) < 5.0
    with open_backend("tensorrt") as backend:
        assert isinstance(backend, TensorRT)
        steps = plan_build(write_stereo(bundle.path + "2"), backend, QUICK)
    known = [
        Trial("stage1", "plain", "fp32", "", seconds=10.0),
        Trial("stage9", "plain", "fp16", "", seconds=2.0),
    ]
    assert expected_seconds(known, steps[:2]) == 12.0  # the first as before, the second as others in FP16
    assert expected_seconds([], steps) is None
    assert cli.main(["build", bundle.path]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("build 1 of 10: stage1 plain fp32: there already") and "\r" not in "".join(told)


def test_the_report_holds_every_trial(tx2: Robot, bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", bundle.path, "--runs", "2", "--precision", "fp16", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["chosen"]) == {"stage1", "stage2", "stage3", "stage4"}
    assert all(trial["median_ms"] > 0 for trial in document["trials"]) and len(document["trials"]) == 10
    assert cli.main(["verify", bundle.path, "--backend", "tensorrt"]) == 0
    assert "answers on tensorrt 8.2.1" in capsys.readouterr().out


def finished(bundle: Bundle) -> Dict[str, Tuple[int, int]]:
    """The engines that look finished: none may be anything else."""
    found = {}
    for folder, _, names in os.walk(os.path.join(bundle.path, "engines")):
        for name in names:
            if name.endswith(".plan"):
                status = os.stat(os.path.join(folder, name))
                found[name] = (status.st_ino, status.st_mtime_ns)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
@pytest.mark.parametrize("release", RELEASES[:1])
def test_a_build_killed_at_50_random_moments_loses_nothing_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str
) -> None:
    machine = robot(monkeypatch, release)
    machine.trt.behaviour.build_seconds = 0.01
    chance = random.Random(7)
    number, completed, seen = 0, 0, set()
    begun = time.perf_counter()
    build(write_stereo(str(tmp_path / "whole.edgekit")))
    whole = time.perf_counter() - begun  # on this machine, as busy as it is now
    bundle = write_stereo(str(tmp_path / "0.edgekit"))
    fingerprint = device_of()
    kills = 0
    while kills < 50:
        before = finished(bundle)
        child = os.fork()
        if child == 0:
            try:
                build(bundle)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0.0, whole / 2))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
        after = finished(bundle)
        assert all(after.get(name) == before[name] for name in before)  # neither lost nor made twice
        assert all(read_plan(engine) is not None for engine in find_engines(bundle, fingerprint))
        seen.add(len(after))
        try:
            with Session.open(bundle.path, "tensorrt", warmup=0) as session:
                inputs, golden = session.golden()
                np.testing.assert_allclose(
                    session.infer(**inputs).exits["stage4"], golden["stage4"], atol=0.05
                )
        except BackendError as error:
            assert "`edgekit build" in str(error)
        if not os.WIFSIGNALED(status) or len(after) == 10:
            build(bundle)  # whatever was left of it
            completed += 1
            number += 1
            bundle = write_stereo(str(tmp_path / f"{number}.edgekit"))
    assert len(seen) >= 5  # kills have hit many states
    before, builds = finished(bundle), machine.trt.behaviour.builds
    record = build(bundle)
    assert machine.trt.behaviour.builds - builds == 10 - len(before)
    assert len(record.chosen) == 4 and read_record(bundle, fingerprint) == record
    assert not [name for name in os.listdir(engines_folder(bundle, fingerprint)) if name.endswith(".partial")]
