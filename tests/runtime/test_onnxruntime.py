"""The ONNX Runtime backend, of whichever version this Python has."""

import gc
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, List

import numpy as np
import pytest

from edgekit.bundle import Bundle, StageSpec, read_bundle
from edgekit.errors import BackendError, OptionError
from edgekit.runtime import backends
from edgekit.runtime.backends import Backend, StageCancelled, open_backend
from edgekit.runtime.loading import read_golden


@pytest.fixture
def loaded(classifier_bundle: Bundle) -> Iterator[Backend]:
    """The classifier's stages; the second takes tens of ms."""
    with open_backend("onnxruntime", threads=1) as backend:
        load(backend, classifier_bundle)
        yield backend


def load(backend: Backend, bundle: Bundle) -> None:
    for stage in bundle.manifest.stages:
        backend.load(stage, bundle.read_bytes(stage.variants[0].graph), stage.variants[0].graph)


def test_tensors_are_neither_copied_in_nor_out_and_outlive_the_backend(stereo_bundle: Bundle) -> None:
    inputs, exits = read_golden(stereo_bundle)
    backend = open_backend("onnxruntime")
    load(backend, stereo_bundle)
    frame = backend.start(inputs)
    frame.run("stage1")
    kept = frame.read("disparity1")
    assert not kept.flags.owndata
    assert np.shares_memory(kept, frame.read("disparity1"))
    assert np.shares_memory(frame.read("left"), inputs["left"])
    backend.close()
    del frame, backend
    gc.collect()
    np.testing.assert_allclose(kept, exits["stage1"], atol=1e-6)


def test_a_cancelled_stage_stops_long_before_its_end_and_the_next_frame_runs(
    loaded: Backend, classifier_bundle: Bundle
) -> None:
    inputs, exits = read_golden(classifier_bundle)
    frame = loaded.start(inputs)
    frame.run("stage1")
    stopped = threading.Event()

    def work() -> None:
        try:
            while True:  # without the cancellation this never ends
                frame.run("stage2")
        except StageCancelled:
            stopped.set()

    thread = threading.Thread(target=work)
    thread.start()
    frame.cancel()
    thread.join(20)
    assert stopped.is_set()
    np.testing.assert_array_equal(frame.read("logits1"), exits["stage1"])
    following = loaded.start(inputs)
    following.run("stage1")
    following.run("stage2")
    np.testing.assert_allclose(following.read("logits2"), exits["stage2"], rtol=1e-3)


def test_a_cancelled_frame_begins_no_stage(loaded: Backend, classifier_bundle: Bundle) -> None:
    frame = loaded.start(read_golden(classifier_bundle)[0])
    frame.cancel()
    with pytest.raises(StageCancelled):
        frame.run("stage1")


def test_a_graph_that_is_refused_is_named(stereo_bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    stage = stereo_bundle.manifest.stages[0]
    with open_backend("onnxruntime") as backend:
        for graph in (b"", b"no graph", stereo_bundle.read_bytes("stages/stage1.plain.onnx")[:-40]):
            with pytest.raises(BackendError, match=r"x/stage1.onnx.*refuses this graph"):
                backend.load(stage, graph, "x/stage1.onnx")
    assert capfd.readouterr().out == ""  # stdout belongs to the caller, who may be printing JSON


def test_a_graph_of_another_stage_is_named(stereo_bundle: Bundle) -> None:
    with open_backend("onnxruntime") as backend:
        other = stereo_bundle.read_bytes("stages/stage3.plain.onnx")
        with pytest.raises(BackendError, match="stage1 reads disparity2, the manifest says left, right"):
            backend.load(stereo_bundle.manifest.stages[0], other, "stage3.onnx")


def test_a_stage_that_fails_says_so_in_one_line(stereo_bundle: Bundle) -> None:
    with open_backend("onnxruntime") as backend:
        load(backend, stereo_bundle)
        small = {name: np.zeros((1, 3, 2, 2), np.float32) for name in ("left", "right")}
        with pytest.raises(BackendError, match="stage1 failed in ONNX Runtime") as raised:
            backend.start(small).run("stage1")
        assert "\n" not in str(raised.value)


def test_a_stage_that_was_not_loaded_is_named(stereo_bundle: Bundle) -> None:
    with open_backend("onnxruntime") as backend, pytest.raises(BackendError, match="stage1 is not loaded"):
        backend.start({}).run("stage1")


def test_a_provider_that_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(OptionError, match=r"has no TensorrtExecutionProvider; it has .*CPUExecutionProvider"):
        open_backend("onnxruntime", providers=["TensorrtExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(OptionError, match="providers"):
        open_backend("onnxruntime", providers=[])
    with open_backend("onnxruntime", providers=["CPUExecutionProvider"]) as backend:
        assert backend.settings["providers"] == ["CPUExecutionProvider"]


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "two"])
def test_a_number_of_threads_that_is_none_is_refused(threads: int) -> None:
    with pytest.raises(OptionError, match="positive whole number"):
        open_backend("onnxruntime", threads=threads)


def test_threads_that_must_share_their_cores_do_not_spin() -> None:
    with open_backend("onnxruntime", threads=1, spin=False) as backend:
        config = backend.settings["session_config"]
        assert isinstance(config, dict) and config["session.intra_op.allow_spinning"] == "0"


def test_threads_that_take_every_core_have_one_each_and_others_are_free() -> None:
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        pytest.skip("one core only: there is nothing to keep apart")
    found = {}
    for threads in (1, cores, cores + 1):
        with open_backend("onnxruntime", threads=threads) as backend:
            version = tuple(int(part) for part in backend.version.split(".")[:2])
            config = backend.settings["session_config"]
        assert isinstance(config, dict)
        found[threads] = config.get("session.intra_op_thread_affinities", "")
    assert found[1] == found[cores + 1] == ""
    assert len(set(filter(None, found[cores].split(";")))) == (cores - 1 if version >= (1, 14) else 0)


def test_threads_spin_only_while_a_stage_runs_and_only_where_that_can_be_bounded() -> None:
    with open_backend("onnxruntime") as backend:
        version = tuple(int(part) for part in backend.version.split(".")[:2])
        config = backend.settings["session_config"]
    assert isinstance(config, dict)
    assert (config.get("session.intra_op.allow_spinning") == "0") == (version < (1, 14))
    assert ("session.force_spinning_stop" in config) == (version >= (1, 14))
    assert ("session.intra_op.spin_duration_us" in config) == (version >= (1, 26))


def test_stages_of_all_backends_work_in_one_arena() -> None:
    with open_backend("onnxruntime") as one, open_backend("onnxruntime") as another:
        for backend in (one, another):  # the second finds the arena of the first
            config = backend.settings["session_config"]
            assert isinstance(config, dict) and config["session.use_env_allocators"] == "1"


def test_a_version_that_hides_what_is_below_its_sessions_is_asked_by_its_public_methods(
    stereo_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession

    class Hidden:
        def __init__(self, *arguments: object, **options: object) -> None:
            session = real(*arguments, **options)
            self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
            self.run_with_ort_values = session.run_with_ort_values

    monkeypatch.setattr(onnxruntime, "InferenceSession", Hidden)
    inputs, exits = read_golden(stereo_bundle)
    with open_backend("onnxruntime") as backend:
        load(backend, stereo_bundle)
        frame = backend.start(inputs)
        for stage in stereo_bundle.manifest.stages:
            frame.run(stage.name)
            if stage.exit is not None:
                np.testing.assert_allclose(frame.read(stage.exit), exits[stage.name], atol=1e-6)


def test_every_stage_is_loaded_once_on_the_threads_that_were_asked_for(
    stereo_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession
    threads: List[int] = []

    def opened(graph: bytes, options: Any, **others: object) -> object:
        threads.append(options.intra_op_num_threads)
        return real(graph, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    with open_backend("onnxruntime", threads=2) as backend:
        load(backend, stereo_bundle)
    assert threads == [2] * len(stereo_bundle.manifest.stages)


def test_an_unknown_backend_is_refused_with_what_there_is() -> None:
    with pytest.raises(OptionError, match="onnxruntime"):
        open_backend("tensorflow")


def test_a_backend_that_is_not_installed_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("onnxruntime", None):
        with pytest.raises(BackendError, match=r"cannot be imported|not installed") as raised:
            open_backend(name)
        assert "pip install onnxruntime" in str(raised.value)


def test_a_folder_that_happens_to_be_called_onnxruntime_is_no_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(BackendError, match="incompletely"):
        open_backend("onnxruntime")


def test_importing_edgekit_and_its_runtime_does_not_import_onnxruntime() -> None:
    import subprocess

    code = "import sys, edgekit.runtime.session, edgekit.runtime.backends.onnxruntime; print('onnxruntime' in sys.modules)"
    root = str(Path(backends.__file__).resolve().parent.parent.parent)
    assert (
        subprocess.check_output([sys.executable, "-c", code], cwd=root, universal_newlines=True).strip()
        == "False"
    )


def test_a_stage_spec_may_list_inputs_in_any_order(stereo_bundle: Bundle) -> None:
    bundle = read_bundle(stereo_bundle.path)
    stage = bundle.manifest.stages[0]
    turned: StageSpec = stage._replace(inputs=stage.inputs[::-1], outputs=stage.outputs[::-1])
    inputs, exits = read_golden(bundle)
    with open_backend("onnxruntime") as backend:
        backend.load(turned, bundle.read_bytes("stages/stage1.plain.onnx"), "stage1")
        frame = backend.start(inputs)
        frame.run("stage1")
        np.testing.assert_allclose(frame.read("disparity1"), exits["stage1"], atol=1e-6)
