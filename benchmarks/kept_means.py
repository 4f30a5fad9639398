"""Whether a mean that `edgekit calibrate` promised is kept by the clock on other pictures: python -m benchmarks.kept_means.

For each network: `edgekit bench`, then for goals at a third and two thirds of the way from its first exit to its last `edgekit
calibrate --mean-ms`, then pictures that were not used, each once with early exits and once through all stages, in turns. A machine
changes its pace between calibrating and being held to it, so two figures are given: the mean by the clock over the goal, and the same
with the goal at the pace that the frames of all stages had meanwhile, which is the ratio within one run. That one has two parts: who
leaves where (other pictures are other pictures: by how much that differs by chance is given as a standard error), and what leaving
there takes. Also how long it takes to calibrate on 5,000 samples of ten exits and 1,000 classes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import edgekit
from benchmarks import machine
from benchmarks.multiexit import STEP4, exported, random_network
from edgekit.runtime.calibration.calibrating import calibrate
from edgekit.runtime.calibration.costs import Costs
from edgekit.runtime.calibration.goals import Goal
from edgekit.runtime.calibration.recorded_logits import Recorded
from edgekit.runtime.policies import Confidence, Reached
from edgekit.runtime.session import Session

PLACES = (1 / 3, 2 / 3)  # of the way from the first exit's mean to the last's
# Pictures that are calibrated on, and, for each goal, held to it. A picture's time varies by half of the mean and more, so that of 400
# and 300 pictures one goal in six was missed by chance alone, whatever was promised.
PICTURES, WARMUP = 3000, 40
BAR, SECONDS = 0.05, 5.0
TRIES = 3  # of a goal: where the machine became that much faster meanwhile, nobody need leave early, and nothing is shown
RANDOM, SHIPPED = "random", "shipped"
SAMPLES, EXITS, CLASSES = 5000, 10, 1000


class Switched(Confidence):
    """The bundle's own thresholds, or, switched off, asked all the same and not followed: a promise counts the asking."""

    on = True

    def stop(self, reached: Reached) -> str | None:
        """See `Policy.stop`."""
        enough = super().stop(reached)
        return enough if self.on else None


@dataclass(frozen=True)
class Kept:
    """One goal: promised and measured means, ms, and what the frames of all stages took, promised and in turns with them.

    ``shares_ms`` is what the held-out pictures would have taken on average by the promised cost of the exits that they left at;
    ``error`` the standard error of `by_shares`, of as many pictures that were calibrated on and as many that were not.
    """

    network: str
    goal_ms: float
    mean_ms: float
    all_promised_ms: float
    all_ms: float
    shares_ms: float
    error: float
    frames: int

    @property
    def by_shares(self) -> float:
        """The part of `at_pace` that the pictures are: at the promised costs, over the goal."""
        return self.shares_ms / self.goal_ms

    @property
    def by_times(self) -> float:
        """The part that the times are: what leaving where they left took, over what was promised of it."""
        return self.at_pace / self.by_shares

    @property
    def by_clock(self) -> float:
        """The measured mean over the goal."""
        return self.mean_ms / self.goal_ms

    @property
    def at_pace(self) -> float:
        """The same, with the goal at the pace of the frames of all stages."""
        return self.by_clock / (self.all_ms / self.all_promised_ms)

    @property
    def reached(self) -> bool:
        return abs(self.at_pace - 1) <= BAR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when it ran, whatever bars were reached."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kept_means", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for kept_means.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--frames",
        type=int,
        default=PICTURES,
        help="pictures that are calibrated on, and not used before, a goal",
    )
    parser.add_argument("--only", choices=[RANDOM, SHIPPED], help="one network; the other's figures stay")
    parser.add_argument(
        "--pictures",
        type=Path,
        help="for the shipped MSDNet: .npz with images (N, 32, 32, 3) uint8 and labels",
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found: list[Kept] = []
    count = (1 + len(PLACES)) * options.frames
    with tempfile.TemporaryDirectory() as scratch:
        bundle = str(Path(scratch) / "net.edgekit")
        if options.only != SHIPPED:
            bundle = exported(random_network(replace(STEP4, nBlocks=7)), Path(scratch)).path
            found += kept(
                "MSDNet, ImageNet, step 4, 7 exits, random weights",
                bundle,
                textured(count, 224),
                np.arange(count) % 1000,
                options,
            )
        if options.pictures is not None and options.only != RANDOM:
            edgekit.export(model="msdnet", target="cpu", out=bundle, overwrite=True)
            with np.load(options.pictures) as arrays:
                chosen = np.random.default_rng(0).permutation(len(arrays["labels"]))[:count]
                images, labels = arrays["images"][chosen], arrays["labels"][chosen]
            found += kept("the shipped MSDNet", bundle, images, labels, options)
    seconds = calibrating_seconds()
    show(found, seconds)
    path = options.out / "kept_means.json"
    goals = [{**asdict(one), **_ratios(one)} for one in found]
    if options.only is not None and path.exists():
        measured = {one.network for one in found}
        goals += [one for one in json.loads(path.read_text())["goals"] if one["network"] not in measured]
    document = {
        "what": "measured", "clock": "CLOCK_MONOTONIC, in process", "boundary": "end to end", "backend": "onnxruntime",
        "machine": machine.describe(options.threads),
        "settings": {"frames": options.frames, "bar": BAR, "warm_up": WARMUP},
        "goals": goals,
        "calibrating_seconds": seconds,
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _ratios(one: Kept) -> dict[str, object]:
    return {
        "by_clock": one.by_clock,
        "at_pace": one.at_pace,
        "by_shares": one.by_shares,
        "by_times": one.by_times,
        "reached": one.reached,
    }


def textured(count: int, side: int) -> NDArray[np.uint8]:
    """Pictures (count, side, side, 3) of blotches, no two alike, from flat to busy."""
    random = np.random.default_rng(0)
    pictures = np.empty((count, side, side, 3), np.uint8)
    for picture in pictures:
        cells = int(random.choice([2, 4, 8, 16, 32]))
        coarse = random.integers(0, 256, (cells, cells, 3), np.uint8)
        rows = np.arange(side) * cells // side
        picture[:] = coarse[rows][:, rows]
    return pictures


def kept(
    network: str,
    bundle: str,
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int64],
    options: argparse.Namespace,
) -> list[Kept]:
    """Bench, calibrate and hold the bundle to it, goal by goal."""
    print(network, file=sys.stderr)
    edgekit_verb("bench", bundle, "--runs", "150", "--threads", str(options.threads))
    data, number_of = f"{bundle}.npz", options.frames
    np.savez(data, images=pictures[:number_of], labels=labels[:number_of])
    calibrating = ("calibrate", bundle, "--data", data, "--threads", str(options.threads))
    found = []
    for number, place in enumerate(PLACES, 1):
        for _ in range(TRIES):
            first, *_, last = means(edgekit_verb(*calibrating, "--dry-run"))
            goal = first + place * (last - first)
            promised = means(edgekit_verb(*calibrating, "--mean-ms", f"{goal:.5f}"))
            if promised[0] < goal < promised[-1]:
                break
        begin = number * number_of
        held = held_to(bundle, pictures[begin : begin + number_of], options.threads)
        costs = np.asarray(promised)[held.exits]
        error = float(costs.std() * np.sqrt(2 / len(costs))) / goal
        found.append(
            Kept(
                network,
                goal,
                held.early_ms,
                promised[-1],
                held.all_ms,
                float(costs.mean()),
                error,
                len(costs),
            )
        )
    return found


@dataclass(frozen=True)
class Held:
    """Mean ms of every picture with early exits and through all stages, and the exit (0 for the first) at which each left."""

    early_ms: float
    all_ms: float
    exits: NDArray[np.int64]


def edgekit_verb(*arguments: str) -> dict[str, object]:
    """What a verb prints as JSON, run as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments, "--json"], check=True, stdout=subprocess.PIPE
    )
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def means(calibration: dict[str, object]) -> list[float]:
    """The mean of an answer by its exit, ms, in the exits' order."""
    costs = calibration["costs"]
    assert isinstance(costs, dict)
    return [float(one["mean"]) for one in costs["exits"].values()]


def held_to(bundle: str, pictures: NDArray[np.uint8], threads: int) -> Held:
    """Every picture once with early exits and once through all stages, in turns."""
    policy = Switched()
    taken: dict[bool, list[float]] = {True: [], False: []}
    exits = []
    with Session.open(bundle, policies=[policy], threads=threads) as session:
        names = [stage.name for stage in session.stages if stage.exit is not None]
        for number in range(-WARMUP, len(pictures)):
            for on in (True, False) if number % 2 else (False, True):
                policy.on = on
                result = session.infer(image=pictures[number])
                if number >= 0:
                    taken[on].append(result.elapsed_ms)
                    if on:
                        assert result.stage is not None
                        exits.append(names.index(result.stage))
    return Held(float(np.mean(taken[True])), float(np.mean(taken[False])), np.asarray(exits))


def calibrating_seconds() -> float:
    """How long thresholds for a mean take, logits given: 5,000 samples, ten exits."""
    random = np.random.default_rng(0)
    logits = random.standard_normal((EXITS, SAMPLES, CLASSES), np.float32)
    labels = random.integers(0, CLASSES, SAMPLES)
    logits[:, np.arange(SAMPLES), labels] += np.linspace(2, 5, EXITS, dtype=np.float32)[:, None]
    mean = tuple(float(1 + k) for k in range(EXITS))
    costs = Costs("ms", tuple(f"stage{k + 1}" for k in range(EXITS)), mean, mean, "made up")
    start = time.perf_counter()
    calibrate(Recorded(logits, labels, "random logits"), costs, Goal(mean_ms=EXITS / 2))
    return time.perf_counter() - start


def show(found: Sequence[Kept], seconds: float) -> None:
    """Print the goals and what became of them."""
    for one in found:
        print(
            f"{'reached' if one.reached else 'NOT REACHED':12}{one.network}: goal {one.goal_ms:.2f} ms, {one.frames} other pictures"
            f" took {one.mean_ms:.2f} ms on average; by the clock {one.by_clock:.3f} of the goal, at the pace of all stages"
            f" meanwhile ({one.all_ms:.2f} ms, promised {one.all_promised_ms:.2f}) {one.at_pace:.3f}: {one.by_shares:.3f} (± {one.error:.3f}"
            f" by chance) by who left where, {one.by_times:.3f} by what that took; within {BAR:.0%}"
        )
    print(
        f"{'reached' if seconds < SECONDS else 'NOT REACHED':12}calibrating on {SAMPLES} samples of {EXITS} exits and {CLASSES}"
        f" classes: {seconds:.1f} s; < {SECONDS:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
