"""Train a classifier by its family's recipe, and write its weights with a card that says what they are worth."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from edgekit.models.training.checkpoint import write_atomically
from edgekit.models.training.classification.data import ClassificationData, load_data
from edgekit.models.training.classification.recipe import (
    ClassificationRecipe,
    Training,
    recipe_of,
    training_of,
)
from edgekit.models.training.classification.run import ClassifierRun, Subject, halvable
from edgekit.models.training.compiling import check_compiler, compiling
from edgekit.models.training.log import TrainingLog
from edgekit.models.training.loop import CHECKPOINT, LOG, begin, carry_out
from edgekit.models.training.plot import plot_log

Make = Callable[[Any, ClassificationData], Subject]


def train(training: Training, recipe: ClassificationRecipe, make: Make) -> Path:
    """Train what ``make(recipe, data)`` builds, and return the path of its weights, or of its checkpoint if it was stopped.

    Raises:
        OptionError: the data is absent or does not fit; ``out`` holds a training already and ``resume`` is off; the
            checkpoint's recipe differs; or the step is to be compiled and cannot be.
        CheckpointError: the checkpoint cannot be read, or cannot be written (the last one stays as it was).
        KeyboardInterrupt: after the current state was saved.
    """
    if recipe.compiled:
        check_compiler()
    data = load_data(training.data, recipe.seed, recipe.size)
    torch.manual_seed(recipe.seed)
    run = ClassifierRun(make(recipe, data), data, recipe, training)
    log = begin(run, training.out, training.resume)
    every = training.measure_every * run.batches.steps_per_epoch

    def measure() -> None:
        if run.step % every == 0 and run.progress < 1:
            _report(run, log)

    with compiling(training.out) if recipe.compiled else nullcontext():
        carry_out(run, run.works(training.stop_after), training.out, log, training.save_every, measure)
    if run.progress < 1:
        return training.out / CHECKPOINT
    return finish(run, training, log)


def _report(run: ClassifierRun, log: TrainingLog) -> None:
    percent = run.measure(run.data.validation)
    log.write({"step": run.step, "seconds": run.seconds, "validation_percent": percent})
    print(
        f"epoch {run.step / run.batches.steps_per_epoch:.1f}: validation pictures right, exit by exit: "
        + " ".join(f"{one:.2f}" for one in percent) + " %",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def finish(run: ClassifierRun, training: Training, log: TrainingLog) -> Path:
    """Measure the averaged weights, and write them with their card and a picture of the log."""
    run.round()
    _report(run, log)
    family, halved = run.subject.family, run.subject.halved
    weights = training.out / f"{family}.safetensors"
    tensors = {
        name: (tensor.half() if halved and halvable(tensor) else tensor.detach()).contiguous().clone()
        for name, tensor in run.subject.shipped(run.average).items()
    }
    data = save(tensors, {"format": "pt"})
    write_atomically(weights, data)
    card = {**card_of(run), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    write_atomically(training.out / f"{family}.json", (json.dumps(card, indent=2) + "\n").encode())
    plot_log(training.out / LOG)
    return weights


def card_of(run: ClassifierRun) -> dict[str, object]:
    """What a user should know about the weights, as JSON values."""
    data, recipe = run.data, run.recipe
    test, validation = run.measure(data.test), run.measure(data.validation)
    names = run.subject.exit_names(len(test))
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        "family": run.subject.family,
        "options": dict(run.subject.options),
        "data": data.name,
        "classes": list(data.classes),
        "pictures": {name: len(labelled.labels) for name, labelled in parts.items()},
        "command": f"edgekit train {run.subject.family} --data DATA --out DIR, with the options of recipe",
        "recipe": run.recipe_facts(),
        "seed": recipe.seed,
        "epochs": round(run.step / run.batches.steps_per_epoch, 2),
        "steps": run.step,
        "seconds": round(run.seconds),
        "trained_on": f"CPU ({platform.machine()}, {torch.get_num_threads()} threads), torch {torch.__version__}, "
        f"products in {recipe.precision}",
        "parameters": sum(parameter.numel() for parameter in run.average.parameters()),
        "accuracy": {name: round(percent / 100, 4) for name, percent in zip(names, test, strict=True)},
        "validation_accuracy": {
            name: round(percent / 100, 4) for name, percent in zip(names, validation, strict=True)
        },
        "accuracy_note": "share of the pictures that are classified rightly, by the weights as they are written, computed in "
        "float32; the validation pictures are held out of the training part, the "
        "test pictures are the data's own",
        "licence": data.licence,
    }


def run_recipe(arguments: argparse.Namespace, default: ClassificationRecipe, make: Make) -> int:
    """`edgekit train FAMILY` for a classifier; returns the exit code."""
    weights = train(training_of(arguments), recipe_of(arguments, default), make)
    finished = weights.name != CHECKPOINT
    card = json.loads(weights.with_suffix(".json").read_text()) if finished else None
    document = {"written": str(weights), "finished": finished, "card": card}
    print(json.dumps(document, indent=1) if arguments.json else weights)
    return 0
