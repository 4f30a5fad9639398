"""What a network must offer to be cut into stages: the protocol that every family, and every user's own network, implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CIFAR10_MEAN = (0.4914, 0.4824, 0.4467)
CIFAR10_STD = (0.2471, 0.2435, 0.2616)
CIFAR100_MEAN = (0.5071, 0.4867, 0.4408)
CIFAR100_STD = (0.2675, 0.2565, 0.2761)


@dataclass(frozen=True)
class ImageInput:
    """A network input that is a picture, and the recipe that brings an RGB picture to it.

    Attributes:
        name: ``left``, ``right`` or ``image``.
        height, width: the picture size in px that the network is meant for. The graph's own size is this, rounded up to
            ``multiple``.
        channels: 3 for RGB, 1 for grey.
        mean, std: per-channel normalisation ``(x / 255 - mean) / std``.
        multiple: height and width of the tensor are multiples of this.
        crop: None: the whole picture is fitted in, and the rest padded. Else it is resized until ``height / crop`` x
            ``width / crop`` is covered, and its centre is taken: 224 / 256 is how ImageNet's classifiers are evaluated, 1 fits
            the shorter side.
        batch: how many pictures enter the graph at once.
    """

    name: str
    height: int
    width: int
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    multiple: int = 1
    crop: float | None = None
    batch: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The tensor that enters the graph: (batch, channels, rounded-up height, rounded-up width), float32 NCHW."""
        return (
            self.batch,
            self.channels,
            *(-(-side // self.multiple) * self.multiple for side in (self.height, self.width)),
        )  # type: ignore[return-value]


@dataclass(frozen=True)
class Stage:
    """The smallest unit of work that runs to its end, and one graph of the bundle.

    Attributes:
        name: ``stage1``, ``stage2``, ...
        module: called with the tensors named in ``inputs``, in that order; returns a tensor when ``outputs`` has one name,
            else a tuple in the order of ``outputs``.
        inputs: names of network inputs or of earlier stages' outputs.
        outputs: names that no other stage uses for its outputs.
        exit: which of ``outputs`` is a usable answer; None if this stage has none.
        units: physical unit of outputs that have one, for example ``{"disparity1": "px"}``.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    exit: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class StagedModel(Protocol):
    """A network that can be cut into stages.

    Attributes:
        family: ``anynet``, ``msdnet``, ... or a name of the user's own.
        task: ``stereo`` (exits are disparities (1, 1, H, W) in px of the left view) or ``classification`` (exits are logits
            (N, classes)).
        options: the architecture's options under the authors' names, JSON values only.
        inputs: the pictures that the network reads.

    It may also have ``notes``, sentences that export prints, and ``accuracies``: the share, by stage, of test pictures that its
    exits answer rightly, which go into the bundle.
    """

    family: str
    task: str
    options: Mapping[str, object]
    inputs: Sequence[ImageInput]

    def stages(self) -> Sequence[Stage]:
        """The network cut into stages, in the order in which they run."""
        ...

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        """Every exit of the uncut network, in the order of the stages that produce them."""
        ...


@dataclass(frozen=True)
class Alternative:
    """One of several networks that answer the same question at different cost, and together become one bundle.

    Attributes:
        name: what the user calls it; letters, digits and ``_ . + -``.
        model: the network.
        accuracy: of its last exit, where it is known, as a share or in whatever unit all of them use.
        source: where the accuracy comes from, such as ``published``; None if it was measured on this very network.
    """

    name: str
    model: StagedModel
    accuracy: float | None = None
    source: str | None = None
