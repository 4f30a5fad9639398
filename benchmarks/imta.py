"""IMTA against MSDNet at the same epochs and the same mean ms, and the paper's ablation: python -m benchmarks.imta --data FILE.

Trains a small network in every way and with every seed (a run that was stopped goes on where it was), then measures what each
gets right on a mean budget. Prints the bars; writes JSON and a picture.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

import edgekit
from benchmarks import machine
from benchmarks.accuracy_multiexit import reached_ms
from benchmarks.budgeted import BudgetPoint, accuracies, at_budget, curve, evidence
from benchmarks.figures import Figure
from benchmarks.multiexit import stages_timed
from benchmarks.timing import Contender, Times, interleave
from edgekit.models import imta, msdnet_stages
from edgekit.models.staged import CIFAR10_MEAN, CIFAR10_STD
from edgekit.models.training.classification.data import ClassificationData, load_data
from edgekit.models.training.classification.recipe import Training
from edgekit.models.training.classification.training import train
from edgekit.models.training.imta import IMTARecipe
from edgekit.models.training.imta import make as make_imta
from edgekit.models.training.loop import CHECKPOINT
from edgekit.models.training.msdnet import MSDNetRecipe
from edgekit.models.training.msdnet import make as make_msdnet

PLAIN, WHOLE = "msdnet", "imta"
# The rate is the best of 0.1 and 0.2 for both; small pictures, for the many steps that both need.
SMALL = MSDNetRecipe(
    nBlocks=4, nChannels=8, growthRate=8, size=20, margin=2, batch=64, rate=0.2, precision="bfloat16", averaging=0.99,
)  # fmt: skip
EXITS_FROM = 0.95  # of IMTA's training, which is as long as MSDNet's in all
SWITCHES: Mapping[str, Mapping[str, bool]] = {
    WHOLE: {},
    "without equilibrium": {"equilibrium": False},
    "without collaboration": {"collaboration": False},
    "without distillation": {"distillation": False},
    "equilibrium alone": {"collaboration": False, "distillation": False},
}
BUDGETS = 9  # from the first exit's time to half of the whole network's


@dataclass(frozen=True)
class Trained:
    """One training's network on the test pictures: every exit by itself, and mean budgets."""

    way: str
    seed: int
    exits: tuple[float, ...]
    budgeted: tuple[BudgetPoint, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not trained yet, measure, and report; 0 when it ran, whatever the bars say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imta", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="as for `edgekit train`: cifar10_jpeg.npz")
    parser.add_argument(
        "--out", type=Path, default=Path("bench/imta"), help="folder for trainings and results"
    )
    parser.add_argument("--epochs", type=int, default=2, help="of every training, whatever its way")
    parser.add_argument("--seeds", default="1,2", help="one training of every way for each")
    parser.add_argument("--ablation", action="store_true", help="also IMTA without each of its techniques")
    parser.add_argument("--threads", type=int, default=2, help="of the timing, and of torch in training")
    options = parser.parse_args(arguments)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    ways = [PLAIN, *(SWITCHES if options.ablation else (WHOLE,))]
    weights = {
        (way, seed): trained(way, seed, options.epochs, options.data, options.out, options.threads)
        for seed in seeds
        for way in ways
    }
    times = timed({way: weights[way, seeds[0]] for way in ways}, options.threads)
    found = []
    for (way, seed), path in weights.items():
        print(f"measuring {way}, seed {seed}", file=sys.stderr)
        found.append(measured(way, seed, path, load_data(options.data, seed, SMALL.size), times[way]))
    bars = figures(found, times)
    document = {
        "what": "measured",
        "machine": machine.describe(options.threads),
        "data": load_data(options.data, seeds[0], SMALL.size).name,
        "epochs": options.epochs,
        "recipe": asdict(SMALL),
        "exits_from": EXITS_FROM,
        "thresholds": "found on the held-out training pictures, used on the test pictures",
        "reached_ms": times,
        "trainings": [asdict(one) for one in found],
        "figures": [asdict(bar) for bar in bars],
    }
    (options.out / "imta.json").write_text(json.dumps(document, indent=1) + "\n")
    draw(found, options.out / "imta.png")
    for one in found:
        print(f"{one.way:24} seed {one.seed}  " + " ".join(f"{share:.2%}" for share in one.exits))
    for bar in bars:
        print(f"{'reached' if bar.reached else 'NOT REACHED':12}{bar.measured}  {bar.bar}  {bar.what}")
    return 0


def trained(way: str, seed: int, epochs: int, data: str, out: Path, threads: int) -> Path:
    """The weights of one training, from now or from earlier."""
    folder = out / f"{way.replace(' ', '-')}-{seed}-{epochs}"
    finished = sorted(folder.glob("[im]*.safetensors"))
    if finished:
        return finished[0]
    print(f"training {way}, seed {seed}", file=sys.stderr)
    training = Training(folder, data, (folder / CHECKPOINT).exists(), threads=threads, measure_every=epochs)
    plain = replace(SMALL, seed=seed, epochs=epochs)
    if way == PLAIN:
        return train(training, plain, make_msdnet)
    return train(
        training, IMTARecipe(**{**asdict(plain), "exits_from": EXITS_FROM, **SWITCHES[way]}), make_imta
    )


def timed(weights: Mapping[str, Path], threads: int) -> dict[str, tuple[float, ...]]:
    """The ms to every exit, all networks in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        sessions = {}
        for number, (way, path) in enumerate(weights.items()):
            out = Path(scratch) / f"{number}.edgekit"
            bundle = edgekit.export(model=path.stem, checkpoint=path, size=(SMALL.size,) * 2, out=out)
            sessions[way] = edgekit.load(bundle.path, threads=threads, policies=())
        image = np.random.default_rng(0).standard_normal((1, 3, SMALL.size, SMALL.size), dtype=np.float32)
        together = interleave(
            {way: _named(way, stages_timed(s, image)) for way, s in sessions.items()}, 15, 7
        )
        for session in sessions.values():
            session.close()
    found = {}
    for way in weights:
        prefix = f"{way}/"
        own = {name[len(prefix) :]: ms for name, ms in together.rounds.items() if name.startswith(prefix)}
        found[way] = reached_ms(Times(own))
    return found


def _named(way: str, contender: Contender) -> Contender:
    def run() -> Mapping[str, float]:
        return {f"{way}/{name}": ms for name, ms in contender().items()}

    return run


def measured(way: str, seed: int, path: Path, data: ClassificationData, reached: Sequence[float]) -> Trained:
    """What one training's network gets right."""
    net: nn.Module = (
        imta.build(path, {}, None).imta if path.stem == "imta" else msdnet_stages.build(path, {}, None).net
    )
    held_out, test = (evidence(net, part, CIFAR10_MEAN, CIFAR10_STD) for part in (data.validation, data.test))
    return Trained(way, seed, tuple(accuracies(test)), tuple(curve(held_out, test, reached)))


def budgets(times: Mapping[str, Sequence[float]]) -> list[float]:
    """Mean ms from the first exit's time to half of the whole network's, of the slower network."""
    first, last = max(ms[0] for ms in times.values()), max(ms[-1] for ms in times.values())
    return [float(ms) for ms in np.linspace(first, max(first, last / 2), BUDGETS)]


def figures(found: Sequence[Trained], times: Mapping[str, Sequence[float]]) -> list[Figure]:
    """IMTA's gain over MSDNet at every budget, the mean of the seeds; then what each technique is worth."""
    wanted = budgets(times)

    def mean(way: str, ms: float) -> float:
        return float(np.mean([at_budget(one.budgeted, ms) for one in found if one.way == way]))

    gains = [100 * (mean(WHOLE, ms) - mean(PLAIN, ms)) for ms in wanted]
    told = " ".join(f"{gain:+.2f}" for gain in gains)
    bars = [
        Figure(
            f"IMTA less MSDNet, points, at mean budgets of {wanted[0]:.2f} to {wanted[-1]:.2f} ms (half of the full time)",
            "> 0 each", told, min(gains) > 0,
        )
    ]  # fmt: skip
    for way in sorted({one.way for one in found} - {PLAIN, WHOLE}):
        loss = [100 * (mean(WHOLE, ms) - mean(way, ms)) for ms in wanted]
        bars.append(
            Figure(f"IMTA less IMTA {way}, points, mean of those budgets", "> 0", f"{np.mean(loss):+.2f}",
                   float(np.mean(loss)) > 0)
        )  # fmt: skip
    return bars


def draw(found: Sequence[Trained], out: Path) -> None:
    """Accuracy against mean ms, a line for every way: the mean of its seeds, and the seeds themselves thin."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas((8, 4.5), dpi=100, layout="constrained")
    axes = canvas.subplots()
    for number, way in enumerate(dict.fromkeys(one.way for one in found)):
        runs = [one.budgeted for one in found if one.way == way]
        low, high = (
            max(min(p.milliseconds for p in run) for run in runs),
            max(p.milliseconds for p in runs[0]),
        )
        times = np.linspace(low, high, 60)
        lines = [[100 * at_budget(run, float(ms)) for ms in times] for run in runs]
        for line in lines:
            axes.plot(times, line, color=f"C{number}", linewidth=0.6, alpha=0.5)
        axes.plot(times, np.mean(lines, axis=0), color=f"C{number}", label=way)
    axes.set(xlabel="mean time for one picture, ms", ylabel="right, % of the test pictures")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    canvas.savefig(out)


if __name__ == "__main__":
    sys.exit(main())
