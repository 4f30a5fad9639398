"""What an OQA supernet learns by: subnets of the open space in turn, the largest as often, distilled from what they began with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from edgekit.errors import OptionError
from edgekit.models.channels_last import laid_out, lay_out
from edgekit.models.checkpoint import load_weights, read_state_dict
from edgekit.models.oqa_space import SubnetConfig, SupernetOptions, largest
from edgekit.models.staged import IMAGENET_MEAN, IMAGENET_STD
from edgekit.models.training.classification.batches import Batch, Normalise, in_order
from edgekit.models.training.classification.run import Lesson, Subject
from edgekit.models.training.classification.sources import Labelled
from edgekit.models.training.oqa_beginning import inherit
from edgekit.models.training.oqa_shrinking import space_at, spaces
from edgekit.models.training.oqa_supernet import TrainingSupernet, settled

if TYPE_CHECKING:
    from edgekit.models.training.classification.data import ClassificationData
    from edgekit.models.training.oqa import OqaRecipe

RECALIBRATED_ON = 2000  # training pictures, the authors' number


class OqaSubject(Subject):
    """A supernet at one bit-width, or in float; measured by its largest subnet, its smallest and one between."""

    family = "oqa"
    halved = True
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    net: TrainingSupernet

    def __init__(self, options: SupernetOptions, recipe: OqaRecipe, data: ClassificationData) -> None:
        self._recipe, self._settings = recipe, options
        self._quantised = recipe.bits != 32
        self.net = TrainingSupernet(options, self._quantised)
        lay_out(self.net)
        self._spaces = spaces(options)
        every = max(1, len(data.train.labels) // RECALIBRATED_ON)
        some = Labelled(data.train.images[::every], data.train.labels[::every])
        self._some = [laid_out(batch.pictures) for batch in in_order(some, Normalise(self.mean, self.std))]
        self._teacher = self._taught_by() if (recipe.teacher or recipe.initial) and recipe.distil else None
        self._cut: tuple[object, list[TrainingSupernet]] = (None, [])

    def _taught_by(self) -> TrainingSupernet:
        """The teacher, as it was trained: the one named, or the network that the training begins with."""
        recipe = self._recipe
        source, bits = (recipe.teacher, 32) if recipe.teacher else (recipe.initial, recipe.initial_bits)
        options = (
            self._settings if bits == 32 else SupernetOptions(**{**asdict(self._settings), "bits": bits})
        )
        teacher = TrainingSupernet(options, bits != 32)
        load_weights(teacher.supernet, read_state_dict(source), source)
        lay_out(teacher)
        teacher.eval().requires_grad_(False)
        return teacher

    def start_from(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Inherit the weights and the steps, or begin the steps where the weights are float."""
        bits = self._recipe.initial_bits
        if not self._quantised:
            if bits != 32:
                raise OptionError(f"{source}: a float supernet cannot begin with weights of {bits} bits")
            load_weights(self.net.supernet, weights, source)
            return
        inherit(self.net, weights, None if bits == 32 else bits, self._some[0])

    def lesson(self, batch: Batch, progress: float) -> Lesson:
        """The loss of the largest subnet, or of one drawn from the space that is open."""
        recipe = self._recipe
        draw = random.Random(int(torch.randint(2**31, ())))  # torch's generator is seeded by the step
        pictures = laid_out(batch.pictures)
        if draw.random() < recipe.largest_share:
            logits = self.net(pictures, largest(self._settings)).float()
        else:  # by `forward`, which is never compiled: for each of thousands of subnets that would take a minute
            subnet = space_at(self._spaces, progress, recipe.shrunk_by).sample(self._settings, draw)
            logits = self.net.forward(pictures, subnet).float()
        loss = cross_entropy(logits, batch.labels, label_smoothing=recipe.smoothing)
        if self._teacher is not None:
            with torch.no_grad():
                wanted = softmax(self._teacher(pictures, largest(self._settings)).float(), 1)
            distilled = kl_div(log_softmax(logits, 1), wanted, reduction="batchmean")
            loss = (1 - recipe.distil) * loss + recipe.distil * distilled
        return Lesson(loss, [logits])

    def exits(self, net: nn.Module, pictures: Tensor) -> Sequence[Tensor]:
        """The logits of the subnets that are measured, each with batch norms of its own."""
        assert isinstance(net, TrainingSupernet)
        # Recalibrating takes a while and is due once a measurement, not once a batch; training changes the weights' version.
        version = (id(net), next(net.parameters())._version)
        if self._cut[0] != version:
            self._cut = (version, [settled(net, subnet, self._some) for subnet in self._measured().values()])
        pictures = laid_out(pictures)
        subnets = self._measured().values()
        return [ready(pictures, subnet) for ready, subnet in zip(self._cut[1], subnets, strict=True)]

    def exit_names(self, count: int) -> list[str]:
        """``largest``, ``middle``, ``smallest``."""
        return list(self._measured())

    def _measured(self) -> dict[str, SubnetConfig]:
        options = self._settings
        ks, e, d = options.ks_list, options.expand_ratio_list, options.depth_list
        middle = SubnetConfig(
            (ks[0],) * options.blocks, (e[-1],) * options.blocks, (d[-1], d[0], d[-1], d[0], d[-1])
        )
        smallest = SubnetConfig((ks[0],) * options.blocks, (e[0],) * options.blocks, (d[0],) * 5)
        return {"largest": largest(options), "middle": middle, "smallest": smallest}

    def shipped(self, net: nn.Module) -> dict[str, Tensor]:
        """The supernet under the authors' names; its batch norms are those of the largest subnet."""
        assert isinstance(net, TrainingSupernet)
        return settled(net, largest(self._settings), self._some).supernet.state_dict()

    @property
    def options(self) -> Mapping[str, object]:
        """The supernet's options as JSON values; a float one has 32 bits."""
        told = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self._settings).items()
        }
        return {**told, "bits": self._recipe.bits}
