"""The state of one AnyNet training and everything that changes it: a step, a checkpoint, an average, a measurement."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn

from edgekit.errors import CheckpointError
from edgekit.models.evaluate_stereo import StereoPair, load_pairs, measure
from edgekit.models.staged import IMAGENET_MEAN, IMAGENET_STD
from edgekit.models.training.anynet_forward import TrainingAnyNet, disparity_loss
from edgekit.models.training.checkpoint import (
    part,
    read_training,
    refuse_other_recipe,
    save_training,
    write_atomically,
)
from edgekit.models.training.scenes.batches import Batch, BatchSource, ScenePool
from edgekit.models.training.scenes.scene import VERSION

if TYPE_CHECKING:
    from edgekit.models.training.anynet import Training

_AHEAD = 3  # batches per worker that wait ready
_CLIP = 5.0  # gradient norm; rare scenes without texture would otherwise throw the weights far


class Run:
    """Weights, their running average, Adam's moments and the step count of one training."""

    def __init__(self, training: Training) -> None:
        self._recipe = training.recipe
        self._workers = training.workers
        if training.threads:
            torch.set_num_threads(training.threads)
        torch.manual_seed(training.recipe.seed)
        self._net = TrainingAnyNet()
        for volume in self._net.volume_postprocess:
            # Low costs are the good matches. A first ReLU that cuts them off leaves a refinement nothing to go by, and it
            # never recovers: it learns to add 0.
            nn.init.constant_(volume.get_parameter("0.0.bias"), 1.5)
        self._earlier: list[dict[str, object]] = []
        if training.recipe.initial and not training.resume:
            self._earlier = load_into(self._net, Path(training.recipe.initial))
        if training.recipe.propagation_alone:
            self._net.requires_grad_(False)
            assert self._net.refine_spn is not None
            self._net.refine_spn.requires_grad_()
        self._average = TrainingAnyNet()
        self._average.load_state_dict(self._net.state_dict())
        trained = [parameter for parameter in self._net.parameters() if parameter.requires_grad]
        self._adam = torch.optim.Adam(trained, lr=training.recipe.rate, eps=1e-7)
        recipe = training.recipe
        pool = ScenePool(training.pool or training.out / "scenes", recipe.seed, recipe.scenes)
        self._source = BatchSource(pool, recipe.height, recipe.width, recipe.batch, recipe.seed)
        self._pairs: list[StereoPair] | None = None
        self._recent: deque[tuple[float, list[float]]] = deque(maxlen=100)
        self.step = 0
        self.seconds = 0.0
        self.options = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self._net.options).items()
        }
        self.parameters = sum(parameter.numel() for parameter in self._net.parameters())

    @contextmanager
    def batches(self, start: int, stop: int) -> Iterator[Iterator[Batch]]:
        """Batches number start .. stop - 1, made ahead by worker processes."""
        if self._workers < 1:
            yield (self._source(step) for step in range(start, stop))
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self._workers, context, initializer=_quiet_worker) as executor:
            waiting: deque[Future[Batch]] = deque()

            def ahead() -> Iterator[Batch]:
                submitted = start
                while submitted < stop or waiting:
                    while submitted < stop and len(waiting) < _AHEAD * self._workers:
                        waiting.append(executor.submit(self._source, submitted))
                        submitted += 1
                    yield waiting.popleft().result()

            try:
                yield ahead()
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def advance(self, batch: Batch) -> None:
        """One optimiser step."""
        began = time.monotonic()
        recipe = self._recipe
        exits = recipe.exits_at(self.step)
        for group in self._adam.param_groups:
            group["lr"] = recipe.rate_at(self.step)
        self._net.train(not recipe.propagation_alone)
        truth = torch.from_numpy(batch.disparity)
        predictions = self._net(torch.from_numpy(batch.left), torch.from_numpy(batch.right), exits)
        loss = disparity_loss(predictions, truth, recipe.exit_weights, recipe.greatest, recipe.softening)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._net.parameters(), _CLIP)
        if bool(torch.isfinite(norm)):
            self._adam.step()
        self.step += 1
        self._follow()
        with torch.no_grad():
            valid = ((truth > 0) & (truth < recipe.greatest)).float()
            known = valid.sum().clamp(min=1)  # a mask: picking the pixels out would take ten times as long
            errors = [float(((prediction - truth).abs() * valid).sum() / known) for prediction in predictions]
        self._recent.append((loss.item(), errors))
        self.seconds += time.monotonic() - began

    @torch.no_grad()
    def _follow(self) -> None:
        """The average follows the weights and the batch-norm statistics; slower as training gets longer."""
        decay = min(self._recipe.averaging, (1 + self.step) / (10 + self.step))
        for average, current in zip(
            self._average.state_dict().values(), self._net.state_dict().values(), strict=True
        ):
            if average.is_floating_point():
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)

    def errors(self) -> list[float]:
        """EPE of every exit, mean over the latest steps that trained as many exits as the last one."""
        exits = len(self._recent[-1][1]) if self._recent else 0
        rows = [errors for _, errors in self._recent if len(errors) == exits]
        return [float(value) for value in np.mean(rows, axis=0)] if rows else []

    @property
    def progress(self) -> float:
        """The share of the steps that is done, 0 to 1."""
        return self.step / self._recipe.steps

    def shown(self) -> str:
        """Loss, and EPE of every exit, of the latest steps."""
        return f"loss {self.summary()['loss']:.3f}  EPE " + " ".join(
            f"{error:.2f}" for error in self.errors()
        )

    def summary(self) -> dict[str, object]:
        """What a log line says about the latest steps."""
        losses = [loss for loss, errors in self._recent if len(errors) == len(self._recent[-1][1])]
        return {
            "step": self.step,
            "loss": float(np.mean(losses)) if losses else 0.0,
            "epe_px": self.errors(),
            "rate": self._recipe.rate_at(self.step),
            "seconds": self.seconds,
        }

    def save(self, path: Path) -> None:
        """Write the whole state to a temporary sibling and rename it.

        Raises:
            CheckpointError: the disk is full or not writable; what was saved before is untouched.
        """
        tensors: dict[str, Tensor] = {}
        for name, tensor in self._net.state_dict().items():
            tensors[f"net.{name}"] = tensor
        for name, tensor in self._average.state_dict().items():
            tensors[f"average.{name}"] = tensor
        for name, parameter in self._net.named_parameters():
            state = self._adam.state.get(parameter, {})
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if key in state:
                    tensors[f"adam.{key}.{name}"] = state[key]
        facts = {
            "recipe": self._recipe_facts(),
            "step": self.step,
            "seconds": self.seconds,
            "recent": list(self._recent),
            "earlier": self._earlier,
        }
        save_training(path, tensors, facts)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            OptionError: it was made with another recipe.
            CheckpointError: it cannot be read.
        """
        tensors, facts = read_training(path)
        begun_with = {**json.loads(json.dumps(asdict(type(self._recipe)()))), **facts["recipe"]}
        refuse_other_recipe(path, self._recipe_facts(), begun_with)
        self._net.load_state_dict(part(tensors, "net."))
        self._average.load_state_dict(part(tensors, "average."))
        for name, parameter in self._net.named_parameters():
            if f"adam.step.{name}" in tensors:
                state = {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
                for key in ("exp_avg", "exp_avg_sq"):
                    state[key] = torch.empty_like(parameter).copy_(state[key])
                self._adam.state[parameter] = state
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        self._earlier = list(facts.get("earlier", []))
        self._recent.extend((float(loss), list(errors)) for loss, errors in facts["recent"])

    def settle_statistics(self, batches: int = 24) -> None:
        """Estimate the averaged network's batch-norm statistics anew, over whole scenes instead of crops."""
        pool = self._source.pool
        whole = BatchSource(pool, pool.height, pool.width, 2, self._recipe.seed + 1)
        norms = [
            module
            for module in self._average.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
        self._average.train()
        with torch.no_grad():
            for step in range(batches):
                batch = whole(step)
                self._average(torch.from_numpy(batch.left), torch.from_numpy(batch.right))
        self._average.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def export(self, path: Path) -> None:
        """Write the averaged weights as safetensors, under the names of `anynet.AnyNet`."""
        state = {name: tensor.contiguous() for name, tensor in self._average.state_dict().items()}
        write_atomically(path, save(state, {"format": "pt", "trainings": json.dumps(self.trainings())}))

    def trainings(self) -> list[dict[str, object]]:
        """The recipes that made the weights, first to last: those of the initial weights, then this one."""
        done = {"steps_done": self.step, "seconds": round(self.seconds), "scenes_version": VERSION}
        return [*self._earlier, {**self._recipe_facts(), **done}]

    def _recipe_facts(self) -> dict[str, object]:
        """The recipe as JSON values; of the initial weights only the file's name, for folders differ between machines."""
        return {**asdict(self._recipe), "initial": Path(self._recipe.initial).name}

    def measure_real(self, root: Path) -> dict[str, list[tuple[float, float]]]:
        """(EPE px, D1 %) of every exit of the averaged weights on the real pairs below `root`."""
        if self._pairs is None:
            self._pairs = load_pairs(root)
        return measure(lambda left, right: predict(self._average, left, right), self._pairs)


def predict(net: nn.Module, left: NDArray[np.uint8], right: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Disparity (H, W) px of every exit for RGB pictures of any size (padded at the top and right to multiples of 16)."""
    height, width = left.shape[:2]
    above, beside = -height % 16, -width % 16
    views = []
    for picture in (left, right):
        padded = cv2.copyMakeBorder(picture, above, 0, 0, beside, cv2.BORDER_REPLICATE)
        normal = (padded.astype(np.float32) / 255 - np.array(IMAGENET_MEAN, np.float32)) / np.array(
            IMAGENET_STD, np.float32
        )
        views.append(torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))[None])
    net.eval()
    with torch.no_grad():
        exits = net(*views)
    return [exit_[0, 0, above:, :width].numpy() for exit_ in exits]


def load_into(net: nn.Module, path: Path) -> list[dict[str, object]]:
    """Fill a network from a safetensors file, and return the recipes that made the weights, as far as the file tells.

    Raises:
        CheckpointError: the file cannot be read or is of another network.
    """
    try:
        net.load_state_dict(load_file(path))
        with safetensors.safe_open(path, "pt") as file:
            trainings: list[dict[str, object]] = json.loads((file.metadata() or {}).get("trainings", "[]"))
        return trainings
    except (OSError, safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be used as initial weights: {error}") from error


def _quiet_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
