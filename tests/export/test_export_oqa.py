"""OQA checkpoints become bundles whose weights are bits on disk, and which say what they store and compute."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgekit
from edgekit.bundle import Bundle, read_bundle
from edgekit.cli import main
from edgekit.errors import BundleError, OptionError
from edgekit.export.exporter import run as export
from edgekit.export.request import Request
from edgekit.packed import stored_bytes

SMALL: dict[str, object] = {"ks": 3, "e": 3, "d": 2}
LARGER: dict[str, object] = {"ks": 3, "e": 4, "d": 2}


def _export(shared: Path, out: Path, target: str = "cpu", **options: object) -> Bundle:
    config = dict(options.pop("config", SMALL))  # type: ignore[call-overload]
    request = Request("oqa", shared / "golden" / "oqa_b2.pth", target, (64, 64), config, out, True, **options)  # type: ignore[arg-type]
    return export(request).bundle


@pytest.fixture(scope="module")
def bundle(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return _export(shared, tmp_path_factory.mktemp("oqa") / "small.edgekit")


def test_the_manifest_says_what_every_layer_stores_and_computes(bundle: Bundle) -> None:
    variants = {variant.name: variant for variant in bundle.manifest.stages[0].variants}
    assert {name: (v.bits, v.precision) for name, v in variants.items()} == {
        "u8": (2, "int8"), "grid": (2, "float32"), "qdq": (2, "int8"), "codes": (2, "int8"),
    }  # fmt: skip
    layers = {layer.name: (layer.bits, layer.precision) for layer in variants["u8"].layers}
    assert layers["first"] == layers["classifier"] == (32, "float32")
    assert layers["blocks.1.expand"] == (2, "int8")
    assert layers["blocks.3.depthwise"] == (2, "float32"), "before squeeze-and-excitation"
    whole = {layer.name: (layer.bits, layer.precision) for layer in variants["codes"].layers}
    assert whole["blocks.3.depthwise"] == (2, "int8") and whole["classifier"] == (32, "float32")
    assert {name: v.runtime for name, v in variants.items()} == {
        "u8": "onnxruntime", "grid": None, "qdq": None, "codes": "openvino",
    }  # fmt: skip
    defaults = bundle.manifest.stages[0].defaults
    assert (defaults["onnxruntime"], defaults["openvino"], defaults["tensorrt"]) == ("u8", "codes", "grid")
    assert read_bundle(bundle.path).manifest == bundle.manifest


def test_inspect_says_what_fp16_makes_of_the_float_graph(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = next(v for v in bundle.manifest.stages[0].variants if v.name == "grid")
    halves = {layer.name: layer.float16 for layer in grid.layers}
    assert halves["first"] is None and halves["blocks.1.expand"] is not None
    assert all(half.reach <= 2048 for half in halves.values() if half is not None), "2 bits"
    assert main(["inspect", str(bundle.path)]) == 0
    assert "in FP16, sums are proven exact in" in capsys.readouterr().out


def test_two_bit_weights_take_a_tenth_of_float32_at_most(bundle: Bundle) -> None:
    variant = bundle.manifest.stages[0].variants[0]
    stored = stored_bytes(bundle.read_bytes(variant.graph))
    grid = next(v for v in bundle.manifest.stages[0].variants if v.name == "grid")
    model = onnx.load_from_string(bundle.read_graph(grid.graph))
    arrays = [numpy_helper.to_array(one) for one in model.graph.initializer]
    whole = sum(
        a.nbytes for a in arrays if a.ndim == 4 and np.array_equal(a, np.rint(a)) and abs(a).max() <= 2
    )
    assert stored[2] * 10 <= whole


def test_every_graph_of_the_bundle_shares_one_blob(bundle: Bundle) -> None:
    graphs = [stored_bytes(bundle.read_bytes(v.graph)) for v in bundle.manifest.stages[0].variants]
    assert len(graphs) == 4
    low_bit = max(stored[2] for stored in graphs)
    others = bundle.manifest.files["weights/packed.bin"].bytes - low_bit
    # Every low-bit weight once; of the float ones, squeeze-and-excitation's first matrix twice where a graph widens it.
    whole = max(stored[0] for stored in graphs)
    assert whole <= others < 1.25 * whole


@pytest.mark.parametrize(
    ("backend", "variant"),
    [
        ("onnxruntime", "u8"),
        ("onnxruntime", "grid"),
        ("onnxruntime", "qdq"),
        ("openvino", "grid"),
        ("openvino", "codes"),
    ],
)
def test_the_session_answers_as_the_network_did(
    bundle: Bundle, backend: str, variant: str, needs: Callable[[str], ModuleType]
) -> None:
    needs(backend)
    arrays = np.load(Path(bundle.path) / bundle.manifest.golden)
    with edgekit.load(bundle.path, backend, variants={"stage1": variant}, warmup=1) as session:
        logits = session.infer(image=arrays["image"]).output
    assert np.abs(logits - arrays["stage1"].ravel()).max() <= 1e-4 * np.abs(arrays["stage1"]).max()


def test_a_flipped_bit_is_found_by_its_hash(bundle: Bundle, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy.edgekit"
    shutil.copytree(bundle.path, copy)
    blob = copy / "weights" / "packed.bin"
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    with pytest.raises(BundleError, match="damaged, its hash is not the manifest's"):
        edgekit.load(copy)


def test_targets_get_what_they_can_run(shared: Path, tmp_path: Path) -> None:
    names = {
        target: [v.name for v in _export(shared, tmp_path / target, target).manifest.stages[0].variants]
        for target in ("jetson-tx2", "jetson-xavier")
    }
    assert names == {"jetson-tx2": ["grid"], "jetson-xavier": ["grid", "qdq"]}


def test_turing_multiplies_int8_between_q_and_dq_and_everything_else_in_float16(
    shared: Path, tmp_path: Path, needs: Callable[[str], ModuleType]
) -> None:
    """Parity is proven of the very graphs that are compiled."""
    needs("tensorrt_rtx")
    bundle = _export(shared, tmp_path / "turing.edgekit", "rtx-sm75")
    variants = {variant.name: variant for variant in bundle.manifest.stages[0].variants}
    assert {name: (v.bits, v.precision) for name, v in variants.items()} == {
        "grid": (16, "float16"), "qdq": (2, "int8"),
    }  # fmt: skip
    for name in variants:
        assert f"rtx/stage1.{name}.engine" in bundle.manifest.files
    layers = {layer.name: layer for layer in variants["qdq"].layers}
    assert layers["blocks.1.expand"].precision == "int8" and layers["blocks.1.expand"].float16 is None
    assert layers["first"].precision == layers["blocks.1.depthwise"].precision == "float16"
    assert layers["blocks.1.depthwise"].float16 is not None, "whether its sums are exact there"


def test_a_precision_that_the_target_lacks_is_refused_with_the_reason(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="jetson-tx2 has no INT8"):
        _export(shared, tmp_path / "x.edgekit", "jetson-tx2", precision="int8")
    with pytest.raises(OptionError, match="must be float32 or int8"):
        _export(shared, tmp_path / "x.edgekit", precision="int4")


def test_alternatives_share_the_weights_that_coincide(shared: Path, tmp_path: Path, bundle: Bundle) -> None:
    both = _export(
        shared,
        tmp_path / "both.edgekit",
        alternatives={"small": {"config": SMALL}, "larger": {"config": LARGER}},
        config={},
    )
    larger = _export(shared, tmp_path / "larger.edgekit", config=LARGER)
    low = [sum(stored_bytes(one.read_bytes(one.manifest.stages[k].variants[0].graph)).get(2, 0) for k in range(n))
           for one, n in ((bundle, 1), (larger, 1))]  # fmt: skip
    blobs = [one.manifest.files["weights/packed.bin"].bytes for one in (bundle, larger, both)]
    assert blobs[2] < blobs[0] + blobs[1] - 0.5 * low[0]


def test_the_command_lists_the_catalogue_with_published_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "oqa"]) == 0
    text = capsys.readouterr().out
    assert "oqa-b2-64.1" in text and "top-1 (published)" in text
    assert main(["models", "oqa", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 19
