"""The shipped multi-exit classifiers: accuracy against ms, exit by exit and on a mean budget; early exits against the uncut network,
one picture at a time and, as the paper's budgeted batches have it, in packs of 32."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import edgekit
from benchmarks import runtimes
from benchmarks.accuracy import Context, Section
from benchmarks.budgeted import BudgetPoint, accuracies, curve, evidence, thresholds_as_good
from benchmarks.figures import Figure
from benchmarks.multiexit import stages_timed
from benchmarks.multiexit_bars import UNCUT, stage_names
from benchmarks.ours import session_config, uncut_graph
from benchmarks.timing import Times, interleave, whole
from edgekit.models import imta, msdnet_stages
from edgekit.models.shipped import shipped
from edgekit.models.staged import ImageInput
from edgekit.models.training.classification.batches import Normalise
from edgekit.models.training.classification.data import ClassificationData, load_data
from edgekit.runtime.calibration.exiting import Evidence, outcome
from edgekit.runtime.policies import Confidence
from edgekit.runtime.session import Session

FAMILIES = ("msdnet", "imta")
TURNS, PACK = 10, 60  # of test pictures, one by one, early exits and the uncut network in turns
BATCH, BATCHES = 32, 10  # the same with batches: as many pictures at once, and so many of these in a turn


@dataclass(frozen=True)
class Measured:
    """One family's shipped network.

    Attributes:
        exits: share of the test pictures that each gets right.
        reached_ms: mean of leaving at each, at batch 1.
        uncut_ms: of all stages joined into one graph.
        budgeted: the test pictures at mean budgets.
        early: early exits that are as good as the last exit on the held-out pictures, one picture after the other.
        batched: the same through `Session.infer_batch`, against the uncut network on full batches; thresholds are chosen anew, as
            exits cost other shares of the time there.
    """

    exits: tuple[float, ...]
    reached_ms: tuple[float, ...]
    uncut_ms: float
    budgeted: tuple[BudgetPoint, ...]
    early: Early
    batched: Early


@dataclass(frozen=True)
class Early:
    """Early exits against the uncut network: all stages joined into one graph, every exit computed.

    Attributes:
        accuracy, uncut_accuracy: share of all test pictures that is right.
        shares: of the test pictures, by exit.
        reached_ms: what thresholds were chosen by: mean time of a picture to every exit.
        ratio: throughput against the uncut network's, the median of turns.
    """

    thresholds: tuple[float | None, ...]
    accuracy: float
    uncut_accuracy: float
    shares: tuple[float, ...]
    reached_ms: tuple[float, ...]
    ratio: float


def measure(context: Context) -> Section:
    """Both families on JPEG CIFAR-10.

    Raises:
        OptionError: the pictures are absent.
        CheckpointError: no weights are shipped.
    """
    torch.set_num_threads(context.threads)
    found: dict[str, Measured] = {}
    name = ""
    for family in FAMILIES:
        card = shipped(family).card
        data = load_data(context.pictures, _seed(card))
        name = data.name
        found[family] = one_family(family, data, context)
    result: dict[str, object] = {
        "data": name,
        "boundary": "tensor to tensor, batch 1, the session's clock around the stages",
        "early": f"whole calls, pictures one by one: {TURNS} turns of {PACK} through infer and through the uncut graph",
        "batched": f"whole calls, {TURNS} turns of {BATCHES} batches of {BATCH} pictures through infer_batch and the uncut graph",
        "thresholds": "found on the held-out training pictures, used on the test pictures",
        **{family: asdict(one) for family, one in found.items()},
    }
    return Section(result, list(figures(found)), lambda path: draw(found, name, path))


def _seed(card: Mapping[str, object]) -> int:
    seed = card["seed"]
    assert isinstance(seed, int)
    return seed


def one_family(family: str, data: ClassificationData, context: Context) -> Measured:
    """Everything about one shipped network."""
    net, spec = network(family)
    held_out, test = (evidence(net, part, spec.mean, spec.std) for part in (data.validation, data.test))
    bundle = edgekit.export(model=family, out=context.scratch / f"{family}.edgekit")
    joined = context.scratch / f"{family}.onnx"
    joined.write_bytes(uncut_graph(bundle).SerializeToString())
    normalise = Normalise(spec.mean, spec.std)
    with edgekit.load(bundle.path, threads=context.threads, policies=()) as session:
        uncut = runtimes.in_onnxruntime(joined, context.threads, session_config(session))
        image = normalise(_planes(data.test.images[:1])).numpy()
        contenders = {"stages": stages_timed(session, image), UNCUT: whole(UNCUT, partial(uncut, image))}
        times = interleave(contenders, context.rounds, context.runs)
    reached = reached_ms(times)
    given = thresholds(held_out, reached)
    with edgekit.load(bundle.path, threads=context.threads, policies=[Confidence(given)]) as session:
        uncut = runtimes.in_onnxruntime(joined, context.threads, session_config(session))
        ratio = throughput(session, uncut, normalise(_planes(some(data, TURNS * PACK))).numpy())
    early = judged(test, given, reached, ratio)
    batched = in_batches(family, data, held_out, test, normalise, context)
    budgeted = tuple(curve(held_out, test, reached))
    return Measured(tuple(accuracies(test)), reached, times.median(UNCUT), budgeted, early, batched)


def in_batches(
    family: str, data: ClassificationData, held_out: Evidence, test: Evidence, normalise: Normalise, context: Context
) -> Early:  # fmt: skip
    """One shipped network exported for batches of any size."""
    out = context.scratch / f"{family}-batches.edgekit"
    bundle = edgekit.export(model=family, target="cpu", batch=None, out=out, parity=False)
    joined = context.scratch / f"{family}-batches.onnx"
    joined.write_bytes(uncut_graph(bundle).SerializeToString())
    images = normalise(_planes(some(data, TURNS * BATCHES * BATCH))).numpy()
    with edgekit.load(bundle.path, threads=context.threads, policies=()) as session:
        packs = [session.infer_batch(images[:BATCH])[0].stage_ms for _ in range(context.rounds + 1)][1:]
    stages = [np.median([pack[stage.name] for pack in packs]) / BATCH for stage in bundle.manifest.stages]
    reached = tuple(float(one) for one in np.cumsum(stages))
    given = thresholds(held_out, reached)
    with edgekit.load(bundle.path, threads=context.threads, policies=[Confidence(given)]) as session:
        uncut = runtimes.in_onnxruntime(joined, context.threads, session_config(session))
        ratio = batch_throughput(session, uncut, images)
    return judged(test, given, reached, ratio)


def some(data: ClassificationData, count: int) -> NDArray[np.uint8]:
    """So many test pictures (N, H, W, 3), in an order of no meaning."""
    return data.test.images[np.random.default_rng(0).permutation(len(data.test.labels))[:count]]


def thresholds(held_out: Evidence, reached: Sequence[float]) -> list[float | None]:
    """Thresholds that are as good as the last exit on the held-out pictures; None where nobody is to leave."""
    found = thresholds_as_good(held_out, reached)
    return [*(float(one) if np.isfinite(one) else None for one in found[:-1]), None]


def judged(
    test: Evidence,
    given: Sequence[float | None],
    reached: tuple[float, ...],
    ratio: float,
) -> Early:
    """What thresholds make of all test pictures."""
    numbers = np.array([*(np.inf if one is None else one for one in given[:-1]), 0.0])
    made = outcome(test, numbers)
    return Early(
        tuple(given),
        made.accuracy,
        accuracies(test)[-1],
        tuple(float(share) for share in made.shares),
        reached,
        ratio,
    )


def network(family: str) -> tuple[nn.Module, ImageInput]:
    """The shipped network, and what it reads."""
    if family == "imta":
        collaborating = imta.build(None, {}, None)
        return collaborating.imta, collaborating.inputs[0]
    staged = msdnet_stages.build(None, {}, None)
    return staged.net, staged.inputs[0]


def reached_ms(times: Times) -> tuple[float, ...]:
    """The time to every exit."""
    names = stage_names(times)
    return tuple(times.median(*names[: k + 1]) for k in range(len(names)))


def throughput(session: Session, uncut: runtimes.Network, images: NDArray[np.float32]) -> float:
    """Pictures (N, 3, H, W) one by one: the median over the turns of the uncut network's time over the early exits'."""
    ratios = []
    for start in range(0, len(images), PACK):
        pack = [image[None] for image in images[start : start + PACK]]
        for image in pack[:3]:  # wakes threads and caches
            session.infer(image=image)
            uncut(image)
        begin = time.perf_counter()
        for image in pack:
            session.infer(image=image)
        between = time.perf_counter()
        for image in pack:
            uncut(image)
        ratios.append((time.perf_counter() - between) / (between - begin))
    return float(np.median(ratios))


def batch_throughput(session: Session, uncut: runtimes.Network, images: NDArray[np.float32]) -> float:
    """Pictures (N, 3, H, W) in batches: the median over the turns of the uncut network's time over that of packed early exits."""
    ratios = []
    for start in range(0, len(images), BATCHES * BATCH):
        turn = images[start : start + BATCHES * BATCH]
        session.infer_batch(turn[:BATCH])  # wakes threads and caches
        uncut(turn[:BATCH])
        begin = time.perf_counter()
        session.infer_batch(turn)
        between = time.perf_counter()
        for first in range(0, len(turn), BATCH):
            uncut(turn[first : first + BATCH])
        ratios.append((time.perf_counter() - between) / (between - begin))
    return float(np.median(ratios))


def _planes(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def figures(found: Mapping[str, Measured]) -> list[Figure]:
    """The bars."""
    bars = []
    for family, one in found.items():
        last, rising = one.exits[-1], list(one.exits) == sorted(set(one.exits))
        if family == "msdnet":
            bars.append(Figure("msdnet, JPEG CIFAR-10: last exit", ">= 88 %", f"{last:.2%}", last >= 0.88))
        told = " ".join(f"{100 * share:.1f}" for share in one.exits)
        bars.append(Figure(f"{family}: accuracy rises with every exit", "yes", f"{told} %", rising))
        for how, early in (("", one.early), (f" in batches of {BATCH}", one.batched)):
            bars.append(
                Figure(
                    f"{family}: early exits{how} ({early.accuracy:.2%} right) against the uncut network{how} "
                    f"({early.uncut_accuracy:.2%}), throughput",
                    ">= 1.8x", f"{early.ratio:.2f}x", early.ratio >= 1.8,
                )
            )  # fmt: skip
    return bars


def draw(found: Mapping[str, Measured], data: str, out: Path) -> None:
    """Accuracy against mean ms: on a budget, exit by exit, and uncut."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas((8, 4.5), dpi=100, layout="constrained")
    axes = canvas.subplots()
    for colour, (family, one) in zip(("C0", "C1"), found.items(), strict=False):
        percent = [100 * point.accuracy for point in one.budgeted]
        axes.plot(
            [p.milliseconds for p in one.budgeted], percent, "-", color=colour, label=f"{family}, mean budget"
        )
        axes.plot(
            one.reached_ms,
            _percent(one.exits),
            "o",
            color=colour,
            label=f"{family}, every picture to one exit",
        )
        axes.plot(
            [one.uncut_ms],
            [100 * one.exits[-1]],
            "D",
            color=colour,
            mfc="none",
            label=f"{family}, uncut graph",
        )
    axes.set(xlabel="mean time for one picture, ms", ylabel=f"right, % of the test pictures of {data}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    canvas.savefig(out)


def _percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]
