"""What a CondenseNet learns by, and when it condenses (arXiv 1711.09224, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edgekit.models.channels_last import laid_out, lay_out
from edgekit.models.condensenet import CLASSIFIER_SHARE, CondenseNet, CondenseNetOptions, converted
from edgekit.models.condensenet_checkpoint import jsonable
from edgekit.models.staged import CIFAR10_MEAN, CIFAR10_STD
from edgekit.models.training.classification.batches import Batch
from edgekit.models.training.classification.run import Lesson, Subject

if TYPE_CHECKING:
    from edgekit.models.training.condensenet import CondenseNetRecipe


class CondenseNetSubject(Subject):
    """A CondenseNet in training form: cross-entropy and group lasso, condensed as the training goes on."""

    family = "condensenet"
    mean, std = CIFAR10_MEAN, CIFAR10_STD
    net: CondenseNet

    def __init__(self, options: CondenseNetOptions, recipe: CondenseNetRecipe) -> None:
        self.net = CondenseNet(options)
        for module in self.net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        lay_out(self.net)
        self._options, self._smoothing = options, recipe.smoothing
        self._share = recipe.classifier_share

    def before_step(self, progress: float) -> None:
        """Condense as far as the schedule is."""
        self.net.condense(progress)

    def lesson(self, batch: Batch, progress: float) -> Lesson:
        """Cross-entropy, and the group lasso of every learned convolution."""
        logits = self.net(laid_out(batch.pictures)).float()
        loss = cross_entropy(logits, batch.labels, label_smoothing=self._smoothing)
        if self._options.group_lasso_lambda:
            loss = loss + self.net.group_lasso()
        return Lesson(loss, [logits])

    def exits(self, net: nn.Module, pictures: Tensor) -> Sequence[Tensor]:
        """The logits as exported, before the conversion, and after the authors' own; all the same while it condenses."""
        assert isinstance(net, CondenseNet)
        pictures = laid_out(pictures)
        before: Tensor = net(pictures)
        if any(int(conv._stage) < self._options.condense_factor - 1 for conv in net.learned()):
            return [before, before, before]
        kept, halved = (converted(net, classifier_share=share) for share in (self._share, CLASSIFIER_SHARE))
        return [kept(pictures), before, halved(pictures)]

    def exit_names(self, count: int) -> list[str]:
        """``stage1`` is what is exported."""
        return ["stage1", "before_conversion", "half_of_classifier"]

    @property
    def options(self) -> Mapping[str, object]:
        """The network's options as JSON values, and how much of the classifier the conversion keeps."""
        return {**jsonable(self._options), "classifier_share": self._share}
