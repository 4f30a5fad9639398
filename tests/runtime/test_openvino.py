"""The OpenVINO backend, and where it is taken without being asked for."""

import gc
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Callable, Iterator

import numpy as np
import pytest

import edgekit
from edgekit import cli
from edgekit.bundle import Bundle, read_bundle, write_bundle
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.backends import Backend, StageCancelled, open_backend
from edgekit.runtime.loading import choose_variants, read_golden
from edgekit.runtime.variants import variant_choices
from tests.runtime.scenes import check_taken_only_where_measured, measured, taken, wrong_answers_to_threads
from tests.toy_graphs import Node, graph, write_exits, write_stereo


@pytest.fixture(autouse=True)
def _installed(needs: Callable[[str], ModuleType]) -> None:
    needs("openvino")


@pytest.fixture
def loaded(classifier_bundle: Bundle) -> Iterator[Backend]:
    """The classifier's stages; the second takes tens of ms."""
    with open_backend("openvino", threads=1) as backend:
        load(backend, classifier_bundle)
        yield backend


def load(backend: Backend, bundle: Bundle) -> None:
    for stage in bundle.manifest.stages:
        backend.load(stage, bundle.read_bytes(stage.variants[0].graph), stage.variants[0].graph)


def test_a_session_gives_the_golden_answers(stereo_bundle: Bundle) -> None:
    with edgekit.load(stereo_bundle.path, backend="openvino", threads=1) as session:
        inputs, exits = session.golden()
        result = session.infer(**inputs)
        assert session.backend.name == "openvino" and session.fingerprint.backend.startswith("openvino 20")
    for stage, wanted in exits.items():
        np.testing.assert_allclose(result.exits[stage], wanted, atol=1e-5)


def test_frames_have_tensors_of_their_own_which_outlive_the_backend(stereo_bundle: Bundle) -> None:
    inputs, exits = read_golden(stereo_bundle)
    backend = open_backend("openvino", threads=1)
    load(backend, stereo_bundle)
    first, second = backend.start(inputs), backend.start({name: 2 * one for name, one in inputs.items()})
    first.run("stage1")
    kept = first.read("disparity1")
    second.run("stage1")
    first.run("stage2")
    assert np.shares_memory(kept, first.read("disparity1"))
    assert np.shares_memory(first.read("left"), inputs["left"])
    np.testing.assert_allclose(second.read("disparity1"), 2 * exits["stage1"], atol=1e-5)
    np.testing.assert_allclose(first.read("disparity2"), exits["stage2"], atol=1e-5)
    backend.close()
    del first, second, backend
    gc.collect()
    np.testing.assert_allclose(kept, exits["stage1"], atol=1e-5)


def test_inputs_that_may_not_be_written_or_lie_in_another_order_are_taken(stereo_bundle: Bundle) -> None:
    inputs, exits = read_golden(stereo_bundle)
    turned = np.asfortranarray(inputs["right"])
    sealed = inputs["left"].copy()
    sealed.flags.writeable = False
    with open_backend("openvino", threads=1) as backend:
        load(backend, stereo_bundle)
        frame = backend.start({"left": sealed, "right": turned})
        frame.run("stage1")
        np.testing.assert_allclose(frame.read("disparity1"), exits["stage1"], atol=1e-5)


def test_threads_that_share_a_stage_get_their_own_answers(stereo_bundle: Bundle) -> None:
    with open_backend("openvino", threads=1) as backend:
        load(backend, stereo_bundle)
        assert not wrong_answers_to_threads(backend, stereo_bundle, "disparity1")


def test_graphs_for_any_number_of_pictures_are_run_for_each_number(tmp_path: Path) -> None:
    bundle = write_exits(str(tmp_path / "any.edgekit"), batch=None)
    inputs, exits = read_golden(bundle)
    with open_backend("openvino", threads=1) as backend:
        load(backend, bundle)
        kept = []
        for count in (1, 3, 2):
            frame = backend.start({name: np.repeat(one, count, 0) for name, one in inputs.items()})
            frame.run("stage1")
            kept.append(frame.read("logits1"))
        for count, logits in zip((1, 3, 2), kept):
            np.testing.assert_allclose(logits, np.repeat(exits["stage1"], count, 0), rtol=1e-4, atol=1e-5)


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
    np.testing.assert_allclose(frame.read("logits1"), exits["stage1"], rtol=1e-3)
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
    with open_backend("openvino") as backend:
        for data in (b"", b"no graph", stereo_bundle.read_bytes("stages/stage1.plain.onnx")[:-40]):
            with pytest.raises(BackendError, match=r"x/stage1.onnx.*refuses this graph") as raised:
                backend.load(stage, data, "x/stage1.onnx")
            assert "\n" not in str(raised.value) and "src/" not in str(raised.value)
    assert capfd.readouterr().out == ""  # stdout belongs to the caller, who may be printing JSON


def test_a_graph_of_another_stage_is_named(stereo_bundle: Bundle) -> None:
    with open_backend("openvino") as backend:
        other = stereo_bundle.read_bytes("stages/stage3.plain.onnx")
        with pytest.raises(BackendError, match="stage1 reads disparity2, the manifest says left, right"):
            backend.load(stereo_bundle.manifest.stages[0], other, "stage3.onnx")


def test_a_stage_that_fails_says_so_in_one_line(stereo_bundle: Bundle) -> None:
    with open_backend("openvino") as backend:
        load(backend, stereo_bundle)
        small = {name: np.zeros((1, 3, 2, 2), np.float32) for name in ("left", "right")}
        with pytest.raises(BackendError, match=r"stage1 failed in OpenVINO.*incompatible") as raised:
            backend.start(small).run("stage1")
        assert "\n" not in str(raised.value)


def test_a_stage_that_was_not_loaded_is_named() -> None:
    with open_backend("openvino") as backend, pytest.raises(BackendError, match="stage1 is not loaded"):
        backend.start({}).run("stage1")


def test_options_that_are_another_backends_or_nonsense_are_refused() -> None:
    with pytest.raises(OptionError, match='option of backend="onnxruntime"'):
        open_backend("openvino", providers=["CPUExecutionProvider"])
    with pytest.raises(OptionError, match="positive whole number"):
        open_backend("openvino", threads=0)


def test_it_computes_in_float32_whatever_the_processor_has(stereo_bundle: Bundle) -> None:
    with open_backend("openvino", threads=1) as backend:
        properties = backend.settings["properties"]
    assert isinstance(properties, dict) and properties["INFERENCE_PRECISION_HINT"] == "f32"


def test_where_it_is_not_installed_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="pip install openvino"):
        open_backend("openvino")
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    with pytest.raises(BackendError, match="incompletely"):
        open_backend("openvino")


# --- Graphs with another runtime's operators --------------------------------------------------------------------------


def foreign(path: Path, marked: bool, runtime: str = "onnxruntime") -> Bundle:
    """The toy network, of whose second stage one graph speaks of ONNX Runtime's operators.

    ``marked``: the manifest says that it is for ``runtime`` only.
    """
    bundle = write_stereo(str(path / "plain.edgekit"))
    files = {
        name: bundle.read_bytes(name)
        for name in bundle.manifest.files
        if name.startswith(("stages", "golden"))
    }
    flat = bundle.manifest.stages[1].outputs[0].shape
    files["stages/stage2.swapped.onnx"] = graph(
        [Node("Add", ["disparity1", "com.microsoft"], ["disparity2"])], {"disparity1": flat}, {"disparity2": flat},
        {"com.microsoft": np.zeros(1, np.float32)},
    )  # fmt: skip
    stages = list(bundle.manifest.stages)
    plain, swapped = stages[1].variants
    swapped = swapped._replace(
        runtime=runtime if marked else None, bytes=len(files["stages/stage2.swapped.onnx"])
    )
    stages[1] = stages[1]._replace(variants=(swapped, plain), defaults={})
    return write_bundle(str(path / "foreign.edgekit"), bundle.manifest._replace(stages=tuple(stages)), files)


def test_a_graph_of_onnx_runtimes_own_operators_is_never_read(tmp_path: Path) -> None:
    bundle = foreign(tmp_path, marked=False)
    with pytest.raises(BackendError, match="operators are ONNX Runtime's own"):
        edgekit.load(bundle.path, backend="openvino", variants={"stage2": "swapped"})


def test_graphs_that_the_manifest_says_are_another_backends_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read_bundle(foreign(tmp_path, marked=True).path)
    assert choose_variants(bundle.manifest, "openvino", None, None)["stage2"] == "plain"
    assert [choice["stage2"] for choice in variant_choices(bundle.manifest, "openvino")] == ["plain"]
    with pytest.raises(OptionError, match="stage2's swapped is not for openvino, which can take plain"):
        edgekit.load(bundle.path, backend="openvino", variants={"stage2": "swapped"})
    assert cli.main(["verify", bundle.path, "--backend", "openvino", "--all-variants"]) == 0
    assert "swapped" not in capsys.readouterr().out


def test_graphs_that_are_openvinos_are_left_out_by_verbs_that_name_no_backend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = foreign(tmp_path, marked=True, runtime="openvino")
    assert cli.main(["verify", bundle.path, "--all-variants"]) == 0
    assert cli.main(["bench", bundle.path, "--runs", "3", "--warmup", "0", "--no-profile"]) == 0
    assert "swapped" not in capsys.readouterr().out


def test_bench_says_so_where_a_bundle_has_graphs_for_it_that_nobody_has_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = foreign(tmp_path, marked=True, runtime="openvino")
    words = ["bench", bundle.path, "--runs", "3", "--warmup", "0", "--threads", "1"]
    assert cli.main(words) == 0
    assert "--backend openvino` measures them" in " ".join(capsys.readouterr().out.split())
    measured(bundle, openvino=1.0)
    assert cli.main(words) == 0
    assert "measures them" not in capsys.readouterr().out


def test_older_bundles_which_say_nothing_of_it_take_tensorrts_graphs(stereo_bundle: Bundle) -> None:
    stage = stereo_bundle.manifest.stages[1]._replace(
        defaults={"onnxruntime": "plain", "tensorrt": "swapped"}
    )
    manifest = stereo_bundle.manifest._replace(
        stages=(stereo_bundle.manifest.stages[0], stage, *stereo_bundle.manifest.stages[2:])
    )
    assert choose_variants(manifest, "openvino", None, None)["stage2"] == "swapped"


# --- Taken without being asked for ------------------------------------------------------------------------------------


def test_it_is_taken_only_where_both_were_measured_here_and_it_was_quicker(stereo_path: Path) -> None:
    check_taken_only_where_measured(read_bundle(stereo_path), "openvino")


def test_where_it_is_gone_what_it_had_won_runs_on_onnx_runtime(
    stereo_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_bundle(stereo_path)
    measured(bundle, openvino=1.0, onnxruntime=2.0)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert taken(bundle) == "onnxruntime"


def test_bench_keeps_a_profile_for_each_backend_and_measures_the_quicker_from_then_on(
    stereo_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", str(stereo_path), "--runs", "3", "--warmup", "0", "--threads", "1"]
    for backend in ("onnxruntime", "openvino"):
        assert cli.main([*words, "--backend", backend]) == 0
    assert len(os.listdir(str(stereo_path / "profiles"))) == 2
    measured(read_bundle(stereo_path), openvino=1.0, onnxruntime=2.0)
    capsys.readouterr()
    assert cli.main(words) == 0
    assert "openvino 20" in capsys.readouterr().out
