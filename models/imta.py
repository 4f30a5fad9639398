"""IMTA (Li et al., arXiv 1908.06294): an MSDNet whose exits also read what the exit before them predicted.

Inline subnetwork collaboration (section 3.2): the previous exit's logits pass a small network and stand beside the pooled
features in front of the classifier. The other two parts of the paper concern training alone. Module names are those of the
authors' checkpoint files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edgekit.errors import CheckpointError
from edgekit.models.checkpoint import load_weights
from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.models.msdnet_stages import BlockStage, StagedMSDNet, read
from edgekit.models.msdnet_weights import infer_options
from edgekit.models.staged import Stage


class IMTA(nn.Module):
    """Classifier with ``nBlocks`` exits; see `MSDNetOptions`.

    ``collaboration`` are the channels that the previous prediction is turned into, one number for each exit after the first;
    by default as many as the exit's own features have. The classifiers of ``net``, left over from its own training, only give
    their features.
    """

    def __init__(
        self, options: MSDNetOptions | None = None, collaboration: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.net = MSDNet(options)
        self.options = self.net.options
        classes = self.options.num_classes
        features = [self.net.head(index).linear.in_features for index in range(self.options.nBlocks)]
        beside = list(features[1:] if collaboration is None else collaboration)
        self.isc_modules = nn.ModuleList(
            nn.Sequential(nn.Linear(classes, width), nn.BatchNorm1d(width), nn.ReLU()) for width in beside
        )
        self.classifier = nn.ModuleList(
            nn.Linear(own + told, classes) for own, told in zip(features, [0, *beside], strict=True)
        )

    def predict(self, index: int, coarsest: Tensor, previous: Tensor | None) -> Tensor:
        """Logits (B, classes) of exit ``index`` from the block's coarsest map and the logits of the exit before it."""
        return self.answer(index, self.net.head(index).features(coarsest), previous)

    def answer(self, index: int, features: Tensor, previous: Tensor | None) -> Tensor:
        """Logits (B, classes) of exit ``index`` from its pooled features (B, inner) and the logits of the exit before it."""
        if previous is not None:
            features = torch.cat((features, self.isc_modules[index - 1](previous)), dim=1)
        return self.classifier[index](features)  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised pictures (B, 3, H, W) to the logits (B, classes) of every exit."""
        exits: list[Tensor] = []
        for index, coarsest in enumerate(self.net.features(image)):
            exits.append(self.predict(index, coarsest, exits[-1] if exits else None))
        return exits


class CollaboratingStage(BlockStage):
    """`BlockStage` whose exit reads the logits of the one before, which follow the maps that it reads."""

    def __init__(self, imta: IMTA, index: int) -> None:
        super().__init__(imta.net, index)
        self.imta = imta

    def predict(self, coarsest: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """Logits (B, classes) of this stage's exit."""
        return self.imta.predict(self.index, coarsest, tensors[-1] if self.index else None)


class StagedIMTA(StagedMSDNet):
    """An IMTA at one picture size, ready for export; a `StagedModel`."""

    family = "imta"

    def __init__(
        self, imta: IMTA, size: tuple[int, int] | None = None, accuracies: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(imta.net, size, accuracies)
        self.imta = imta.eval()

    def stages(self) -> list[Stage]:
        """One stage a block, each with its exit; from the second on they also read the previous exit."""
        return [
            self.stage(CollaboratingStage(self.imta, k), [f"logits{k}"] if k else [])
            for k in range(len(self.net.blocks))
        ]

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The logits of every exit of the uncut network for (image,)."""
        return self.imta(*inputs)  # type: ignore[no-any-return]


def from_weights(weights: Mapping[str, Tensor], config: Mapping[str, object], source: str) -> IMTA:
    """Build the network that the weights belong to, and fill it.

    The backbone's names may carry a second DataParallel prefix, from the training that it was loaded from.

    Raises:
        CheckpointError: the weights are not an IMTA's, or some are missing, left over or not finite.
        OptionError: ``config`` names an option that IMTA does not have, or contradicts the weights.
    """
    weights = {
        name.replace("net.module.", "net.", 1) if name.startswith("net.module.") else name: t
        for name, t in weights.items()
    }
    backbone = {
        name.removeprefix("net."): tensor for name, tensor in weights.items() if name.startswith("net.")
    }
    if not backbone:
        advice = (
            "an MSDNet; export it with --model msdnet"
            if "blocks.0.0.layers.1.net.0.weight" in weights
            else "no IMTA"
        )
        raise CheckpointError(f"{source}: these are the weights of {advice}")
    options = infer_options(backbone, config, source)
    told: list[int] = []
    while (name := f"isc_modules.{len(told)}.0.weight") in weights:
        told.append(int(weights[name].shape[0]))
    if len(told) != options.nBlocks - 1:
        raise CheckpointError(
            f"{source}: {len(told)} isc_modules; an IMTA of {options.nBlocks} blocks has {options.nBlocks - 1}"
        )
    imta = IMTA(options, told)
    load_weights(imta, weights, source)
    return imta.eval()


def build(
    checkpoint: str | os.PathLike[str] | None, config: Mapping[str, object], size: tuple[int, int] | None
) -> StagedIMTA:
    """The staged IMTA of a checkpoint file for pictures of ``size`` (height, width).

    Raises:
        CheckpointError: the file cannot be used.
        OptionError: ``config`` is wrong or contradicts the weights, or ``size`` does not suit the classifiers.
    """
    given = read(checkpoint, "imta", config)
    staged = StagedIMTA(from_weights(given.weights, given.config, given.source), size, given.accuracies)
    staged.options = {**staged.options, **given.classes}
    return staged
