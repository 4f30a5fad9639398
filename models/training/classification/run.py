"""The state of one classifier's training and everything that changes it: a step, a checkpoint, an average, a measurement."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from edgekit.errors import CheckpointError
from edgekit.models.checkpoint import load_weights, read_state_dict
from edgekit.models.training.checkpoint import part, read_training, refuse_other_recipe, save_training
from edgekit.models.training.classification.batches import Batch, Batches, Normalise, in_order
from edgekit.models.training.classification.data import ClassificationData
from edgekit.models.training.classification.recipe import ClassificationRecipe, Training
from edgekit.models.training.classification.sources import Labelled

ASLEEP = 10  # times the usual duration of a step, from which on something else than training took the time


@dataclass(frozen=True)
class Lesson:
    """What one step asks of the network.

    Attributes:
        loss: to be lowered.
        logits: of every exit (B, classes), as far as this step computed them, for the log.
    """

    loss: Tensor
    logits: Sequence[Tensor]


class Subject(ABC):
    """What is trained: a network with its loss, and what else its paper does to it on the way.

    Attributes:
        family: as in ``edgekit export --model``.
        net: its parameters and buffers are all that a checkpoint keeps, so state of a subject's own belongs in buffers.
        mean, std: what its pictures are normalised with: those that the exported bundle will use.
        halved: whether its convolutions and matrices are written as float16, which halves the file.
        phases: shares of the training at which its phases begin. A later one starts from the averaged weights of the one before,
            without momentum, and with the whole schedule of step sizes again.
    """

    family: str
    net: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    halved: bool = False
    phases: tuple[float, ...] = (0.0,)

    @abstractmethod
    def lesson(self, batch: Batch, progress: float) -> Lesson:
        """The loss of a batch, after this share of the training (0 to 1); torch's generator is seeded by the step."""

    @abstractmethod
    def exits(self, net: nn.Module, pictures: Tensor) -> Sequence[Tensor]:
        """The logits (B, classes) of everything that a card tells the accuracy of, by ``net`` (its own, or the average)."""

    def exit_names(self, count: int) -> list[str]:
        """What the card calls what `exits` returns."""
        return [f"stage{k + 1}" for k in range(count)]

    def begin(self, phase: int) -> None:  # noqa: B027  (most subjects have nothing to do)
        """Change the weights where phase 0, 1, ... begins."""

    def enter(self, phase: int) -> None:  # noqa: B027
        """Make ready for phase 0, 1, ...: what of the network is trained. A resumed run enters its phase again."""

    def before_step(self, progress: float) -> None:  # noqa: B027
        """Change the network where the schedule says so (masks, widths); its optimiser state stays."""

    def parameter_groups(self, recipe: ClassificationRecipe) -> list[dict[str, object]]:
        """What the optimiser gets: by default weight decay for all but biases and norms."""
        heavy = [p for p in self.net.parameters() if p.ndim > 1 and p.requires_grad]
        light = [p for p in self.net.parameters() if p.ndim <= 1 and p.requires_grad]
        return [
            {"params": heavy, "weight_decay": recipe.decay},
            {"params": light, "weight_decay": 0.0},
        ]

    def start_from(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Fill the network from the weights of ``--init``."""
        load_weights(self.net, weights, source)

    def shipped(self, net: nn.Module) -> dict[str, Tensor]:
        """The weights to write in the end, under the names that the family's builder reads."""
        return net.state_dict()

    @property
    @abstractmethod
    def options(self) -> Mapping[str, object]:
        """The architecture's options as JSON values."""


def halvable(tensor: Tensor) -> bool:
    """Whether a tensor may be written as float16: convolutions and matrices, but no statistics of batch norms."""
    return tensor.is_floating_point() and tensor.ndim > 1


class ClassifierRun:
    """Weights, their running average, SGD's momentum and the step count of one training."""

    def __init__(
        self, subject: Subject, data: ClassificationData, recipe: ClassificationRecipe, training: Training
    ) -> None:
        if training.threads:
            torch.set_num_threads(training.threads)
        self.subject, self.data, self.recipe = subject, data, recipe
        self._normalise = Normalise(subject.mean, subject.std)
        self.batches = Batches(
            data.train, recipe.batch, recipe.seed, recipe.margin, recipe.mirror, self._normalise
        )
        self.steps = recipe.epochs * self.batches.steps_per_epoch
        if recipe.initial and not training.resume:
            subject.start_from(read_state_dict(recipe.initial), recipe.initial)
        subject.begin(0)
        self.average = deepcopy(subject.net)
        if recipe.compiled:  # after the copy, which only measures
            subject.net.compile(dynamic=False)
        self._parameters = {name for name, _ in subject.net.named_parameters()}
        self._sgd = torch.optim.SGD(
            subject.parameter_groups(recipe),
            lr=recipe.rate,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
        )
        self._recent: deque[tuple[float, list[float]]] = deque(maxlen=100)
        self._durations: deque[float] = deque(maxlen=50)  # s, of the latest steps
        self.step = 0
        self.seconds = 0.0
        self.phase, self._phase_step = 0, 0
        subject.enter(0)

    @property
    def progress(self) -> float:
        """The share of the training that is done, 0 to 1, by steps or by time."""
        by_time = self.seconds / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return min(1.0, max(self.step / self.steps, by_time))

    def works(self, stop_after: int | None = None) -> Iterator[Batch]:
        """The batches of the steps to come."""
        last = min(self.steps, stop_after or self.steps)
        while self.step < last and self.progress < 1:
            batch = self.batches(self.step)
            early = self._phase_at(self.progress) == 0 and self._in_phase() < self.recipe.early
            yield self._scaled(batch) if early else batch
        if self.progress >= 1 and self._phase_at(1) != self.phase:  # a last phase for which no step was left
            self._enter(self._phase_at(1))

    def _scaled(self, batch: Batch) -> Batch:
        size = (self.recipe.early_size, self.recipe.early_size)
        return Batch(interpolate(batch.pictures, size, mode="bilinear", antialias=True), batch.labels)

    def _phase_at(self, progress: float) -> int:
        return max(index for index, begin in enumerate(self.subject.phases) if begin <= progress)

    def _in_phase(self) -> float:
        """The share of the current phase that is done."""
        begins = (*self.subject.phases, 1.0)
        begin, end = begins[self.phase], begins[self.phase + 1]
        return max(0.0, self.progress - begin) / max(end - begin, 1e-9)

    def _enter(self, phase: int) -> None:
        self.phase, self._phase_step = phase, self.step
        self.subject.net.load_state_dict(self.average.state_dict())
        self.subject.begin(phase)
        self.average.load_state_dict(self.subject.net.state_dict())
        self._sgd.state.clear()
        self._recent.clear()
        self.subject.enter(phase)

    def advance(self, batch: Batch) -> None:
        """One optimiser step."""
        began = time.monotonic()
        recipe, subject = self.recipe, self.subject
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        if self._phase_at(self.progress) != self.phase:
            self._enter(self._phase_at(self.progress))
        subject.net.train()
        subject.before_step(self.progress)
        for group in self._sgd.param_groups:
            group["lr"] = recipe.rate_at(self._in_phase())
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            lesson = subject.lesson(batch, self.progress)
        self._sgd.zero_grad(set_to_none=True)
        lesson.loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(subject.net.parameters(), recipe.clip)
        self._sgd.step()
        self.step += 1
        self._follow()
        right = [float((one.argmax(1) == batch.labels).float().mean()) for one in lesson.logits]
        self._recent.append((lesson.loss.item(), right))
        self._count(time.monotonic() - began)

    def _count(self, seconds: float) -> None:
        """Add a step to the training time; one in which the machine slept, or the process was stopped, counts as others do."""
        usual = sorted(self._durations)[len(self._durations) // 2] if self._durations else seconds
        self._durations.append(seconds)
        self.seconds += usual if len(self._durations) > 10 and seconds > ASLEEP * usual else seconds

    @torch.no_grad()
    def _follow(self) -> None:
        """The average follows the weights and the batch-norm statistics; faster in the beginning."""
        since = self.step - self._phase_step
        decay = min(self.recipe.averaging, since / (10 + since)) if self.recipe.averaging else 0.0
        ours, theirs = self.average.state_dict(), self.subject.net.state_dict()
        blended = [
            name
            for name in ours
            if name in self._parameters or name.endswith(("running_mean", "running_var"))
        ]
        torch._foreach_lerp_([ours[n] for n in blended], [theirs[n] for n in blended], 1 - decay)
        for name in ours.keys() - blended:  # such as masks, of which an average would mean nothing
            ours[name].copy_(theirs[name])

    def accuracies(self) -> list[float]:
        """Share (%) of the latest training pictures that every exit got right."""
        rows = [right for _, right in self._recent if len(right) == len(self._recent[-1][1])]
        return [100 * sum(column) / len(column) for column in zip(*rows, strict=True)]

    def summary(self) -> dict[str, object]:
        """What a log line says about the latest steps."""
        losses = [loss for loss, _ in self._recent]
        return {
            "step": self.step,
            "epoch": self.step / self.batches.steps_per_epoch,
            "loss": sum(losses) / max(1, len(losses)),
            "train_percent": self.accuracies(),
            "rate": self.recipe.rate_at(self._in_phase()),
            "seconds": self.seconds,
        }

    def shown(self) -> str:
        """Epoch, loss, and accuracy of every exit, of the latest steps."""
        summary = self.summary()
        right = " ".join(f"{percent:.1f}" for percent in self.accuracies())
        return f"epoch {summary['epoch']:.2f}  loss {summary['loss']:.3f}  right {right} %"

    @torch.no_grad()
    def measure(self, labelled: Labelled) -> list[float]:
        """Accuracy (%) of every exit of the averaged weights."""
        self.average.eval()
        right: list[int] = []
        for batch in in_order(labelled, self._normalise):
            hits = [
                int((one.argmax(1) == batch.labels).sum())
                for one in self.subject.exits(self.average, batch.pictures)
            ]
            right = [a + b for a, b in zip(right or [0] * len(hits), hits, strict=True)]
        return [100 * hits / len(labelled.labels) for hits in right]

    @torch.no_grad()
    def round(self) -> None:
        """Round the averaged weights to what float16 holds, for a subject that is written in it."""
        for tensor in self.average.state_dict().values():
            if self.subject.halved and halvable(tensor):
                tensor.copy_(tensor.half())

    def _names(self) -> dict[int, str]:
        return {id(parameter): name for name, parameter in self.subject.net.named_parameters()}

    def save(self, path: Path) -> None:
        """Write the whole state to a temporary sibling and rename it.

        Raises:
            CheckpointError: the disk is full or not writable; what was saved before is untouched.
        """
        tensors = {f"net.{name}": tensor for name, tensor in self.subject.net.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        names = self._names()
        for parameter, state in self._sgd.state.items():
            if state.get("momentum_buffer") is not None:
                tensors[f"momentum.{names[id(parameter)]}"] = state["momentum_buffer"]
        facts = {
            "recipe": self.recipe_facts(),
            "step": self.step,
            "seconds": self.seconds,
            "phase": [self.phase, self._phase_step],
            "recent": list(self._recent),
        }
        save_training(path, tensors, facts)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            OptionError: it was made with another recipe.
            CheckpointError: it cannot be read.
        """
        tensors, facts = read_training(path)
        usual = asdict(type(self.recipe)())  # what an option that is younger than the checkpoint was then
        refuse_other_recipe(path, self.recipe_facts(), {**usual, **facts["recipe"]})
        try:
            self.subject.net.load_state_dict(part(tensors, "net."))
            self.average.load_state_dict(part(tensors, "average."))
        except RuntimeError as error:
            raise CheckpointError(f"{path} is of another network ({error}); start anew without it") from error
        momenta = part(tensors, "momentum.")
        for name, parameter in self.subject.net.named_parameters():
            if name in momenta:
                self._sgd.state[parameter]["momentum_buffer"] = momenta[name]
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        self.phase, self._phase_step = facts["phase"]
        self.subject.enter(self.phase)
        self._recent.extend((float(loss), list(right)) for loss, right in facts["recent"])

    def recipe_facts(self) -> dict[str, object]:
        """The recipe as JSON values; of weights that are read only the file's name, for folders differ between machines."""
        facts = asdict(self.recipe)
        facts |= {name: Path(facts[name]).name for name in ("initial", "teacher") if name in facts}
        return {"family": self.subject.family, "data": self.data.name, **facts}
