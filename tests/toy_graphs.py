"""ONNX graphs and bundles small enough to check by hand, written without the onnx package, which Python 3.6 may not have."""

import io
import struct
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.bundle import (
    Bundle,
    ExitSpec,
    InputSpec,
    Manifest,
    NetworkSpec,
    Preprocessing,
    StageSpec,
    TensorSpec,
    Variant,
    write_bundle,
)

FLOAT = 1  # TensorProto.DataType
ROWS, COLUMNS = 16, 32
PICTURE = (14, 30)
MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 2.0)


Attribute = Union[int, Sequence[int]]


class Node(NamedTuple):
    """One operator; attributes are whole numbers or lists of them."""

    kind: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Attribute] = {}


def graph(
    nodes: Sequence[Node],
    inputs: Mapping[str, Sequence[Optional[int]]],
    outputs: Mapping[str, Sequence[Optional[int]]],
    constants: Mapping[str, np.ndarray],
) -> bytes:
    """A float32 graph of opset 13 as the bytes of an ONNX file; field numbers are those of onnx.proto3.

    A side of None may have any length.
    """
    body = b"".join(_message(1, _node(node)) for node in nodes) + _text(2, "toy")
    body += b"".join(_message(5, _tensor(name, value)) for name, value in constants.items())
    body += b"".join(_message(11, _info(name, shape)) for name, shape in inputs.items())
    body += b"".join(_message(12, _info(name, shape)) for name, shape in outputs.items())
    return _number(1, 7) + _message(7, body) + _message(8, _text(1, "") + _number(2, 13))


def stereo_manifest(files: Mapping[str, bytes]) -> Manifest:
    """Four stages: stage1, stage2 and stage4 have an exit, stage3 only works for stage4; stage2 has two variants."""
    picture, flat = (1, 3, ROWS, COLUMNS), (1, 1, ROWS, COLUMNS)
    recipe = Preprocessing(PICTURE[0], PICTURE[1], "RGB", MEAN, STD)

    def tensor(name: str, shape: Tuple[int, ...], unit: Optional[str] = None) -> TensorSpec:
        return TensorSpec(name, "float32", shape, "NCHW", unit)

    def variants(stage: str, *names: str) -> Tuple[Variant, ...]:
        paths = [(name, f"stages/{stage}.{name}.onnx") for name in names]
        return tuple(Variant(name, path, 32, "float32", len(files[path])) for name, path in paths)

    return Manifest(
        name="toy",
        family="toy",
        task="stereo",
        options={"list": [1, 2], "text": "é"},
        target="cpu",
        provenance={"edgekit": "0.1.0", "opset": 13},
        inputs=tuple(
            InputSpec(name, "float32", picture, "NCHW", None, recipe) for name in ("left", "right")
        ),
        stages=(
            StageSpec("stage1", ("left", "right"), "disparity1", (tensor("disparity1", flat, "px"), tensor("gap", picture)),
                      10, 0, variants("stage1", "plain"), {}),
            StageSpec("stage2", ("disparity1", "gap"), "disparity2", (tensor("disparity2", flat, "px"),),
                      20, 1, variants("stage2", "plain", "swapped"), {"onnxruntime": "swapped"}),
            StageSpec("stage3", ("disparity2",), None, (tensor("half", flat),), 5, 1, variants("stage3", "plain"), {}),
            StageSpec("stage4", ("left", "half"), "disparity4", (tensor("disparity4", flat, "px"),),
                      30, 0, variants("stage4", "plain"), {}),
        ),
        exits={"stage1": ExitSpec(None, 0.5), "stage4": ExitSpec(0.25, None)},
    )  # fmt: skip


def stereo_files() -> Dict[str, bytes]:
    """The graphs of `stereo_manifest` and its golden arrays."""
    picture, flat = (1, 3, ROWS, COLUMNS), (1, 1, ROWS, COLUMNS)
    mean: Dict[str, Attribute] = {"axes": [1], "keepdims": 1}
    files = {
        "stages/stage1.plain.onnx": graph(
            [Node("Sub", ["left", "right"], ["gap"]), Node("ReduceMean", ["gap"], ["disparity1"], mean)],
            {"left": picture, "right": picture}, {"disparity1": flat, "gap": picture}, {},
        ),
        "stages/stage3.plain.onnx": graph(
            [Node("Mul", ["disparity2", "factor"], ["half"])], {"disparity2": flat}, {"half": flat},
            {"factor": np.array([0.5], np.float32)},
        ),
        "stages/stage4.plain.onnx": graph(
            [Node("ReduceMean", ["left"], ["level"], mean), Node("Add", ["half", "level"], ["disparity4"])],
            {"left": picture, "half": flat}, {"disparity4": flat}, {},
        ),
    }  # fmt: skip
    for name, order in (("plain", ["disparity1", "peak"]), ("swapped", ["peak", "disparity1"])):
        files[f"stages/stage2.{name}.onnx"] = graph(
            [Node("ReduceMax", ["gap"], ["peak"], mean), Node("Add", order, ["disparity2"])],
            {"disparity1": flat, "gap": picture}, {"disparity2": flat}, {},
        )  # fmt: skip
    random = np.random.RandomState(7)
    left, right = (random.randn(*picture).astype(np.float32) for _ in range(2))
    files["golden/golden.npz"] = npz(left=left, right=right, **stereo_exits(left, right))
    return files


def stereo_exits(left: np.ndarray, right: np.ndarray) -> Dict[str, np.ndarray]:
    """What the exits of the toy stereo network must be."""
    one = (left - right).mean(axis=1, keepdims=True)
    two = one + (left - right).max(axis=1, keepdims=True)
    return {"stage1": one, "stage2": two, "stage4": two / 2 + left.mean(axis=1, keepdims=True)}


def write_stereo(path: str) -> Bundle:
    """The toy stereo network as a bundle."""
    files = stereo_files()
    return write_bundle(path, stereo_manifest(files), files)


def write_classifier(path: str, layers: int = 1, width: int = 8) -> Bundle:
    """Two stages that each multiply (1, width) by ``layers`` matrices; with many and wide ones, the second takes long."""
    shape = (1, width)
    names = [f"h{k}" for k in range(layers)] + ["logits2"]
    small = graph([Node("Relu", ["image"], ["logits1"])], {"image": shape}, {"logits1": shape}, {})
    rows = (width, width)
    nodes = [Node("Mul", ["ones", "logits1"], ["h0"])]
    nodes += [Node("MatMul", [names[k], "ones"], [f"m{k}"]) for k in range(layers)]
    nodes += [Node("Mul", [f"m{k}", "scale"], [f"h{k + 1}"]) for k in range(layers)]
    nodes += [Node("ReduceMean", [f"h{layers}"], ["logits2"], {"axes": [0], "keepdims": 1})]
    constants = {"ones": np.ones(rows, np.float32), "scale": np.array([1.0 / width], np.float32)}
    large = graph(nodes, {"logits1": shape}, {"logits2": shape}, constants)
    image = np.arange(width, dtype=np.float32)[None] - 2
    relu = np.maximum(image, 0)
    second = np.full(shape, relu.mean(), np.float32)
    files = {"stages/stage1.onnx": small, "stages/stage2.onnx": large}
    files["golden/golden.npz"] = npz(image=image, stage1=relu, stage2=second)
    stages = [
        StageSpec(
            f"stage{k}", (source,), f"logits{k}", (TensorSpec(f"logits{k}", "float32", shape, "NC"),), 1, 1,
            (Variant("plain", f"stages/stage{k}.onnx", 32, "float32", len(files[f"stages/stage{k}.onnx"])),), {},
        )
        for k, source in ((1, "image"), (2, "logits1"))
    ]  # fmt: skip
    image_input = InputSpec("image", "float32", shape, "NC", None, None)
    manifest = Manifest(
        "toyclass",
        "toy",
        "classification",
        {},
        "cpu",
        {"edgekit": "0.1.0"},
        (image_input,),
        tuple(stages),
        {},
    )
    return write_bundle(path, manifest, files)


def alternatives_manifest(files: Mapping[str, bytes]) -> Manifest:
    """Three classifiers of rising cost: ``small`` and ``large`` have one stage, ``medium`` has two; ``large`` sees more pixels."""

    def image(rows: int, columns: int) -> InputSpec:
        recipe = Preprocessing(rows, columns, "RGB", MEAN, STD)
        return InputSpec("image", "float32", (1, 3, rows, columns), "NCHW", None, recipe)

    def stage(number: int, source: str, exit_: str, macs: int, graph: str) -> StageSpec:
        plain = Variant("plain", graph, 32, "float32", len(files[graph]))
        logits = TensorSpec(exit_, "float32", (1, 3), "NC")
        return StageSpec(f"stage{number}", (source,), exit_, (logits,), macs, 0, (plain,), {})

    mean, doubled = "stages/stage1.plain.onnx", "stages/stage3.plain.onnx"
    return Manifest(
        name="choice",
        family="toy",
        task="classification",
        options={},
        target="cpu",
        provenance={"edgekit": "0.1.0"},
        inputs=(image(8, 8),),
        stages=(
            stage(1, "image", "logits1", 10, mean),
            stage(2, "image", "logits1", 10, mean),
            stage(3, "logits1", "logits2", 20, doubled),
            stage(4, "image", "logits1", 90, "stages/stage4.plain.onnx"),
        ),
        exits={
            "stage1": ExitSpec(None, 0.6, "published"),
            "stage2": ExitSpec(None, 0.5),
            "stage3": ExitSpec(None, 0.7),
            "stage4": ExitSpec(None, 0.8),
        },
        networks=(
            NetworkSpec("small", ("stage1",), {"e": 3}),
            NetworkSpec("medium", ("stage2", "stage3"), {"e": 4}),
            NetworkSpec("large", ("stage4",), {"e": 6}, (image(12, 16),)),
        ),
    )


def alternatives_files() -> Dict[str, bytes]:
    """The graphs of `alternatives_manifest`, of which the first serves two stages, and its golden arrays."""
    mean: Dict[str, Attribute] = {"axes": [2, 3], "keepdims": 0}
    logits = (1, 3)
    files = {
        f"stages/stage{number}.plain.onnx": graph(
            [Node("ReduceMean", ["image"], ["logits1"], mean)],
            {"image": (1, 3, *size)},
            {"logits1": logits},
            {},
        )
        for number, size in ((1, (8, 8)), (4, (12, 16)))
    }
    files["stages/stage3.plain.onnx"] = graph(
        [Node("Add", ["logits1", "logits1"], ["logits2"])], {"logits1": logits}, {"logits2": logits}, {}
    )
    random = np.random.RandomState(3)
    less, more = (random.randn(1, 3, *size).astype(np.float32) for size in ((8, 8), (12, 16)))
    arrays = {
        "image": less,
        "large/image": more,
        "stage1": less.mean((2, 3)),
        "stage2": less.mean((2, 3)),
        "stage3": 2 * less.mean((2, 3)),
        "stage4": more.mean((2, 3)),
    }
    files["golden/golden.npz"] = npz(**arrays)
    return files


def write_alternatives(path: str) -> Bundle:
    """The toy alternatives as a bundle."""
    files = alternatives_files()
    return write_bundle(path, alternatives_manifest(files), files)


SIDE, FEATURES = 6, 12


def exits_weights(exits: int, classes: int, seed: int = 0) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Of the network of `write_exits`: for every stage the weights of its features and those of its logits.

    Every exit comes closer to the last one's answer.
    """
    random = np.random.RandomState(seed)
    first = random.randn(3 * SIDE * SIDE, FEATURES) * 0.3
    head = random.randn(FEATURES, classes)
    heads = [head + 0.4 * k * random.randn(FEATURES, classes) for k in range(exits - 1, -1, -1)]
    own = [first] + [np.eye(FEATURES)] * (exits - 1)
    return [(a.astype(np.float32), b.astype(np.float32)) for a, b in zip(own, heads)]


def exits_logits(images: np.ndarray, weights: Sequence[Tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """What the exits of that network must be: (exits, samples, classes) for tensors (samples, 3, SIDE, SIDE)."""
    features, found = images.reshape(len(images), -1), []
    for own, head in weights:
        features = np.maximum(features @ own, 0)
        found.append(features @ head)
    return np.asarray(found)


def write_exits(
    path: str, exits: int = 3, classes: int = 5, batch: Optional[int] = 1, seed: int = 0, name: str = "exits"
) -> Bundle:
    """A classifier of SIDE x SIDE pictures with an exit at every stage; ``batch``: pictures at once, None for any number."""
    weights = exits_weights(exits, classes, seed)
    files: Dict[str, bytes] = {}
    stages = []
    for k, (own, head) in enumerate(weights, 1):
        source = "image" if k == 1 else f"features{k - 1}"
        shape = (batch, 3, SIDE, SIDE) if k == 1 else (batch, FEATURES)
        nodes = [Node("Flatten", ["image"], ["flat"])] if k == 1 else []
        nodes += [
            Node("MatMul", ["flat" if k == 1 else source, "own"], ["sums"]),
            Node("Relu", ["sums"], [f"features{k}"]),
            Node("MatMul", [f"features{k}", "head"], [f"logits{k}"]),
        ]
        outputs = {f"logits{k}": (batch, classes), f"features{k}": (batch, FEATURES)}
        files[f"stages/stage{k}.onnx"] = graph(nodes, {source: shape}, outputs, {"own": own, "head": head})
        tensors = tuple(
            TensorSpec(output, "float32", (batch or 1, sides[1]), "NC") for output, sides in outputs.items()
        )
        variant = Variant(
            "plain", f"stages/stage{k}.onnx", 32, "float32", len(files[f"stages/stage{k}.onnx"])
        )
        macs = int(own.size + head.size)
        stages.append(
            StageSpec(f"stage{k}", (source,), f"logits{k}", tensors, macs, macs, (variant,), {})
        )  # fmt: skip
    image = np.random.RandomState(seed + 1).randn(batch or 1, 3, SIDE, SIDE).astype(np.float32)
    logits = exits_logits(image, weights)
    files["golden/golden.npz"] = npz(image=image, **{f"stage{k + 1}": one for k, one in enumerate(logits)})
    recipe = Preprocessing(SIDE, SIDE, "RGB", MEAN, STD)
    inputs = (InputSpec("image", "float32", (batch or 1, 3, SIDE, SIDE), "NCHW", None, recipe),)
    manifest = Manifest(
        name, "toy", "classification", {}, "cpu", {"edgekit": "0.1.0"}, inputs, tuple(stages), {}, batch=batch
    )
    return write_bundle(path, manifest, files)


def npz(**arrays: np.ndarray) -> bytes:
    """The bytes of an ``.npz`` file."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's annotation offers them its own allow_pickle
    return stream.getvalue()


def _node(node: Node) -> bytes:
    data = b"".join(_text(1, name) for name in node.inputs) + b"".join(
        _text(2, name) for name in node.outputs
    )
    data += _text(4, node.kind)
    for name, value in node.attributes.items():
        if isinstance(value, int):
            attribute = _text(1, name) + _number(3, value) + _number(20, 2)
        else:
            attribute = _text(1, name) + b"".join(_number(8, item) for item in value) + _number(20, 7)
        data += _message(5, attribute)
    return data


def _tensor(name: str, value: np.ndarray) -> bytes:
    dims = b"".join(_number(1, side) for side in value.shape)
    return dims + _number(2, FLOAT) + _text(8, name) + _message(9, value.astype("<f4").tobytes())


def _info(name: str, shape: Sequence[Optional[int]]) -> bytes:
    dims = b"".join(_message(1, b"" if side is None else _number(1, side)) for side in shape)
    return _text(1, name) + _message(2, _message(1, _number(1, FLOAT) + _message(2, dims)))


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode("utf-8"))


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    groups: List[int] = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return struct.pack(f"{len(groups) + 1}B", *groups, value)
