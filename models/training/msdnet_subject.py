"""What MSDNet learns by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.models.msdnet_weights import jsonable
from edgekit.models.staged import CIFAR10_MEAN, CIFAR10_STD
from edgekit.models.training.classification.batches import Batch
from edgekit.models.training.classification.recipe import ClassificationRecipe
from edgekit.models.training.classification.run import Lesson, Subject


class MSDNetSubject(Subject):
    """An MSDNet whose exits' losses are added up (section 4, loss function)."""

    family = "msdnet"
    mean, std = CIFAR10_MEAN, CIFAR10_STD
    halved = True

    def __init__(self, options: MSDNetOptions, recipe: ClassificationRecipe) -> None:
        self.net = MSDNet(options)
        self._options = options
        self._smoothing = recipe.smoothing

    def lesson(self, batch: Batch, progress: float) -> Lesson:
        """The sum of the exits' cross-entropies."""
        logits = [one.float() for one in self.net(batch.pictures)]
        losses = [cross_entropy(one, batch.labels, label_smoothing=self._smoothing) for one in logits]
        return Lesson(sum(losses[1:], losses[0]), logits)

    def exits(self, net: nn.Module, pictures: Tensor) -> Sequence[Tensor]:
        """The logits of every exit."""
        return net(pictures)  # type: ignore[no-any-return]

    @property
    def options(self) -> Mapping[str, object]:
        """The network's options as JSON values."""
        return jsonable(self._options)
