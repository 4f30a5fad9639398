"""Small bundles for the verbs: a stereo network of three stages, the last one slow, and a classifier."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit import cli
from edgekit.bundle import InputSpec, Manifest, Preprocessing, StageSpec, TensorSpec, Variant, write_bundle

onnx = pytest.importorskip("onnx", reason="needs onnx, which is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

HEIGHT, WIDTH = 40, 64
PICTURE = (37, 60)
SLOW = 500  # rows of the matrices that the last stage multiplies
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def graph(name, nodes, inputs, outputs, constants=()):
    """A serialised opset 13 graph; inputs and outputs as name -> shape."""

    def infos(shapes):
        return [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in shapes.items()]

    initializers = [
        numpy_helper.from_array(np.asarray(value, np.float32), key) for key, value in dict(constants).items()
    ]
    made = helper.make_graph(nodes, name, infos(inputs), infos(outputs), initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def picture_input(name, height, width):
    recipe = Preprocessing(PICTURE[0], PICTURE[1], "RGB", MEAN, STD) if height == HEIGHT else None
    recipe = recipe or Preprocessing(height, width, "RGB", MEAN, STD)
    return InputSpec(name, "float32", (1, 3, height, width), "NCHW", None, recipe)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def stereo_files():
    map_shape, picture_shape = (1, 1, HEIGHT, WIDTH), (1, 3, HEIGHT, WIDTH)
    weights = np.array([3.0, 2.0, 1.0], np.float32).reshape(1, 3, 1, 1)
    pictures = {"left": picture_shape, "right": picture_shape}
    node = helper.make_node
    first = graph(
        "stage1",
        [
            node("Sub", ["left", "right"], ["gap"]),
            node("Conv", ["gap", "weights"], ["shift"]),
            node("Abs", ["shift"], ["disparity1"]),
        ],
        pictures,
        {"disparity1": map_shape},
        {"weights": weights},
    )
    flat = {"disparity1": map_shape, "left": picture_shape}
    doubled = graph(
        "plain", [node("Add", ["disparity1", "disparity1"], ["disparity2"])], flat, {"disparity2": map_shape}
    )
    scaled = graph(
        "scaled",
        [node("Mul", ["disparity1", "two"], ["disparity2"])],
        flat,
        {"disparity2": map_shape},
        {"two": [2.0]},
    )
    multiply = [node("MatMul", [f"m{step}", "matrix"], [f"m{step + 1}"]) for step in range(6)]
    slow = graph(
        "stage3",
        [
            node("ReduceMean", ["left"], ["mean"], keepdims=0),
            node("Mul", ["matrix", "mean"], ["m0"]),
            *multiply,
            node("ReduceMean", ["m6"], ["tiny"], keepdims=0),
            node("Mul", ["tiny", "zero"], ["nothing"]),
            node("Add", ["disparity2", "one"], ["moved"]),
            node("Add", ["moved", "nothing"], ["disparity3"]),
        ],
        {"disparity2": map_shape, "left": picture_shape},
        {"disparity3": map_shape},
        {"matrix": np.eye(SLOW) * 0.5, "zero": [0.0], "one": [1.0]},
    )
    generator = np.random.default_rng(0)
    left, right = (generator.normal(size=picture_shape).astype(np.float32) for _ in range(2))
    one = np.abs(((left - right) * weights).sum(axis=1, keepdims=True))
    golden = npz(left=left, right=right, stage1=one, stage2=2 * one, stage3=2 * one + 1)
    return {
        "stages/stage1.plain.onnx": first,
        "stages/stage2.plain.onnx": doubled,
        "stages/stage2.scaled.onnx": scaled,
        "stages/stage3.plain.onnx": slow,
        "golden/golden.npz": golden,
    }


def stage(name, inputs, exit_name, shape, unit, files, variants):
    found = tuple(
        Variant(
            variant,
            f"stages/{name}.{variant}.onnx",
            32,
            "float32",
            len(files[f"stages/{name}.{variant}.onnx"]),
        )
        for variant in variants
    )
    output = TensorSpec(exit_name, "float32", shape, "NCHW" if len(shape) == 4 else "NC", unit)
    return StageSpec(name, inputs, exit_name, (output,), 123_000, 456, found, {"onnxruntime": variants[0]})


def write_stereo(path, change=lambda files: files):
    files = change(stereo_files())
    shape = (1, 1, HEIGHT, WIDTH)
    manifest = Manifest(
        name="tiny",
        family="tinystereo",
        task="stereo",
        options={"maxdisplist": [12, 3, 3]},
        target="jetson",
        provenance={"edgekit": "0.1.0", "checkpoint": "none"},
        inputs=tuple(picture_input(name, HEIGHT, WIDTH) for name in ("left", "right")),
        stages=(
            stage("stage1", ("left", "right"), "disparity1", shape, "px", files, ["plain"]),
            stage("stage2", ("disparity1", "left"), "disparity2", shape, "px", files, ["plain", "scaled"]),
            stage("stage3", ("disparity2", "left"), "disparity3", shape, "px", files, ["plain"]),
        ),
        exits={},
    )
    write_bundle(path, manifest, files)
    return str(path)


def write_classifier(path):
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(3 * 8 * 8, 10)).astype(np.float32)
    logits = graph(
        "stage1",
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits1"]),
        ],
        {"image": (1, 3, 8, 8)},
        {"logits1": (1, 10)},
        {"weights": weights},
    )
    image = generator.normal(size=(1, 3, 8, 8)).astype(np.float32)
    files = {
        "stages/stage1.plain.onnx": logits,
        "golden/golden.npz": npz(image=image, stage1=image.reshape(1, -1) @ weights),
    }
    manifest = Manifest(
        name="tinyclass",
        family="tinyclass",
        task="classification",
        options={},
        target="cpu",
        provenance={"edgekit": "0.1.0"},
        inputs=(picture_input("image", 8, 8),),
        stages=(stage("stage1", ("image",), "logits1", (1, 10), None, files, ["plain"]),),
        exits={},
    )
    write_bundle(path, manifest, files)
    return str(path)


@pytest.fixture(scope="session")
def stereo(tmp_path_factory):
    """A stereo bundle that no test changes."""
    return write_stereo(tmp_path_factory.mktemp("bundles") / "tiny.edgekit")


@pytest.fixture
def own_stereo(tmp_path):
    """Write a stereo bundle that the test may change; takes a function that changes its files before they are hashed."""
    return lambda change=lambda files: files: write_stereo(tmp_path / "own.edgekit", change)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A classifier's bundle that no test changes."""
    return write_classifier(tmp_path_factory.mktemp("bundles") / "class.edgekit")


@pytest.fixture
def edgekit():
    """Run `edgekit` as a process of its own."""

    def run(*arguments, python=sys.executable, cwd=None):
        command = [python, "-m", "edgekit", *map(str, arguments)]
        root = Path(__file__).resolve().parents[3]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd or root)

    return run


@pytest.fixture
def refused(capfd):
    """Run `edgekit` in this process, which is quicker by its start; for mistakes. A traceback would be the test's own."""

    def run(*arguments):
        capfd.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        said = capfd.readouterr()
        assert code == 2, said.out
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run
