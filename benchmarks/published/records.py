"""The published records that a prediction can be held against, each with the sketch of its network; and why others cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx_ir as ir

from benchmarks.published import classifiers, inceptions, pictures

FILE = "facts/jetson_published_latency.json"


@dataclass(frozen=True)
class Record:
    """One published latency of one picture on a Jetson's GPU under TensorRT.

    Attributes:
        device: as the source calls it, such as ``TX2``.
        network: the sketch it is of, such as ``resnet50``; batch norms make no difference to it.
        family: networks that are built alike, such as ``resnet``.
        height, width: of the picture in px.
        precision: ``fp32``, ``fp16`` or ``int8``.
        milliseconds: that was published.
        source: who published it.
        name: the network in the source's words.
    """

    device: str
    network: str
    family: str
    height: int
    width: int
    precision: str
    milliseconds: float
    source: str
    name: str

    @property
    def source_name(self) -> str:
        """The repository, and for MLPerf all rounds as one: who timed it with the same program."""
        words = self.source.split()
        return "mlperf" if "mlcommons" in self.source else words[1]


def usable(shared: Path) -> tuple[list[Record], dict[str, int]]:
    """The records that can be compared, and how many others there are by why they cannot."""
    found: list[Record] = []
    left: dict[str, int] = {}
    for entry in json.loads((shared / FILE).read_text())["records"]:
        reason, record = _read(entry)
        if record is None:
            left[reason] = left.get(reason, 0) + 1
        else:
            found.append(record)
    return found, left


def sketch(record: Record) -> ir.Model:
    """The graph of a record's network."""
    return _NETWORKS[record.network](record.height, record.width)


def _read(entry: dict[str, object]) -> tuple[str, Record | None]:
    backend, source, note = str(entry["backend"]), str(entry["source"]), str(entry["note"])
    network = _network(str(entry["model"]))
    if backend not in ("TensorRT", "TF-TRT"):
        return "another runtime than TensorRT, or a DLA", None
    if "demo loop" in note or "whole pipeline" in note:
        return "a whole pipeline's rate, not a network's latency", None
    if entry["batch"] != 1:
        return "no latency of one picture", None
    if network is None:
        return "no sketch of its network", None
    sides = re.match(r"(\d+)x(\d+)", str(entry["input"]))
    latency = entry["latency_ms"] or (1e3 / float(str(entry["fps"])) if entry["fps"] else None)
    precision = entry["precision"] or _unstated(source)
    if sides is None or latency is None or precision is None:
        return "size or precision are not stated", None
    width, height = int(sides[1]), int(sides[2])
    family = re.match(r"[a-z_]+", network)
    assert family is not None
    return "", Record(
        str(entry["device"]), network, family[0].rstrip("_"), height, width, str(precision), float(str(latency)),
        re.sub(r" @.*", "", source), str(entry["model"]),
    )  # fmt: skip


def _unstated(source: str) -> str | None:
    """What the source's tool takes where it names no precision: jetson-inference FP16 where it is fast, trtexec FP32."""
    if "jetson-inference" in source:
        return "fp16"
    return "fp32" if "EfficientFormer" in source else None


def _network(model: str) -> str | None:
    """The sketch for a model's published name."""
    name = (
        model.replace("_bn", "")
        .replace("-v1.5", "")
        .replace("mobilenet-v1", "mobilenet_v1")
        .replace("-7.onnx", "")
    )
    name = re.sub(r"resnet_v1_(\d+)", r"resnet\1", name)
    name = (
        re.sub(r"resnet_v2_(\d+)", r"resnet\1_v2", name)
        .replace("vgg_16", "vgg16")
        .replace("mobilenetv2", "mobilenet_v2")
    )
    name = re.sub(r"mobilenet_v1_(\d)p(\d+)_\d+", r"mobilenet_v1_\1.\2", name)
    name = "mobilenet_v1_1.0" if name == "mobilenet_v1" else name
    return name if name in _NETWORKS else None


def _square(build: Callable[[int], ir.Model]) -> Callable[[int, int], ir.Model]:
    """A network of square pictures."""

    def built(height: int, width: int) -> ir.Model:
        assert height == width, f"a square picture, not {width}x{height}"
        return build(height)

    return built


_NETWORKS: dict[str, Callable[[int, int], ir.Model]] = {
    "alexnet": _square(classifiers.alexnet),
    **{f"vgg{n}": _square(partial(classifiers.vgg, n)) for n in (11, 13, 16, 19)},
    "squeezenet1_0": _square(partial(classifiers.squeezenet, "1.0")),
    "squeezenet1_1": _square(partial(classifiers.squeezenet, "1.1")),
    **{f"resnet{n}": _square(partial(classifiers.resnet, n)) for n in (18, 34, 50, 101, 152)},
    **{f"resnet{n}_v2": _square(partial(classifiers.resnet, n, preactivated=True)) for n in (50, 101, 152)},
    **{f"densenet{n}": _square(partial(classifiers.densenet, n)) for n in (121, 161, 169, 201)},
    **{f"mobilenet_v1_{v}": _square(partial(classifiers.mobilenet_v1, v)) for v in (0.25, 0.5, 1.0)},
    "mobilenet_v2": _square(classifiers.mobilenet_v2),
    **{
        f"mnasnet{str(v).replace('.', '_')}": _square(partial(classifiers.mnasnet, v))
        for v in (0.5, 0.75, 1.0, 1.3)
    },
    **{
        f"shufflenet_v2_x{v.replace('.', '_')}": _square(partial(classifiers.shufflenet_v2, v))
        for v in ("0.5", "1.0", "1.5", "2.0")
    },
    "inception_v1": _square(inceptions.inception_v1),
    "inception_v2": _square(inceptions.inception_v2),
    "inception_v3": _square(inceptions.inception_v3),
    "inception_v4": _square(inceptions.inception_v4),
    "inception_resnet_v2": _square(inceptions.inception_resnet_v2),
    "fcn-resnet18": pictures.fcn_resnet18,
    "ssd-mobilenet_v1": _square(pictures.ssd_mobilenet_v1),
}
