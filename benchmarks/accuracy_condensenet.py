"""The shipped CondenseNet against a plain DenseNet of its cost that was trained alike: accuracy against MACs, bytes and ms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import edgekit
from benchmarks.accuracy import Context, Section
from benchmarks.cards import card
from benchmarks.figures import Figure
from benchmarks.timing import interleave, whole
from edgekit.bundle import Bundle
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions
from edgekit.models.condensenet_checkpoint import check_config
from edgekit.models.shipped import shipped
from edgekit.models.training.classification.batches import Normalise
from edgekit.models.training.classification.data import ClassificationData, load_data

OURS, PEER = "CondenseNet", "DenseNet"
ORIGIN = {OURS: "measured, in the bundle", PEER: "of its training's card"}


@dataclass(frozen=True)
class Network:
    """One trained network.

    Attributes:
        accuracy: share of the test pictures that is right.
        before_conversion: the same in training form.
        half_of_classifier: the same where conversion drops half of the classifier's inputs, as the authors' does.
        origin: of the first; the others are of the training's card.
        macs, parameters: as exported.
        bytes: of its graph and weights.
        ms: of one picture, tensor to tensor.
    """

    accuracy: float
    before_conversion: float
    half_of_classifier: float
    origin: str
    macs: int
    parameters: int
    bytes: int
    ms: float


def measure(context: Context) -> Section:
    """Both networks on JPEG CIFAR-10.

    Raises:
        OptionError: the pictures are absent.
        CheckpointError: no weights are shipped.
    """
    torch.set_num_threads(context.threads)
    cards = {OURS: dict(shipped("condensenet").card), PEER: card("densenet")}
    data = load_data(context.pictures, cards[OURS]["seed"])
    bundles = {
        OURS: edgekit.export(model="condensenet", target="cpu", out=context.scratch / "condensenet.edgekit"),
        PEER: _peer(cards[PEER], context.scratch),
    }
    image = np.zeros((1, 3, 32, 32), np.float32)
    sessions = {name: edgekit.load(bundle.path, threads=context.threads) for name, bundle in bundles.items()}
    runs = {name: whole(name, partial(session.infer, image=image)) for name, session in sessions.items()}
    times = interleave(runs, context.rounds, context.runs)
    found = {}
    for name, bundle in bundles.items():
        told: Mapping[str, float] = cards[name]["accuracy"]
        accuracy = right_share(sessions[name], bundle, data) if name == OURS else told["stage1"]
        stage = bundle.manifest.stages[0]
        found[name] = Network(
            accuracy, told["before_conversion"], told["half_of_classifier"], ORIGIN[name],
            stage.macs, stage.parameters, _bytes(bundle), times.median(name),
        )  # fmt: skip
        sessions[name].close()
    result: dict[str, object] = {
        "data": data.name,
        "epochs": {name: one["epochs"] for name, one in cards.items()},
        "options": {name: one["options"] for name, one in cards.items()},
        "networks": {name: asdict(one) for name, one in found.items()},
    }
    return Section(result, figures(found), lambda path: draw(found, data.name, path))


def right_share(session: Any, bundle: Bundle, data: ClassificationData) -> float:
    """Share of the test pictures that a loaded classifier gets right, one after the other."""
    spec = bundle.manifest.inputs[0].preprocessing
    assert spec is not None  # a classifier's input is a picture
    normalise, right = Normalise(tuple(spec.mean), tuple(spec.std)), 0
    for start in range(0, len(data.test.labels), 500):
        planes = np.ascontiguousarray(data.test.images[start : start + 500].transpose(0, 3, 1, 2))
        for picture, label in zip(
            normalise(planes).numpy(), data.test.labels[start : start + 500], strict=True
        ):
            right += int(session.infer(image=picture[None]).output.argmax() == label)
    return right / len(data.test.labels)


def _peer(told: Mapping[str, Any], scratch: Path) -> Bundle:
    """The plain DenseNet's bundle; its cost does not depend on its weights, which are random."""
    named = {name: value for name, value in told["options"].items() if name != "classifier_share"}
    options = CondenseNetOptions(**check_config(named))  # type: ignore[arg-type]
    net = CondenseNet(options)
    net.condense(1.0)
    save_file(net.state_dict(), scratch / "densenet.safetensors")
    return edgekit.export(
        model="condensenet", checkpoint=scratch / "densenet.safetensors", target="cpu", config=told["options"],
        out=scratch / "densenet.edgekit",
    )  # fmt: skip


def _bytes(bundle: Bundle) -> int:
    stage = bundle.manifest.stages[0]
    chosen = next(variant for variant in stage.variants if variant.name == stage.defaults["onnxruntime"])
    return chosen.bytes


def figures(found: Mapping[str, Network]) -> list[Figure]:
    """The bars."""
    ours, peer = found[OURS], found[PEER]
    lost = 100 * (ours.before_conversion - ours.accuracy)
    share = ours.macs / peer.macs
    return [
        Figure("CondenseNet: conversion costs", "<= 0.2 points", f"{lost:.2f}", lost <= 0.2),
        Figure(
            f"CondenseNet against the plain DenseNet at {share:.2f} of its MACs",
            f"> {peer.accuracy:.2%}", f"{ours.accuracy:.2%}", share <= 1.01 and ours.accuracy > peer.accuracy,
        ),
    ]  # fmt: skip


def draw(found: Mapping[str, Network], data: str, out: Path) -> None:
    """Accuracy against each cost."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas((9, 3.2), dpi=100, layout="constrained")
    costs: tuple[tuple[str, Callable[[Network], float]], ...] = (
        ("MACs, millions", lambda n: n.macs / 1e6),
        ("graph and weights, KiB", lambda n: n.bytes / 1024),
        ("one picture, ms", lambda n: n.ms),
    )
    for axes, (label, cost) in zip(canvas.subplots(1, 3, sharey=True), costs, strict=True):
        for (name, one), mark in zip(found.items(), "oD", strict=True):
            axes.plot([cost(one)], [100 * one.accuracy], mark, label=name)
        axes.set_xlim(0, 1.3 * max(cost(one) for one in found.values()))
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        if label.startswith("MACs"):
            axes.set_ylabel(f"right, % of {data}'s test pictures", fontsize=8)
            axes.legend(fontsize=8)
    canvas.savefig(out)
