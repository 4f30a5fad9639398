"""The recipe that trains AnyNet's shipped weights: seeded, resumable to the bit, on scenes that edgekit renders itself."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import OptionError
from edgekit.models.training.loop import CHECKPOINT, begin, carry_out

if TYPE_CHECKING:
    from edgekit.models.training.anynet_run import Run
    from edgekit.models.training.log import TrainingLog

WEIGHTS = "anynet.safetensors"
CARD = "anynet.json"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained weights; two runs of one recipe agree.

    Attributes:
        steps: optimiser steps in all.
        height, width: crop size in px, multiples of 16.
        batch: pairs per step.
        seed: of the initial weights, the scenes, their order, crops and augmentation.
        scenes: distinct scenes; after that many pairs they come again with other crops.
        rate: Adam's greatest step size, reached after `warmup` steps.
        joins: shares of the steps after which exits 2, 3 and 4 are trained too. Stage 1 alone is cheap and decides most;
            and a stage that starts together with the next one can be left behind, adding 0 for good.
        decay_from: share of the steps after which the step size falls along a half cosine to nearly 0.
        exit_weights: weights of the exits' losses. With 0, 0, 0 and 1 the propagation stage alone is trained, and the others
            run as they do in use.
        softening: errors well above this many px count less (see `disparity_loss`); 0 for none.
        averaging: decay of the running average of the weights that is shipped.
        initial: weights to start from, or empty for a fresh start.
    """

    steps: int = 10000
    height: int = 224
    width: int = 640
    batch: int = 4
    seed: int = 1
    scenes: int = 4200
    rate: float = 6e-3
    warmup: int = 200
    joins: tuple[float, float, float] = (0.2, 0.26, 0.3)
    decay_from: float = 0.4
    exit_weights: tuple[float, ...] = (0.5, 0.7, 1.0, 1.0)
    softening: float = 8.0
    averaging: float = 0.997
    greatest: float = 192.0
    initial: str = ""

    def __post_init__(self) -> None:
        if self.height % 16 or self.width % 16 or min(self.height, self.width) < 64:
            raise OptionError(
                f"size {self.height}x{self.width}: both sides must be multiples of 16 and at least 64"
            )
        for name in ("steps", "batch", "scenes"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)}: must be at least 1")

    def rate_at(self, step: int) -> float:
        """Adam's step size at this step; it warms up again when an exit joins, to leave the trained ones in peace."""
        since = min(step - begin for begin in (0, *self._begins()) if begin <= step)
        if since < self.warmup:
            return self.rate * (since + 1) / self.warmup
        start = self.decay_from * self.steps
        if step < start:
            return self.rate
        progress = (step - start) / max(1.0, self.steps - start)
        return self.rate * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * progress)))

    @property
    def propagation_alone(self) -> bool:
        """Whether only the last stage is trained."""
        return not any(self.exit_weights[:3])

    def exits_at(self, step: int) -> int:
        """How many exits are trained at this step."""
        return 1 + sum(begin <= step for begin in self._begins())

    def _begins(self) -> list[int]:
        return [math.ceil(share * self.steps) for share in self.joins]


@dataclass(frozen=True)
class Training:
    """One call of `train`: the recipe, and what does not change its result.

    Attributes:
        out: directory for the checkpoint, the log and, at the end, the weights and their card.
        resume: go on from the checkpoint in `out`.
        threads: of torch; 0 leaves torch's choice.
        workers: processes that render and cut batches ahead of need; 0 does it in between.
        pool: where rendered scenes are kept; None keeps them in `out`/scenes.
        measure: directory of real pairs to measure on (never trained on), or None.
        save_every: steps between checkpoints.
        stop_after: stop (resumable) at this step, for trying things out; None runs to the end.
    """

    out: Path
    recipe: Recipe = field(default_factory=Recipe)
    resume: bool = False
    threads: int = 0
    workers: int = 1
    pool: Path | None = None
    measure: Path | None = None
    save_every: int = 250
    measure_every: int = 500
    stop_after: int | None = None


def train(training: Training) -> Path:
    """Train AnyNet and return the path of its weights.

    Raises:
        OptionError: `out` holds a training already and `resume` is off, or the checkpoint's recipe differs.
        CheckpointError: the checkpoint cannot be read, or cannot be written (the last one stays as it was).
        KeyboardInterrupt: after the current state was saved.
    """
    from edgekit.models.training.anynet_run import Run

    run = Run(training)
    log = begin(run, training.out, training.resume)
    last = min(training.recipe.steps, training.stop_after or training.recipe.steps)

    def measure() -> None:
        if training.measure and run.step % training.measure_every == 0:
            _report_real(run, training.measure, log)

    with run.batches(run.step, last) as batches:
        carry_out(run, batches, training.out, log, training.save_every, measure)
    if run.step < training.recipe.steps:
        return training.out / CHECKPOINT
    return finish(run, training)


def finish(run: Run, training: Training) -> Path:
    """Settle the batch-norm statistics of the averaged weights, and write weights and card."""
    from edgekit.models.training.checkpoint import write_atomically

    if not training.recipe.propagation_alone:  # which was trained on what the statistics make of the pictures
        run.settle_statistics()
    weights = training.out / WEIGHTS
    run.export(weights)
    accuracy = run.measure_real(training.measure) if training.measure else {}
    card = card_of(run, accuracy)
    write_atomically(training.out / CARD, (json.dumps(card, indent=2) + "\n").encode())
    return weights


def card_of(run: Run, accuracy: Mapping[str, list[tuple[float, float]]]) -> dict[str, object]:
    """What a user should know about the weights, as JSON values."""
    exits = ("stage1", "stage2", "stage3", "stage4")
    return {
        "family": "anynet",
        "options": run.options,
        "data": "stereo pairs rendered by edgekit (models/training/scenes/scene.py): procedural, exact ground truth, no pictures",
        "command": "edgekit train anynet --out DIR, once per entry of trainings, each with --init from the one before",
        "trainings": run.trainings(),
        "parameters": run.parameters,
        "accuracy": {
            pair: {
                exit_: {"epe_px": round(epe, 3), "d1_percent": round(d1, 2)}
                for exit_, (epe, d1) in zip(exits, values, strict=True)
            }
            for pair, values in accuracy.items()
        },
        "accuracy_note": "measured with the averaged weights; the real pairs were never trained on",
        "licence": "the project's own licence; nothing of third parties went into the weights",
    }


def _report_real(run: Run, root: Path, log: TrainingLog) -> None:
    from edgekit.models.evaluate_stereo import table

    results = run.measure_real(root)
    log.write({"step": run.step, "real": results})
    print(table(results), file=sys.stderr, flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edgekit train anynet`."""
    default = Recipe()
    parser.add_argument(
        "--out", type=Path, required=True, help="directory for checkpoint, log, weights and card"
    )
    parser.add_argument(
        "--steps", type=int, default=default.steps, help="optimiser steps (default %(default)s)"
    )
    parser.add_argument(
        "--size",
        default=f"{default.height}x{default.width}",
        help="crop size, HEIGHTxWIDTH (default %(default)s)",
    )
    parser.add_argument(
        "--batch", type=int, default=default.batch, help="pairs per step (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=default.seed, help="decides everything random (default %(default)s)"
    )
    parser.add_argument(
        "--scenes", type=int, default=default.scenes, help="distinct scenes (default %(default)s)"
    )
    parser.add_argument(
        "--rate", type=float, default=default.rate, help="greatest step size (default %(default)s)"
    )
    parser.add_argument(
        "--joins", default=",".join(str(share) for share in default.joins),
        help="shares of the steps after which exits 2, 3 and 4 are trained too (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--decay-from", type=float, default=default.decay_from,
        help="share of the steps after which the step size falls (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--softening", type=float, default=default.softening,
        help="errors well above this many px count less; 0 for none (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--exit-weights",
        default=",".join(str(weight) for weight in default.exit_weights),
        help="weights of the four exits' losses (default %(default)s)",
    )
    parser.add_argument("--init", default="", help="start from these weights instead of random ones")
    parser.add_argument("--threads", type=int, default=0, help="torch's threads (default: torch's choice)")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that render ahead (default %(default)s)"
    )
    parser.add_argument("--pool", type=Path, help="where rendered scenes are kept (default OUT/scenes)")
    parser.add_argument(
        "--measure", type=Path, help="directory of real pairs to measure on, never trained on"
    )
    parser.add_argument(
        "--measure-every", type=int, default=500, help="steps between measurements (default %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """`edgekit train anynet`; returns the exit code."""
    try:
        height, width = (int(side) for side in str(arguments.size).lower().split("x"))
    except ValueError:
        raise OptionError(f"--size {arguments.size}: write HEIGHTxWIDTH, such as 256x512") from None
    first, second, third = _numbers("--joins", arguments.joins, 3)
    exit_weights = _numbers("--exit-weights", arguments.exit_weights, 4)
    recipe = Recipe(
        steps=arguments.steps, height=height, width=width, batch=arguments.batch, seed=arguments.seed,
        scenes=arguments.scenes, rate=arguments.rate, joins=(first, second, third),
        exit_weights=exit_weights, decay_from=arguments.decay_from,
        softening=arguments.softening, initial=arguments.init,
    )  # fmt: skip
    weights = train(
        Training(
            arguments.out, recipe, arguments.resume, arguments.threads, arguments.workers, arguments.pool,
            arguments.measure, measure_every=arguments.measure_every,
        )
    )  # fmt: skip
    finished = weights.name == WEIGHTS
    card = json.loads((weights.parent / CARD).read_text()) if finished else None
    document = {"written": str(weights), "finished": finished, "card": card}
    print(json.dumps(document, indent=1) if arguments.json else weights)
    return 0


def _numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(value) for value in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise OptionError(f"{option} {text}: write {count} numbers with commas between, such as 0.2,0.3,0.4")
    return values
