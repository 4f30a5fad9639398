"""AnyNet (Wang et al., arXiv 1810.11408): stereo disparity in stages, each refining the last, at the reference's numerics.

The parts stand in the order of the paper: the U-Net feature extractor (section III-B), the disparity network of a scale
(III-C), residual prediction by warping (III-D), the spatial propagation network (III-E), and the network that joins them.
Module names are those of the authors' checkpoint files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.checkpoint import load_weights, read_state_dict
from edgekit.models.families import WEIGHTS
from edgekit.models.options import no_option, positive
from edgekit.models.staged import ImageInput, Stage

SCALES = (16, 8, 4)  # stage k works at 1/SCALES[k - 1] of the input's resolution
SPN_SCALE = 4
WIDEST_SEARCH = (
    256  # px at a stage's own scale, 4096 px of the picture in stage 1: more is a slip, and fills any memory
)


@dataclass(frozen=True)
class AnyNetOptions:
    """The architecture's options under the authors' names.

    Attributes:
        init_channels: channels of the feature extractor at 1/2 resolution; 2x, 4x, 8x that at 1/4, 1/8, 1/16.
        maxdisplist: stage 1 searches disparities 0 .. maxdisplist[0] - 1 px at 1/16 resolution; stages 2 and 3 residuals
            of less than maxdisplist[k] px either way at 1/8 and 1/4. No weight depends on it.
        spn_init_channels: channels of the propagated map.
        nblocks: convolutions per level of the feature extractor.
        layers_3d: inner 3-D convolutions of a disparity network.
        channels_3d, growth_rate: a disparity network of stage k has channels_3d * growth_rate[k] channels.
        with_spn: whether the fourth stage exists.
    """

    init_channels: int = 1
    maxdisplist: tuple[int, int, int] = (12, 3, 3)
    spn_init_channels: int = 8
    nblocks: int = 2
    layers_3d: int = 4
    channels_3d: int = 4
    growth_rate: tuple[int, int, int] = (4, 1, 1)
    with_spn: bool = True


# --- III-B: features at 1/16, 1/8 and 1/4 -----------------------------------------------------------------------------


def bn_relu_conv2d(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Pre-activation 3x3 convolution: batch norm, ReLU, convolution."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    )


def down_block(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    """Halve the resolution, then ``convolutions`` pre-activation convolutions."""
    widths = [inputs] + [outputs] * convolutions
    return nn.Sequential(
        nn.MaxPool2d(2), *(bn_relu_conv2d(a, b) for a, b in zip(widths, widths[1:], strict=False))
    )


class UpBlock(nn.Module):
    """Decoder step: upsample the coarser map by two, join it to the skip connection, two pre-activation convolutions."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(bn_relu_conv2d(coarse + fine, fine), bn_relu_conv2d(fine, fine))

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        upsampled = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=True)
        # One row or column less than twice the coarse map where the skip's side is odd.
        height, width = skip.shape[2:]
        upsampled = F.pad(upsampled, (0, width - upsampled.shape[3], 0, height - upsampled.shape[2]))
        return self.conv(torch.cat((skip, upsampled), dim=1))  # type: ignore[no-any-return]


class FeatureExtractor(nn.Module):
    """U-Net: encoder to 1/16 resolution, decoder back to 1/4; the parts of a decoder are run only when a stage needs them."""

    def __init__(self, init_channels: int, nblocks: int) -> None:
        super().__init__()
        c = init_channels
        stem = nn.Sequential(nn.Conv2d(3, c, 3, padding=1), bn_relu_conv2d(c, c, stride=2))
        self.block0 = nn.Sequential(stem, down_block(c, 2 * c, nblocks))
        self.blocks = nn.ModuleList([down_block(2 * c, 4 * c, nblocks), down_block(4 * c, 8 * c, nblocks)])
        self.upblocks = nn.ModuleList([UpBlock(8 * c, 4 * c), UpBlock(4 * c, 2 * c)])

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) to the features at 1/16 (8c channels) and the skip maps at 1/8 (4c) and 1/4 (2c)."""
        skip4 = self.block0(image)
        skip8 = self.blocks[0](skip4)
        return self.blocks[1](skip8), skip8, skip4

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) to the features at 1/16, 1/8 and 1/4."""
        features16, skip8, skip4 = self.encode(image)
        features8 = self.upblocks[0](skip8, features16)
        return features16, features8, self.upblocks[1](skip4, features8)


# --- III-C: the disparity network of a scale --------------------------------------------------------------------------


def cost_volume(left: Tensor, right: Tensor, disparities: int) -> Tensor:
    """L1 distance of features (B, C, H, W) for every shift: (B, disparities, H, W).

    Slice d compares left pixel x with right pixel x - d; outside the right map the features are 0.
    """
    width = left.shape[3]
    slices = [l1_norm(left - right)]
    for d in range(1, disparities):
        unmatched = left[..., :d].abs().sum(dim=1)
        slices.append(torch.cat((unmatched, l1_norm(left[..., d:] - right[..., : max(width - d, 0)])), dim=2))
    return torch.stack(slices, dim=1)


def l1_norm(difference: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W); the same reduction as the reference's, to the last bit of the cost."""
    return torch.linalg.vector_norm(difference, ord=1, dim=1)  # type: ignore[no-any-return]


def bn_relu_conv3d(inputs: int, outputs: int) -> nn.Sequential:
    """Pre-activation 3x3x3 convolution: batch norm, ReLU, convolution."""
    return nn.Sequential(
        nn.BatchNorm3d(inputs), nn.ReLU(), nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
    )


def volume_network(layers: int, channels: int) -> nn.Sequential:
    """3-D convolutions that regularise a cost volume (B, 1, D, H, W)."""
    widths = [1] + [channels] * (layers + 1) + [1]
    return nn.Sequential(*(bn_relu_conv3d(a, b) for a, b in zip(widths, widths[1:], strict=False)))


def regress_disparity(cost: Tensor, first: int) -> Tensor:
    """Expected disparity under a softmax of the negated cost (equation 1): (B, D, H, W) to (B, 1, H, W).

    ``first`` is the disparity, in px of this scale, of the first slice.
    """
    candidates = torch.arange(first, first + cost.shape[1], dtype=cost.dtype, device=cost.device)
    return (F.softmax(-cost, dim=1) * candidates.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)


def resize(image: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize to (height, width), corners not aligned."""
    return F.interpolate(image, size=(int(size[0]), int(size[1])), mode="bilinear", align_corners=False)


# --- III-D: residuals around the disparity so far ---------------------------------------------------------------------


def warp(features: Tensor, disparity: Tensor) -> Tensor:
    """Sample features (B, C, H, W) at x - disparity (B, 1, H, W), bilinear; samples outside the map are 0."""
    height, width = features.shape[2:]
    columns = torch.arange(width, dtype=features.dtype, device=features.device).view(1, 1, width)
    rows = torch.arange(height, dtype=features.dtype, device=features.device).view(1, height, 1)
    x = 2 * (columns - disparity[:, 0]) / max(width - 1, 1) - 1
    y = (2 * rows / max(height - 1, 1) - 1).expand_as(x)
    return F.grid_sample(features, torch.stack((x, y), dim=3), mode="bilinear", align_corners=True)


def residual_cost_volume(left: Tensor, right: Tensor, disparity: Tensor, reach: int) -> Tensor:
    """Cost of residuals -(reach - 1) .. reach - 1 px around ``disparity`` (B, 1, H, W): (B, 2 * reach - 1, H, W)."""
    residuals = range(1 - reach, reach)
    return torch.stack([l1_norm(left - warp(right, disparity - r)) for r in residuals], dim=1)


# --- III-E: spatial propagation ---------------------------------------------------------------------------------------


def propagate(x: Tensor, above: Tensor, level: Tensor, below: Tensor) -> Tensor:
    """Spread x (B, C, H, W) from left to right along learned gates of the same shape.

    h[i, t] = (1 - a - l - b) x[i, t] + a h[i - 1, t - 1] + l h[i, t - 1] + b h[i + 1, t - 1]; a gate whose source lies
    outside the map counts as 0.
    """
    above = F.pad(above[:, :, 1:, 1:], (1, 0, 1, 0))
    level = F.pad(level[..., 1:], (1, 0))
    below = F.pad(below[:, :, :-1, 1:], (1, 0, 0, 1))
    own = (1 - above - level - below) * x
    column = own[..., 0]
    columns = [column]
    for t in range(1, x.shape[3]):
        shifted_down = F.pad(column[..., :-1], (1, 0))  # row i holds row i - 1
        shifted_up = F.pad(column[..., 1:], (0, 1))
        column = (
            own[..., t] + above[..., t] * shifted_down + level[..., t] * column + below[..., t] * shifted_up
        )
        columns.append(column)
    return torch.stack(columns, dim=3)


def split_gates(guidance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Guidance (B, 3C, H, W) to three gates (B, C, H, W) whose absolute values sum to at most 1, so that h stays bounded."""
    above, level, below = guidance.chunk(3, dim=1)
    total = above.abs() + level.abs() + below.abs() + 1e-8
    return above / total, level / total, below / total


# --- The network ------------------------------------------------------------------------------------------------------


class AnyNet(nn.Module):
    """Stereo network with three or four exits; see `AnyNetOptions`."""

    def __init__(self, options: AnyNetOptions | None = None) -> None:
        super().__init__()
        self.options = options = options or AnyNetOptions()
        self.feature_extraction = FeatureExtractor(options.init_channels, options.nblocks)
        self.volume_postprocess = nn.ModuleList(
            volume_network(options.layers_3d, options.channels_3d * growth) for growth in options.growth_rate
        )
        self.refine_spn: nn.ModuleList | None = None
        if options.with_spn:
            c = options.spn_init_channels
            widths = (3, 2 * c, 2 * c, 2 * c, 3 * c)
            guidance: list[nn.Module] = []
            for inputs, outputs in zip(widths, widths[1:], strict=False):
                guidance += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.ReLU()]
            lift, drop = nn.Conv2d(1, c, 3, padding=1, bias=False), nn.Conv2d(c, 1, 3, padding=1, bias=False)
            self.refine_spn = nn.ModuleList([nn.Sequential(*guidance[:-1]), lift, drop])

    def coarse_disparity(self, features: tuple[Tensor, Tensor], size: Sequence[int]) -> Tensor:
        """Stage 1: features of both views at 1/16 to the disparity (B, 1, H, W) in px at full resolution ``size``."""
        cost = cost_volume(*features, self.options.maxdisplist[0])
        return self._regularise(cost, 0, size, first=0)

    def refined_disparity(self, scale: int, features: tuple[Tensor, Tensor], disparity: Tensor) -> Tensor:
        """Stage ``scale + 1``: add to ``disparity`` (B, 1, H, W) px the residual seen in features at 1/SCALES[scale]."""
        size, low = disparity.shape[2:], features[0].shape[2:]
        reach = self.options.maxdisplist[scale]
        cost = residual_cost_volume(*features, resize(disparity, low) * (low[0] / size[0]), reach)
        return disparity + self._regularise(cost, scale, size, first=1 - reach)

    def _regularise(self, cost: Tensor, scale: int, size: Sequence[int], first: int) -> Tensor:
        cost = self.volume_postprocess[scale](cost.unsqueeze(1)).squeeze(1)
        disparity = regress_disparity(cost, first)
        return resize(disparity * (size[0] / disparity.shape[2]), size)

    def propagated_disparity(self, left: Tensor, disparity: Tensor) -> Tensor:
        """Stage 4: sharpen ``disparity`` (B, 1, H, W) px along the edges of the left picture (B, 3, H, W)."""
        if self.refine_spn is None:
            raise OptionError("this AnyNet was built without its propagation stage (with_spn=False)")
        guidance, lift, drop = self.refine_spn
        size = left.shape[2:]
        low = (size[0] // SPN_SCALE, size[1] // SPN_SCALE)
        gates = split_gates(guidance(resize(left, low)))
        refined = drop(propagate(lift(resize(disparity, low)), *gates))
        return resize(refined, size)

    def forward(self, left: Tensor, right: Tensor) -> list[Tensor]:
        """Normalised RGB views (B, 3, H, W) to the disparity (B, 1, H, W) in px of the left view at every exit."""
        views = zip(self.feature_extraction(left), self.feature_extraction(right), strict=True)
        exits: list[Tensor] = []
        for scale, features in enumerate(views):
            if scale == 0:
                exits.append(self.coarse_disparity(features, left.shape[2:]))
            else:
                exits.append(self.refined_disparity(scale, features, exits[-1]))
        if self.refine_spn is not None:
            exits.append(self.propagated_disparity(left, exits[-1]))
        return exits


# --- The cut into stages ----------------------------------------------------------------------------------------------


class CoarseStage(nn.Module):
    """Stage 1: (left, right) to the disparity, and the maps that later stages decode, both views as one batch."""

    def __init__(self, net: AnyNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features16, skip8, skip4 = self.net.feature_extraction.encode(torch.cat((left, right)))
        disparity = self.net.coarse_disparity(_views(features16), left.shape[2:])
        return disparity, features16, skip8, skip4


class RefinedStage(nn.Module):
    """Stage 2 or 3: the disparity so far, the coarser features and the skip map of this scale to a better disparity."""

    def __init__(self, net: AnyNet, scale: int) -> None:
        super().__init__()
        self.net = net
        self.scale = scale

    def forward(self, disparity: Tensor, coarser: Tensor, skip: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        features = self.net.feature_extraction.upblocks[self.scale - 1](skip, coarser)
        refined = self.net.refined_disparity(self.scale, _views(features), disparity)
        return (refined, features) if self.scale + 1 < len(SCALES) else refined


class PropagationStage(nn.Module):
    """Stage 4: the left picture and the disparity so far to the propagated disparity."""

    def __init__(self, net: AnyNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, left: Tensor, disparity: Tensor) -> Tensor:
        return self.net.propagated_disparity(left, disparity)


def _views(batch: Tensor) -> tuple[Tensor, Tensor]:
    left, right = batch.chunk(2)
    return left, right


class StagedAnyNet:
    """An AnyNet at one picture size, ready for export; a `StagedModel`."""

    family = "anynet"
    task = "stereo"

    def __init__(self, net: AnyNet, size: tuple[int, int] = (384, 1248)) -> None:
        height, width = size
        if min(size) < 2 * SCALES[0]:
            raise OptionError(
                f"size {height}x{width}: AnyNet needs at least {2 * SCALES[0]}x{2 * SCALES[0]} px"
            )
        self.net = net.eval()
        self.options: Mapping[str, object] = _jsonable(net.options)
        self.inputs = tuple(ImageInput(view, height, width, multiple=SCALES[0]) for view in ("left", "right"))

    def stages(self) -> list[Stage]:
        """Encoder and coarse volume; two refinements, each with its own step of the decoder; propagation."""
        px = [{f"disparity{k}": "px"} for k in range(1, 5)]
        stages = [
            Stage(
                "stage1", CoarseStage(self.net), ("left", "right"), ("disparity1", "features16", "skip8", "skip4"),
                "disparity1", px[0],
            ),
            Stage(
                "stage2", RefinedStage(self.net, 1), ("disparity1", "features16", "skip8"), ("disparity2", "features8"),
                "disparity2", px[1],
            ),
            Stage(
                "stage3", RefinedStage(self.net, 2), ("disparity2", "features8", "skip4"), ("disparity3",),
                "disparity3", px[2],
            ),
        ]  # fmt: skip
        if self.net.refine_spn is not None:
            module = PropagationStage(self.net)
            stages.append(
                Stage("stage4", module, ("left", "disparity3"), ("disparity4",), "disparity4", px[3])
            )
        return stages

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The exits of the uncut network for (left, right)."""
        left, right = inputs
        return self.net(left, right)  # type: ignore[no-any-return]


# --- The authors' checkpoints -----------------------------------------------------------------------------------------


def infer_options(weights: Mapping[str, Tensor], config: Mapping[str, object], source: str) -> AnyNetOptions:
    """Read the options that tensor shapes tell, and take the rest (``maxdisplist``) from ``config``.

    Raises:
        CheckpointError: the weights are not an AnyNet's.
        OptionError: ``config`` names an option that AnyNet does not have, or contradicts the weights.
    """
    config = check_config(config)
    try:
        channels = tuple(int(weights[f"volume_postprocess.{k}.0.2.weight"].shape[0]) for k in range(3))
        seen: dict[str, object] = {
            "init_channels": int(weights["feature_extraction.block0.0.0.weight"].shape[0]),
            "nblocks": _count(weights, "feature_extraction.block0.1.{}.2.weight", first=1),
            "layers_3d": _count(weights, "volume_postprocess.0.{}.2.weight", first=0) - 2,
            "with_spn": "refine_spn.0.0.weight" in weights,
        }
        if seen["with_spn"]:
            seen["spn_init_channels"] = int(weights["refine_spn.1.weight"].shape[0])
    except KeyError as error:
        raise CheckpointError(f"{source}: not an AnyNet checkpoint (it has no {error})") from error
    except IndexError as error:
        raise CheckpointError(
            f"{source}: not an AnyNet checkpoint (a weight of it is one number without sides)"
        ) from error
    for name, value in seen.items():
        if name in config and config[name] != value:
            raise OptionError(
                f"{source}: {name}={config[name]!r} contradicts the weights, which have {name}={value!r}"
            )
    # The weights tell only the product channels_3d * growth_rate; whoever gives one of the two fixes the other.
    growth, base = config.get("growth_rate"), config.get("channels_3d")
    if base is None:
        base = channels[0] // growth[0] if isinstance(growth, tuple) and growth[0] else min(channels)
    if growth is None and isinstance(base, int) and base > 0 and all(c % base == 0 for c in channels):
        growth = tuple(c // base for c in channels)
    if not (
        isinstance(base, int) and isinstance(growth, tuple) and tuple(base * g for g in growth) == channels
    ):
        told = {name: config[name] for name in ("channels_3d", "growth_rate") if name in config}
        if told:
            raise OptionError(
                f"{source}: {told} contradicts the weights, whose disparity networks have {channels} channels"
            )
        base, growth = 1, channels
    merged = {**config, **seen, "channels_3d": base, "growth_rate": growth}
    return AnyNetOptions(**merged)  # type: ignore[arg-type]


def check_config(config: Mapping[str, object]) -> dict[str, object]:
    """``config`` with lists as tuples, every name known and every value of the right kind and range.

    Raises:
        OptionError: what is wrong, and which values are taken.
    """
    defaults = asdict(AnyNetOptions())
    checked: dict[str, object] = {}
    for name, value in config.items():
        if name not in defaults:
            raise no_option("AnyNet", name, defaults)
        default = defaults[name]
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise OptionError(f"{name}={value!r}: must be true or false")
        elif isinstance(default, tuple):
            value = tuple(value) if isinstance(value, (list, tuple)) else value
            if not isinstance(value, tuple) or len(value) != 3 or not all(positive(v) for v in value):
                raise OptionError(
                    f"{name}={config[name]!r}: must be three positive whole numbers, such as {list(default)}"
                )
            if name == "maxdisplist" and max(value) > WIDEST_SEARCH:
                raise OptionError(
                    f"{name}={list(value)}: at most {WIDEST_SEARCH} each; they are px at 1/{SCALES[0]}, 1/{SCALES[1]} and "
                    f"1/{SCALES[2]} of the picture's size"
                )
        elif not positive(value) and not (name == "layers_3d" and value == 0 and not isinstance(value, bool)):
            raise OptionError(f"{name}={value!r}: must be a positive whole number, such as {default}")
        checked[name] = value
    return checked


def from_weights(weights: Mapping[str, Tensor], config: Mapping[str, object], source: str) -> AnyNet:
    """Build the network that the weights belong to, and fill it.

    Raises:
        CheckpointError: the weights are not an AnyNet's, or some are missing, left over or not finite.
        OptionError: ``config`` contradicts them.
    """
    net = AnyNet(infer_options(weights, config, source))
    load_weights(net, weights, source)
    return net.eval()


def build(
    checkpoint: str | os.PathLike[str] | None, config: Mapping[str, object], size: tuple[int, int]
) -> StagedAnyNet:
    """The staged AnyNet of a checkpoint file, or of the weights that edgekit ships, for pictures of ``size`` (height, width).

    Raises:
        CheckpointError: the file cannot be used.
        OptionError: ``config`` is wrong or contradicts the weights, or ``size`` is too small.
    """
    path = Path(checkpoint) if checkpoint is not None else WEIGHTS / "anynet.safetensors"
    return StagedAnyNet(from_weights(read_state_dict(path), config, str(path)), size)


def _count(weights: Mapping[str, Tensor], pattern: str, first: int) -> int:
    count = 0
    while pattern.format(first + count) in weights:
        count += 1
    return count


def _jsonable(options: AnyNetOptions) -> dict[str, object]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(options).items()}
