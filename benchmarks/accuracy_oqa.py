"""The shipped OQA supernets at 4, 3 and 2 bits: accuracy against bytes and ms, inheritance against training from float, float beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import edgekit
from benchmarks.accuracy import Context, Section
from benchmarks.accuracy_condensenet import right_share
from benchmarks.cards import card
from benchmarks.figures import Figure
from benchmarks.oqa_subjects import plain_graphs, quantised_bytes
from benchmarks.plot import logarithmic
from benchmarks.runtimes import in_onnxruntime
from benchmarks.timing import interleave, whole
from edgekit.bundle import Bundle
from edgekit.models.oqa_staged import SHIPPED_SIZE, StagedOqa
from edgekit.models.registry import build
from edgekit.models.shipped import shipped
from edgekit.models.training.classification.data import load_data
from edgekit.packed import stored_bytes

SHIPPED = {4: "oqa", 3: "oqa-b3", 2: "oqa-b2"}
FLOAT, SCRATCH = "float", "2 bits, from float at once"
ON = "float, trained on as the 4 bits"
# The trainings that these cards' trainings went on from
EARLIER = {FLOAT: "oqa-float-first", "4 bits": "oqa-b4-first"}


@dataclass(frozen=True)
class Network:
    """The largest subnet of one supernet.

    Attributes:
        accuracy: share of the test pictures that is right.
        subnets: the same of the subnets that its card tells, batch norms recalibrated.
        origin: of ``accuracy``: measured in the bundle, or of the training's card.
        epochs: of its own training, and of those that it inherited from.
        macs: of one picture.
        bytes: of the quantised layers' weights as stored; in float32 for a float network.
        ms: of one picture, tensor to tensor; None where it is the same graph as another's.
    """

    accuracy: float
    subnets: Mapping[str, float]
    origin: str
    epochs: tuple[float, float]
    macs: int
    bytes: int
    ms: float | None


def measure(context: Context) -> Section:
    """Every bit-width on JPEG CIFAR-10.

    Raises:
        OptionError: the pictures are absent.
        CheckpointError: no weights are shipped.
    """
    torch.set_num_threads(context.threads)
    image = np.zeros((1, 3, SHIPPED_SIZE, SHIPPED_SIZE), np.float32)
    bundles = {
        bits: edgekit.export(
            model="oqa", config={"bits": bits}, target="cpu", out=context.scratch / f"{name}.edgekit"
        )
        for bits, name in SHIPPED.items()
    }
    sessions = {bits: edgekit.load(bundle.path, threads=context.threads) for bits, bundle in bundles.items()}
    staged = build("oqa", None, {}, None)
    assert isinstance(staged, StagedOqa)
    runs: dict[str, Callable[[], object]] = {
        f"{b} bits": partial(s.infer, image=image) for b, s in sessions.items()
    }
    runs[FLOAT] = partial(
        in_onnxruntime(plain_graphs(staged.net, SHIPPED_SIZE)["float"], context.threads), image
    )
    times = interleave({name: whole(name, run) for name, run in runs.items()}, context.rounds, context.runs)
    cards = {f"{bits} bits": dict(shipped(name).card) for bits, name in SHIPPED.items()}
    data = load_data(context.pictures, int(cards["4 bits"]["seed"]))  # type: ignore[call-overload]
    macs, float_bytes = bundles[4].manifest.stages[0].macs, quantised_bytes(staged.net)
    begun = float(card(EARLIER[FLOAT])["epochs"])
    found = {FLOAT: _told("oqa-float", begun, macs, float_bytes, times.median(FLOAT))}
    before = base = sum(found[FLOAT].epochs)
    found[ON] = _told("oqa-float-on", base, macs, float_bytes, None)
    for bits, bundle in bundles.items():
        name = f"{bits} bits"
        told, own = cards[name]["accuracy"], float(cards[name]["epochs"])  # type: ignore[arg-type]
        if name in EARLIER:
            own += float(card(EARLIER[name])["epochs"])
        assert isinstance(told, Mapping)
        right = right_share(sessions[bits], bundle, data)
        found[name] = Network(
            right, told, "measured, in the bundle", (own, before), macs, _packed(bundle), times.median(name)
        )
        before += own
        sessions[bits].close()
    found[SCRATCH] = _told("oqa-b2-at-once", base, macs, found["2 bits"].bytes, None)
    result: dict[str, object] = {
        "data": data.name,
        "networks": {name: asdict(one) for name, one in found.items()},
    }
    return Section(result, figures(found), lambda path: draw(found, data.name, path))


def _told(name: str, before: float, macs: int, size: int, ms: float | None) -> Network:
    """A network whose weights are not shipped."""
    told = card(name)
    epochs = (float(told["epochs"]), before)
    return Network(
        told["accuracy"]["largest"], told["accuracy"], "of its training's card", epochs, macs, size, ms
    )


def _packed(bundle: Bundle) -> int:
    """Bytes of the low-bit weights on disk."""
    stored = stored_bytes(bundle.read_bytes(bundle.manifest.stages[0].variants[0].graph))
    return sum(count for bits, count in stored.items() if bits)


def figures(found: Mapping[str, Network]) -> list[Figure]:
    """The bars."""
    four, two, scratch = (found[name] for name in ("4 bits", "2 bits", SCRATCH))
    apart = {name: 100 * (found[name].accuracy - four.accuracy) for name in (FLOAT, ON)}
    return [
        Figure(
            f"2 bits, inherited from 3 and 4, against 2 bits from float at once ({scratch.epochs[0]:g} epochs, the inherited "
            f"{two.epochs[0]:g} at 2 bits and {sum(two.epochs) - scratch.epochs[1] - two.epochs[0]:g} above)",
            f"> {scratch.accuracy:.2%}", f"{two.accuracy:.2%}", two.accuracy > scratch.accuracy,
        ),
        *(
            Figure(
                f"4 bits ({four.epochs[0]:g} epochs of their own) against {what}, points lost",
                "<= 1.5", f"{apart[name]:.2f}", apart[name] <= 1.5,
            )
            for name, what in (
                (FLOAT, "the float network that they began with"),
                (ON, f"the same, {found[ON].epochs[0]:g} epochs on in float by the same recipe"),
            )
        ),
    ]  # fmt: skip


def draw(found: Mapping[str, Network], data: str, out: Path) -> None:
    """Accuracy against the bytes and the ms."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas((9, 3.6), dpi=100, layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True)
    for (name, one), mark in zip(found.items(), "*xosD^", strict=True):
        label = f"{name} ({one.macs / 1e6:.1f} M multiply-adds)" if name == FLOAT else name
        left.plot([one.bytes / 1024], [100 * one.accuracy], mark, label=label)
        if one.ms is not None:
            right.plot([one.ms], [100 * one.accuracy], mark)
        else:
            right.plot([], [])
    left.set(
        xlabel="weights of the quantised layers, KiB (logarithmic)",
        ylabel=f"right, % of {data}'s test pictures",
    )
    logarithmic(left)
    right.set_xlabel("one picture, ms")
    right.set_xlim(0, 1.05 * max(one.ms for one in found.values() if one.ms is not None))
    left.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    canvas.savefig(out)
