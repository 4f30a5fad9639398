"""What IMTA learns by (Li et al., arXiv 1908.06294): gradient equilibrium, inline collaboration, one-for-all distillation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from edgekit.models.checkpoint import load_weights
from edgekit.models.imta import IMTA
from edgekit.models.msdnet import Branch, MSDNet, MSDNetOptions
from edgekit.models.msdnet_weights import jsonable
from edgekit.models.staged import CIFAR10_MEAN, CIFAR10_STD
from edgekit.models.training.classification.batches import Batch
from edgekit.models.training.classification.recipe import ClassificationRecipe
from edgekit.models.training.classification.run import Lesson, Subject
from edgekit.models.training.imta import IMTARecipe


class ScaledGradient(torch.autograd.Function):
    """x forwards; its gradient times ``scale`` backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None


def equilibrium(exits: int) -> Branch:
    """Gradient equilibrium (section 3.1) for a network of ``exits`` exits.

    Where exit k = 1 ... K branches off, what comes back from the exit is scaled by 1 / (K - k + 1) and what comes back from all
    later ones by (K - k) / (K - k + 1), so that a block's gradient is as large wherever it stands.
    """

    def branch(index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        behind = exits - index - 1
        here: Tensor = ScaledGradient.apply(x, 1 / (behind + 1))  # type: ignore[no-untyped-call]
        onward: Tensor = ScaledGradient.apply(x, behind / (behind + 1))  # type: ignore[no-untyped-call]
        return here, onward

    return branch


def distilled(logits: Tensor, teacher: Tensor, labels: Tensor, share: float, temperature: float) -> Tensor:
    """One-for-all distillation (section 3.3): labels count 1 - ``share``, the last exit's softened answer ``share``."""
    told = softmax(teacher.detach() / temperature, dim=1)
    differing = kl_div(log_softmax(logits / temperature, dim=1), told, reduction="batchmean")
    return (1 - share) * cross_entropy(logits, labels) + share * temperature**2 * differing


class Solitary(nn.Module):
    """An MSDNet with new classifiers that, unlike IMTA's, read no other exit's answer: what is left without collaboration."""

    def __init__(self, options: MSDNetOptions) -> None:
        super().__init__()
        self.net = MSDNet(options)
        self.classifier = nn.ModuleList(
            nn.Linear(self.net.head(index).linear.in_features, options.num_classes)
            for index in range(options.nBlocks)
        )

    def answer(self, index: int, features: Tensor, _previous: Tensor | None) -> Tensor:
        """Logits (B, classes) of exit ``index`` from its pooled features (B, inner)."""
        return self.classifier[index](features)  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised pictures (B, 3, H, W) to the logits (B, classes) of every exit."""
        maps = self.net.features(image)
        return [self.answer(index, self.net.head(index).features(x), None) for index, x in enumerate(maps)]

    def as_msdnet(self) -> dict[str, Tensor]:
        """The weights of the MSDNet that this is."""
        weights = self.net.state_dict()
        return {**weights, **{f"classifier.{k}.linear.{name}": tensor for k, one in enumerate(self.classifier)
                              for name, tensor in one.state_dict().items()}}  # fmt: skip


class IMTASubject(Subject):
    """The authors' two phases: an MSDNet under gradient equilibrium; then, the network frozen, exits that collaborate.

    Without collaboration the network is an MSDNet, and is written as one.
    """

    mean, std = CIFAR10_MEAN, CIFAR10_STD
    halved = True

    def __init__(self, options: MSDNetOptions, recipe: IMTARecipe) -> None:
        self._recipe, self._options = recipe, options
        self._whole: IMTA | Solitary = IMTA(options) if recipe.collaboration else Solitary(options)
        self.net = self._whole
        self.family = "imta" if recipe.collaboration else "msdnet"
        self.phases = (0.0, recipe.exits_from) if recipe.exits_from > 0 else (0.0,)
        self._exits_alone = False

    @torch.no_grad()
    def begin(self, phase: int) -> None:
        """The last phase's classifiers start as those of the backbone, deaf to the exit before them: they need not begin anew."""
        if phase < len(self.phases) - 1:
            return
        for index, classifier in enumerate(self._whole.classifier):
            assert isinstance(classifier, nn.Linear)
            trained = self._whole.net.head(index).linear
            classifier.weight.zero_()[:, : trained.in_features] = trained.weight
            assert classifier.bias is not None and trained.bias is not None
            classifier.bias.copy_(trained.bias)

    def enter(self, phase: int) -> None:
        """The last phase trains the classifiers, and what turns answers into features, alone."""
        self._exits_alone = phase == len(self.phases) - 1
        self._whole.requires_grad_(self._exits_alone)
        self._whole.net.requires_grad_(not self._exits_alone)

    def parameter_groups(self, recipe: ClassificationRecipe) -> list[dict[str, object]]:
        """All parameters: which of them learn changes between the phases."""
        self._whole.requires_grad_(True)
        groups = super().parameter_groups(recipe)
        self.enter(0)
        return groups

    def lesson(self, batch: Batch, progress: float) -> Lesson:
        """The sum of the exits' losses."""
        recipe, labels, net = self._recipe, batch.labels, self._whole.net
        if not self._exits_alone:
            branch = equilibrium(self._options.nBlocks) if recipe.equilibrium else None
            logits = [
                net.head(index)(x).float() for index, x in enumerate(net.features(batch.pictures, branch))
            ]
            losses = [cross_entropy(one, labels, label_smoothing=recipe.smoothing) for one in logits]
            return Lesson(sum(losses[1:], losses[0]), logits)
        net.eval()  # frozen, its norms too
        with torch.no_grad():
            features = [net.head(index).features(x) for index, x in enumerate(net.features(batch.pictures))]
            teacher = net.head(len(features) - 1).linear(features[-1]).float()
        logits = []
        for index, pooled in enumerate(features):
            logits.append(self._whole.answer(index, pooled, logits[-1] if logits else None))
        share = recipe.distillation_share if recipe.distillation else 0.0
        losses = [distilled(one.float(), teacher, labels, share, recipe.temperature) for one in logits]
        return Lesson(sum(losses[1:], losses[0]), logits)

    def exits(self, net: nn.Module, pictures: Tensor) -> Sequence[Tensor]:
        """The logits of every exit; before the last phase those of the MSDNet inside."""
        assert isinstance(net, (IMTA, Solitary))
        return net(pictures) if self._exits_alone else net.net(pictures)  # type: ignore[no-any-return]

    def start_from(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Take the weights of an MSDNet that is trained already."""
        load_weights(self._whole.net, weights, source)

    def shipped(self, net: nn.Module) -> dict[str, Tensor]:
        """The weights under the names that the family's builder reads."""
        return net.as_msdnet() if isinstance(net, Solitary) else super().shipped(net)

    @property
    def options(self) -> Mapping[str, object]:
        """The network's options as JSON values."""
        return jsonable(self._options)
