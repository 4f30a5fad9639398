"""Multi-exit classifiers through edgekit against their peers: python -m benchmarks.multiexit [--quick] [--out DIR].

Times are those of the authors' ImageNet MSDNet (step 4), whose trained weights are not ours to give: they are random, with
batch norms that have seen pictures. Accuracy is measured where a trained network and pictures are given. Prints the settings, the
table and every bar with what was reached; writes the same as JSON, and a picture.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

import edgekit
from benchmarks import machine, multiexit_peers, runtimes
from benchmarks.multiexit_bars import (
    CALIBRATED,
    EAGER,
    EARLYON,
    EARLYON_FIRST,
    INFER,
    MNN,
    NATIVE,
    NATIVE_UNCUT,
    NATIVES,
    OPENVINO,
    PLAIN,
    UNCUT,
    Figure,
    figures,
    stage_names,
)
from benchmarks.multiexit_native import uncut_program
from benchmarks.ours import session_config, uncut_graph
from benchmarks.runtimes import Array, Network
from benchmarks.timing import Contender, Times, interleave, whole
from edgekit.bundle import Bundle
from edgekit.export.sample_inputs import sample_inputs
from edgekit.kernels import Kernels
from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.models.msdnet_stages import StagedMSDNet, build
from edgekit.runtime.backends.cores import cores_to_keep_to
from edgekit.runtime.session import Session

STEP4 = MSDNetOptions(
    data="ImageNet", num_classes=1000, nBlocks=5, base=4, step=4, stepmode="even", nScales=4, nChannels=32, growthRate=16,
    grFactor=(1, 2, 4, 4), bnFactor=(1, 2, 4, 4),
)  # fmt: skip
SAMENESS = 1e-3  # of every peer's logits and ours, relative to the largest


@dataclass(frozen=True)
class Frontier:
    """Accuracy (share) and mean time (ms) where pictures leave at the first exit that is at least ``threshold`` sure."""

    threshold: float
    accuracy: float
    milliseconds: float
    leaving: tuple[float, ...]


@dataclass(frozen=True)
class Accuracies:
    """Of a trained network: every exit by itself, and the frontier of leaving early; times are of this machine's stages."""

    pictures: int
    exits: tuple[float, ...]
    reached_ms: tuple[float, ...]
    uncut_ms: float
    frontier: tuple[Frontier, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when it ran, whatever bars were reached."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.multiexit", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument(
        "--out", type=Path, default=Path("bench"), help="folder for multiexit.json and multiexit.png"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, help="a trained MSDNet, for accuracy")
    parser.add_argument(
        "--pictures", type=Path, help="its test set: .npz with images (N, H, W, 3) uint8 and labels (N,)"
    )
    options = parser.parse_args(arguments)
    if (options.checkpoint is None) != (options.pictures is None):
        parser.error("--checkpoint and --pictures belong together")
    torch.set_num_threads(options.threads)
    rounds, runs = (5, 3) if options.quick else (15, 7)
    options.out.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    described = machine.describe(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        times, shares = race(Path(scratch), options.threads, rounds, runs, notes)
        found = None
        if options.checkpoint is not None:
            found = accuracies(Path(scratch), options.checkpoint, options.pictures, options.threads, rounds)
        else:
            notes.append("no trained network was given (--checkpoint, --pictures): no accuracy")
    bars = figures(times, shares)
    document = {
        "what": "measured", "clock": "CLOCK_MONOTONIC, in process", "machine": described, "notes": notes,
        "settings": {"rounds": rounds, "runs": runs, "warm_up": "1 run a turn", "of_a_turn": "the fastest run",
                     "threads": options.threads, "network": "MSDNet, ImageNet, step 4, random weights, 224x224, batch 1"},
        "times": {name: {"median_ms": times.median(name), "rounds_ms": values} for name, values in times.rounds.items()},
        "accuracy": None if found is None else asdict(found),
        "figures": [{**asdict(bar), "reached": bar.reached} for bar in bars],
    }  # fmt: skip
    (options.out / "multiexit.json").write_text(json.dumps(document, indent=1) + "\n")
    show(described, notes, times, found, bars, rounds, runs)
    title = f"{described['processor']}, {options.threads} threads (measured)"
    draw(times, found, title, options.out / "multiexit.png")
    print(f"\nwritten: {options.out / 'multiexit.json'}, {options.out / 'multiexit.png'}")
    return 0


def random_network(options: MSDNetOptions) -> MSDNet:
    """Seeded weights, and batch norms that have seen two pictures."""
    torch.manual_seed(0)
    net = MSDNet(options).train()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the mean of what it sees
    image = sample_inputs(StagedMSDNet(net).inputs, "classification")["image"]
    with torch.no_grad():
        net.train()(torch.cat((image, image.flip(2))))
    return net.eval()


def race(scratch: Path, threads: int, rounds: int, runs: int, notes: list[str]) -> tuple[Times, list[float]]:
    """Time everybody in turns on one picture; also the share of the multiply-adds that every stage has."""
    net = random_network(STEP4)
    image: Array = sample_inputs(StagedMSDNet(net).inputs, "classification", seed=1)["image"].numpy()
    bundle = exported(net, scratch)
    with (
        edgekit.load(bundle.path, threads=threads, backend="onnxruntime") as session,
        edgekit.load(bundle.path, threads=threads, backend="native") as native,
        contextlib.closing(Kernels(threads, cores=cores_to_keep_to(threads))) as kernels,
    ):
        config = session_config(session)
        notes += map(str, json.loads(json.dumps(bundle.manifest.provenance)).get("notes", []))
        networks = plain_networks(net, image, scratch, threads, config, notes)
        joined = scratch / "joined.onnx"
        joined.write_bytes(uncut_graph(bundle).SerializeToString())
        networks[UNCUT] = runtimes.in_onnxruntime(joined, threads, config)
        networks[NATIVE_UNCUT] = uncut_program(net, image, kernels)
        wanted = networks[EAGER](image)
        for name, run in networks.items():
            for ours, theirs in zip(run(image), wanted, strict=True):
                worst = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
                if worst > SAMENESS:
                    notes.append(f"{name} computes something else: {worst:.1e} off")
        contenders: dict[str, Contender] = {
            name: whole(name, partial(run, image)) for name, run in networks.items()
        }
        for name, first in ((EARLYON, False), (EARLYON_FIRST, True)):
            try:
                contenders[name] = whole(
                    name, partial(multiexit_peers.in_earlyon(net, image.shape, first), image)
                )
            except ImportError as error:
                notes.append(f"{name}: {error}")
        contenders[INFER] = stages_timed(session, image)
        contenders[NATIVE] = stages_timed(native, image, NATIVE, NATIVES)
        times = interleave(contenders, rounds, runs)
    notes.append(
        "every ONNX Runtime session has the stages' own settings: "
        + ", ".join(f"{k} {v}" for k, v in config.items())
    )
    notes.append(
        "earlyon: our blocks as modules, since it hooks modules; it tells only the answer of the exit taken"
    )
    macs = [stage.macs for stage in bundle.manifest.stages]
    return times, [each / sum(macs) for each in macs]


def exported(net: MSDNet, scratch: Path) -> Bundle:
    """The network as a bundle."""
    torch.save({"state_dict": net.state_dict()}, scratch / "net.pth")
    return edgekit.export(
        model="msdnet",
        checkpoint=scratch / "net.pth",
        out=scratch / "net.edgekit",
        parity=False,
        target="cpu",
    )


def plain_networks(
    net: MSDNet, image: Array, scratch: Path, threads: int, config: Mapping[str, str], notes: list[str]
) -> dict[str, Network]:
    """The uncut network: eager, and as PyTorch exports it, by the exporter whose graph is faster in ONNX Runtime."""
    exits = net.options.nBlocks
    script, dynamo = scratch / "plain-script.onnx", scratch / "plain-dynamo.onnx"
    graphs = {"TorchScript exporter": script, "dynamo exporter": dynamo}
    for exporter, path in graphs.items():
        print(f"plain export, {exporter}", file=sys.stderr)
        multiexit_peers.plain_export(net, image, exits, path, dynamo=exporter.startswith("dynamo"))
    runs = {name: runtimes.in_onnxruntime(path, threads, config) for name, path in graphs.items()}
    trial = interleave({name: whole(name, partial(run, image)) for name, run in runs.items()}, 5, 3)
    faster = min(runs, key=lambda name: trial.median(name))
    each = ", ".join(f"{n} {trial.median(n):.1f} ms" for n in runs)
    notes.append(f"plain export: PyTorch's {faster} ({each})")
    found = {EAGER: runtimes.eager(net), PLAIN: runs[faster]}
    for name, load in (
        (OPENVINO, partial(runtimes.in_openvino, graphs[faster], threads)),
        (MNN, partial(runtimes.in_mnn, script, ["image"], multiexit_peers.logits(exits), threads)),
    ):
        try:
            found[name] = load()
        except (ImportError, RuntimeError) as error:
            notes.append(f"{name}: does not load: {str(error).strip().splitlines()[0]}")
    return found


def stages_timed(session: Session, image: Array, name: str = INFER, before: str = "") -> Contender:
    """The picture's tensor through every stage: the session's own clock around each, and around the whole call, ``name``.

    ``before`` stands before the names of the stages.
    """

    def run() -> Mapping[str, float]:
        result = session.infer(image=image)
        return {name: result.elapsed_ms, **{before + stage: ms for stage, ms in result.stage_ms.items()}}

    return run


def accuracies(scratch: Path, checkpoint: Path, pictures: Path, threads: int, rounds: int) -> Accuracies:
    """Every exit's accuracy on a test set, and what leaving early gives, at the times of this machine."""
    with np.load(pictures) as archive:
        images, labels = archive["images"], archive["labels"]
    staged = build(checkpoint, {}, None)
    folder = scratch / "trained"
    folder.mkdir()
    bundle = exported(staged.net, folder)
    spec = staged.inputs[0]
    answers = np.empty((len(bundle.manifest.stages), len(images), staged.net.options.num_classes), np.float32)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.inference_mode():
        for start in range(0, len(images), 250):
            pack = torch.from_numpy(images[start : start + 250]).permute(0, 3, 1, 2)
            for number, logits in enumerate(staged.net((pack / 255 - mean) / std)):
                answers[number, start : start + 250] = logits.numpy()
    joined = folder / "joined.onnx"
    joined.write_bytes(uncut_graph(bundle).SerializeToString())
    image: Array = sample_inputs(staged.inputs, "classification")["image"].numpy()
    with edgekit.load(bundle.path, threads=threads, backend="onnxruntime") as session:
        uncut = runtimes.in_onnxruntime(joined, threads, session_config(session))
        times = interleave(
            {INFER: stages_timed(session, image), UNCUT: whole(UNCUT, partial(uncut, image))}, rounds, 20
        )
    reached = tuple(times.median(*stage_names(times)[: k + 1]) for k in range(len(answers)))
    right = answers.argmax(axis=2) == labels
    shifted = np.exp(answers - answers.max(axis=2, keepdims=True))
    sure = (shifted / shifted.sum(axis=2, keepdims=True)).max(axis=2)
    frontier = []
    for threshold in (0.0, *np.arange(0.3, 1.0, 0.05).round(2).tolist(), 0.99, 1.1):
        leaves = np.vstack([sure[:-1] >= threshold, np.ones((1, len(images)), bool)]).argmax(axis=0)
        share = tuple(float((leaves == k).mean()) for k in range(len(answers)))
        accuracy = float(right[leaves, np.arange(len(images))].mean())
        frontier.append(Frontier(threshold, accuracy, float(np.dot(share, reached)), share))
    return Accuracies(
        len(images), tuple(right.mean(axis=1).tolist()), reached, times.median(UNCUT), tuple(frontier)
    )


def show(
    described: Mapping[str, object], notes: Sequence[str], times: Times, found: Accuracies | None, bars: Sequence[Figure],
    rounds: int, runs: int,
) -> None:  # fmt: skip
    """Print settings, times, accuracies and bars."""
    print("measured on", ", ".join(f"{name} {value}" for name, value in described.items()))
    print(
        f"{rounds} rounds taken in turns, in each the fastest of {runs} runs after one unmeasured; medians of the rounds"
    )
    for note in notes:
        print("note:", note)
    print(f"\n{'':28}{'ms':>8}  {'of plain':>8}")
    for name in times.rounds:
        print(f"{name:28}{times.median(name):8.2f}  {times.ratio([name], [PLAIN]):8.2f}")
    if found is not None:
        print(
            f"\n{found.pictures} pictures; uncut {found.uncut_ms:.2f} ms\n{'':28}{'ms':>8}  {'accuracy':>8}"
        )
        for number, (share, reached) in enumerate(zip(found.exits, found.reached_ms, strict=True), 1):
            print(f"{f'every picture to exit {number}':28}{reached:8.2f}  {share:8.2%}")
        for point in found.frontier:
            print(
                f"{f'leaving when {point.threshold:.2f} sure':28}{point.milliseconds:8.2f}  {point.accuracy:8.2%}"
            )
    print()
    for bar in bars:
        print(
            f"{'reached' if bar.reached else 'NOT REACHED':12}{bar.measured:8.3f}  <= {bar.bar:<8.3f}{bar.what}"
        )


def draw(times: Times, found: Accuracies | None, title: str, out: Path) -> None:
    """Accuracy against time where accuracy is known; else the time to every exit beside the peers'."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=100)
    if found is not None:
        early = [(p.milliseconds, 100 * p.accuracy) for p in found.frontier]
        axes.plot(*zip(*early, strict=True), "o-", label="leaving early")
        fixed = [100 * share for share in found.exits]
        axes.plot(found.reached_ms, fixed, "s--", label="every picture to one exit")
        axes.plot([found.uncut_ms], [100 * found.exits[-1]], "D", label="uncut")
        axes.set(xlabel="mean time for one picture, ms", ylabel="accuracy, %", title=title)
    else:
        for before, label in (("", CALIBRATED), (NATIVES, "edgekit, native, stages")):
            stages = stage_names(times, before)
            ends = [times.median(*stages[: k + 1]) for k in range(len(stages))]
            axes.plot(range(1, len(stages) + 1), ends, "o-", label=label)
        for name in (UNCUT, NATIVE_UNCUT, PLAIN, OPENVINO, MNN):
            if name in times:
                ms = times.median(name)
                axes.axhline(ms, linestyle="--", linewidth=1, label=f"{name} {ms:.1f} ms")
        axes.set(xlabel="exit", ylabel="ms until it answers", title=title)
        axes.set_ylim(0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
