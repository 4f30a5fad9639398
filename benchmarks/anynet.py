"""AnyNet through edgekit against its peers: python -m benchmarks.anynet [--quick] [--out DIR].

Prints the settings, a table of times, a table of errors and every bar with what was reached; writes the same as JSON and
as a picture of error against time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

import edgekit
from benchmarks import machine, ours, peers, runtimes
from benchmarks.figures import (
    ALL_STAGES,
    EAGER,
    END_TO_END,
    MATCHING,
    MATCHING_WIDE,
    ONE_THREAD,
    PLAIN,
    PRODUCT,
    UNCUT,
    Accuracy,
    Figure,
    exits,
    figures,
)
from benchmarks.plot import Point, error_against_time
from benchmarks.timing import Contender, Times, interleave, whole
from edgekit.bundle import read_bundle
from edgekit.models.anynet import AnyNet, build
from edgekit.models.evaluate_stereo import StereoPair, epe_d1, load_pairs
from edgekit.runtime.page.matching import BlockMatching

SIZE = (368, 1232)  # the part of a KITTI frame that the authors measure
PLAIN_OPENVINO = "plain export, OpenVINO"
PLAIN_WHOLE = "plain export with SPN, ONNX Runtime"
PLAIN_WHOLE_OPENVINO = "plain export with SPN, OpenVINO"
AUTHORS = "the authors' KITTI weights"
TENSORS_IN = "infer, tensors in"
STAGES_BOUNDARY, MODEL_BOUNDARY, END_BOUNDARY = (
    "stage",
    "model (tensor to tensor)",
    "end to end (picture to disparity)",
)


@dataclass(frozen=True)
class Settings:
    """What a run is asked for: threads of everybody, rounds, runs a round, and which pictures."""

    threads: int
    rounds: int
    runs: int
    quick: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when it ran, whatever bars were reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anynet", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, and two pictures only")
    parser.add_argument(
        "--out", type=Path, default=Path("bench"), help="folder for anynet.json and anynet.png"
    )
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("EDGEKIT_SHARED", "../shared")),
                        help="folder with data/stereo and data/anynet; default $EDGEKIT_SHARED or ../shared")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    settings = Settings(options.threads, 4 if options.quick else 15, 3 if options.quick else 7, options.quick)
    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(settings.threads)
    checkpoint: Path | None = options.shared / "data/anynet/kitti2015_checkpoint.tar"
    if not (checkpoint and checkpoint.is_file()):
        print("the authors' KITTI weights are absent: only the shipped weights are measured", file=sys.stderr)
        checkpoint = None
    pairs = load_pairs(options.shared / "data/stereo")
    if options.quick:
        pairs = [pair for pair in pairs if pair.name in ("kitti2015_000000", "aloe_half")]
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(settings, checkpoint, pairs, Path(scratch))
    (options.out / "anynet.json").write_text(json.dumps(report.to_json(), indent=1) + "\n")
    report.show()
    report.draw(options.out / "anynet.png")
    print(f"\nwritten: {options.out / 'anynet.json'}, {options.out / 'anynet.png'}")
    return 0


@dataclass(frozen=True)
class Report:
    """Everything that one run measured."""

    settings: Settings
    machine: Mapping[str, object]
    notes: Sequence[str]
    times: Times
    boundaries: Mapping[str, str]
    accuracies: Mapping[str, Mapping[str, Accuracy]]
    figures: Sequence[Figure]

    def to_json(self) -> dict[str, object]:
        """JSON values; every time in ms."""
        return {
            "what": "measured",
            "clock": "CLOCK_MONOTONIC, in process",
            "settings": {
                **asdict(self.settings),
                "warm_up": "1 run a turn",
                "of_a_turn": "the fastest run",
                "size": list(SIZE),
            },
            "machine": dict(self.machine),
            "notes": list(self.notes),
            "times": {
                name: {
                    "boundary": boundary,
                    "median_ms": self.times.median(name),
                    "rounds_ms": self.times.rounds[name],
                }
                for name, boundary in self.boundaries.items()
            },
            "accuracy": {p: {n: asdict(a) for n, a in found.items()} for p, found in self.accuracies.items()},
            "figures": [asdict(figure) for figure in self.figures],
        }

    def show(self) -> None:
        """Print settings, times, errors and bars."""
        print("measured on", ", ".join(f"{name} {value}" for name, value in self.machine.items()))
        print(f"{SIZE[0]}x{SIZE[1]} px, {self.settings.rounds} rounds taken in turns, in each the fastest of {self.settings.runs} runs "
              "after one unmeasured; medians of the rounds, in-process monotonic clock")  # fmt: skip
        for note in self.notes:
            print("note:", note)
        print(f"\n{'':46}{'ms':>8}  {'of eager':>9}  boundary")
        for name, boundary in self.boundaries.items():
            print(
                f"{name:46}{self.times.median(name):8.1f}  {self.times.ratio([name], [EAGER]):9.3f}  {boundary}"
            )
        for picture, found in self.accuracies.items():
            print(f"\n{picture:46}{'EPE px':>8}  {'D1 %':>6}  {'answered %':>10}")
            for name, a in found.items():
                print(f"{name:46}{a.epe:8.2f}  {a.d1:6.1f}  {a.density:10.1f}")
        print(
            "\nEPE: over answered pixels. D1: wrong by more than 3 px and 5 %, over all pixels; no answer counts as wrong.\n"
        )
        for figure in self.figures:
            print(
                f"{'reached' if figure.reached else 'NOT REACHED':12}{figure.measured:>22}  {figure.bar:>10}  {figure.what}"
            )

    def draw(self, out: Path) -> None:
        """The picture of D1 against time, over the KITTI frames where there are any, else over what there is."""
        frames = [p for p in self.accuracies if p.startswith("kitti")] or list(self.accuracies)
        names = {"kitti": AUTHORS, "shipped": "the shipped weights (rendered pictures only)"}
        lines: dict[str, Sequence[Point]] = {}
        peer_points = []
        for weights, label in names.items():
            means = [float(np.mean([exits(self.accuracies[f], weights)[k].d1 for f in frames])) for k in range(4)
                     if all(exits(self.accuracies[f], weights) for f in frames)]  # fmt: skip
            reached = [self.times.median(*ALL_STAGES[: k + 1]) for k in range(len(means))]
            if means:
                lines[label] = [
                    Point(f"stage {k + 1}", t, d1)
                    for k, (t, d1) in enumerate(zip(reached, means, strict=True))
                ]
        best = next(iter(lines.values()))
        for name in (EAGER, PLAIN, PLAIN_OPENVINO):
            if name in self.times:
                peer_points.append(Point(f"{name}, stages 1-3", self.times.median(name), best[2].d1))
        for name in (MATCHING, MATCHING_WIDE):
            d1 = float(np.mean([self.accuracies[frame][name].d1 for frame in frames]))
            peer_points.append(Point(f"OpenCV {name}", self.times.median(name), d1))
        title = (
            f"{', '.join(frames)}: {self.machine['processor']}, {self.settings.threads} threads (measured)"
        )
        error_against_time(lines, peer_points, title, out)


def measure(
    settings: Settings, checkpoint: Path | None, pairs: Sequence[StereoPair], scratch: Path
) -> Report:
    """Everything, in order: errors on every picture, then times in turns."""
    weights = {**({"kitti": checkpoint} if checkpoint else {}), "shipped": None}
    accuracies = {pair.name: errors(pair, weights, settings, scratch) for pair in pairs}
    notes: list[str] = []
    described = machine.describe(settings.threads)
    times, boundaries, gflop = race(settings, checkpoint, pairs, scratch, notes)
    return Report(
        settings, described, notes, times, boundaries, accuracies, figures(times, accuracies, gflop)
    )


def errors(
    pair: StereoPair, weights: Mapping[str, Path | None], settings: Settings, scratch: Path
) -> dict[str, Accuracy]:
    """Who is how wrong on one pair: every exit with every set of weights, through a bundle of the pair's size; StereoSGBM."""
    print(f"errors on {pair.name}", file=sys.stderr)
    size = (pair.left.shape[0], pair.left.shape[1])
    found: dict[str, Accuracy] = {}
    for name, checkpoint in weights.items():
        out = scratch / f"{name}-{size[0]}x{size[1]}.edgekit"
        if not out.exists():
            ours.export(checkpoint, size, out)
        with edgekit.load(str(out), threads=settings.threads) as session:
            maps = ours.exit_maps(session, pair.left, pair.right)
        found |= {
            f"{name} {stage}": accuracy(map_, pair) for stage, map_ in zip(ALL_STAGES, maps, strict=True)
        }
    for name, margin in ((MATCHING, False), (MATCHING_WIDE, True)):
        found[name] = accuracy(BlockMatching(margin=margin)(pair.left, pair.right), pair)
    return found


def accuracy(disparity: ours.Array, pair: StereoPair) -> Accuracy:
    """Compare a map (H, W) px, negative where there is no answer, with the truth."""
    answered = pair.valid & (disparity >= 0)
    epe, _ = epe_d1(disparity, pair.disparity, answered)
    _, d1 = epe_d1(disparity, pair.disparity, pair.valid)
    return Accuracy(epe, d1, float(100 * answered.sum() / pair.valid.sum()))


def race(
    settings: Settings, checkpoint: Path | None, pairs: Sequence[StereoPair], scratch: Path, notes: list[str]
) -> tuple[Times, dict[str, str], float]:
    """Time everybody in turns on one pair of ``SIZE``; also the boundary of each time, and the GFLOP of stages 1 to 3."""
    left, right = (resized(view) for view in (pairs[0].left, pairs[0].right))
    staged = build(checkpoint, {}, SIZE)
    net, three = staged.net, peers.without_propagation(staged.net)
    first = staged.inputs[0]
    a, b = (normalised(view, first.mean, first.std) for view in (left, right))
    notes.append(
        f"times were taken with {AUTHORS if checkpoint else 'the shipped weights'} on {pairs[0].name}"
    )

    out = scratch / f"{'kitti' if checkpoint else 'shipped'}-{SIZE[0]}x{SIZE[1]}.edgekit"
    bundle = read_bundle(str(out)) if out.exists() else ours.export(checkpoint, SIZE, out)
    joined = scratch / "joined.onnx"
    joined.write_bytes(ours.uncut_graph(bundle).SerializeToString())

    with (
        edgekit.load(str(out), threads=settings.threads) as session,
        edgekit.load(str(out), threads=1) as single,
        contextlib.ExitStack() as opened,
    ):
        config = ours.session_config(session)
        nets = {EAGER: runtimes.eager(three), **plain_networks(three, net, settings, config, scratch, notes)}
        nets[UNCUT] = runtimes.in_onnxruntime(joined, settings.threads, config)
        contenders: dict[str, Contender] = {
            name: whole(name, partial(run, a, b)) for name, run in nets.items()
        }
        boundaries = dict.fromkeys(nets, MODEL_BOUNDARY)
        contenders["stages"] = ours.stages_timed(session, a, b)
        boundaries |= dict.fromkeys(ALL_STAGES, STAGES_BOUNDARY) | {
            TENSORS_IN: MODEL_BOUNDARY,
            END_TO_END: END_BOUNDARY,
        }
        contenders["stages, one thread"] = ours.stages_timed(single, a, b, ONE_THREAD)
        boundaries |= {f"{stage}{ONE_THREAD}": STAGES_BOUNDARY for stage in ALL_STAGES}
        for suffix, programs in ours.as_programs(
            checkpoint, SIZE, settings.threads, scratch, opened, notes
        ).items():
            contenders[f"stages{suffix}"] = ours.stages_timed(programs, a, b, suffix)
            contenders[END_TO_END + suffix] = whole(
                END_TO_END + suffix, partial(programs.infer, left=left, right=right)
            )
            boundaries |= {f"{stage}{suffix}": STAGES_BOUNDARY for stage in ALL_STAGES}
            boundaries |= {TENSORS_IN + suffix: MODEL_BOUNDARY, END_TO_END + suffix: END_BOUNDARY}
        contenders[END_TO_END] = whole(END_TO_END, lambda: session.infer(left=left, right=right))
        for name, margin in ((MATCHING, False), (MATCHING_WIDE, True)):
            matching = BlockMatching(margin=margin)
            contenders[name] = whole(name, partial(matching, left, right))
            boundaries[name] = END_BOUNDARY
        contenders[PRODUCT] = machine.matrix_product(settings.threads, PRODUCT, config)
        boundaries[PRODUCT] = f"{machine.PRODUCT_GFLOP:.2f} GFLOP"
        notes.append("every ONNX Runtime session has the stages' own settings: "
                     + ", ".join(f"{name} {value}" for name, value in config.items()))  # fmt: skip
        times = interleave(contenders, settings.rounds, settings.runs)
    return times, boundaries, 2 * peers.multiply_adds(three, SIZE) / 1e9


def plain_networks(
    three: AnyNet, net: AnyNet, settings: Settings, config: Mapping[str, str], scratch: Path, notes: list[str]
) -> dict[str, runtimes.Network]:
    """The uncut network as PyTorch exports it, in ONNX Runtime and in OpenVINO, without and with its propagation stage.

    Of PyTorch's two exporters the one whose graph runs faster in ONNX Runtime stands for both.
    """
    found: dict[str, runtimes.Network] = {}
    graphs: dict[str, Path] = {}
    for exporter, dynamo in (("TorchScript exporter", False), ("dynamo exporter", True)):
        graphs[exporter] = scratch / f"plain-{dynamo}.onnx"
        print(f"plain export, {exporter}", file=sys.stderr)
        peers.plain_export(three, SIZE, graphs[exporter], dynamo=dynamo)
    runs = {
        exporter: runtimes.in_onnxruntime(graph, settings.threads, config)
        for exporter, graph in graphs.items()
    }
    zeros = np.zeros((1, 3, *SIZE), np.float32)
    trial = interleave({e: whole(e, partial(run, zeros, zeros)) for e, run in runs.items()}, 5, 3)
    faster = min(runs, key=lambda exporter: trial.median(exporter))
    notes.append(f"plain export: PyTorch's {faster}, the faster of the two in ONNX Runtime "
                 + "(" + ", ".join(f"{e} {trial.median(e):.0f} ms" for e in runs) + ")")  # fmt: skip
    found[PLAIN] = runs[faster]
    whole_graph = scratch / "plain-whole.onnx"
    peers.plain_export(net, SIZE, whole_graph, dynamo=False)
    found[PLAIN_WHOLE] = runtimes.in_onnxruntime(whole_graph, settings.threads, config)
    for name, graph in ((PLAIN_OPENVINO, graphs[faster]), (PLAIN_WHOLE_OPENVINO, whole_graph)):
        try:
            found[name] = runtimes.in_openvino(graph, settings.threads)
        except (ImportError, RuntimeError) as error:
            notes.append(f"{name}: does not load: {str(error).strip().splitlines()[0]}")
    return found


def resized(view: ours.Picture) -> ours.Picture:
    """A picture at ``SIZE``, for timing."""
    if view.shape[:2] == SIZE:
        return view
    return np.asarray(cv2.resize(view, SIZE[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def normalised(view: ours.Picture, mean: Sequence[float], std: Sequence[float]) -> ours.Array:
    """(H, W, 3) RGB to what the network reads, (1, 3, H, W)."""
    scaled = (view.astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


if __name__ == "__main__":
    sys.exit(main())
