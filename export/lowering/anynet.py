"""AnyNet's stages, lowered: which rewriting serves which part, and the variants that are worth measuring on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgekit.export.lowering import Shapes, lowers
from edgekit.export.lowering.batch_norm import Chain, fold_chain
from edgekit.export.lowering.conv3d_banded import Conv3dBanded
from edgekit.export.lowering.conv3d_batched import Conv3dBatched
from edgekit.export.lowering.conv3d_folded import Conv3dFolded
from edgekit.export.lowering.conv3d_planes import Conv3dPlanes
from edgekit.export.lowering.conv3d_winograd import Conv3dWinograd
from edgekit.export.lowering.phases import LANES, Phases
from edgekit.export.lowering.propagation import LoweredPropagation
from edgekit.export.lowering.row_warp import RowWarpVolume
from edgekit.export.lowering.separable_resize import BlockResize, CentreMean
from edgekit.export.lowering.shift_volume import ShiftVolume
from edgekit.export.lowering.soft_argmin import SoftArgmin
from edgekit.export.lowering.spn_scan import propagate_columns
from edgekit.export.lowering.unet import DecoderStep, Encoder
from edgekit.models.anynet import SCALES, AnyNet, CoarseStage, PropagationStage, RefinedStage

VolumeNetwork = Callable[[Chain, int, tuple[int, int]], nn.Module]


def volume_networks(channels: int) -> dict[str, VolumeNetwork]:
    """The forms of a disparity network of ``channels`` channels that may win somewhere."""
    planes: dict[str, VolumeNetwork] = {"planes": Conv3dPlanes}
    others: dict[str, VolumeNetwork] = {
        "batched": lambda chain, slices, size: Conv3dBatched(chain),
        "conv3d": lambda chain, slices, size: Conv3dFolded(chain),
    }
    if channels >= LANES:  # banded weights would be mostly zeros, and many of them
        return {"winograd": Conv3dWinograd} | planes | others
    return planes | {"banded": lambda chain, slices, size: Conv3dBanded(chain, slices)} | others


class DisparityHead(nn.Module):
    """Cost (1, D, h, w), already multiplied by ``gain``, to the disparity (1, 1, H, W) in px of full resolution."""

    def __init__(
        self, net: AnyNet, scale: int, build: VolumeNetwork, slices: int, first: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        factor = SCALES[scale]
        low = (size[0] // factor, size[1] // factor)
        chain = fold_chain(net.volume_postprocess[scale].children())
        self.gain = float(chain.scale)
        self.network = build(replace(chain, scale=torch.ones(1)), slices, low)
        self.argmin = SoftArgmin(slices, first, gain=factor)
        self.interleave = getattr(self.network, "interleave", Phases(low, 1, 1))
        self.resize = BlockResize(low, factor)

    def forward(self, cost: Tensor) -> Tensor:
        scores = self.network(cost)
        disparity = self.interleave(self.argmin(scores).reshape(1, -1, *scores.shape[-2:]))
        return self.resize(disparity)  # type: ignore[no-any-return]


class LoweredCoarse(nn.Module):
    """`CoarseStage`, lowered."""

    def __init__(self, net: AnyNet, size: tuple[int, int], build: VolumeNetwork) -> None:
        super().__init__()
        disparities = net.options.maxdisplist[0]
        self.encoder = Encoder(net.feature_extraction, size)
        self.head = DisparityHead(net, 0, build, disparities, 0, size)
        self.volume = ShiftVolume(8 * net.options.init_channels, disparities, self.head.gain)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features16, skip8, skip4 = self.encoder(left, right)
        cost = self.volume(features16[:1], features16[1:])
        return self.head(cost), features16, skip8, skip4


class LoweredRefinement(nn.Module):
    """`RefinedStage`, lowered."""

    def __init__(self, net: AnyNet, scale: int, size: tuple[int, int], build: VolumeNetwork) -> None:
        super().__init__()
        factor, reach = SCALES[scale], net.options.maxdisplist[scale]
        low = (size[0] // factor, size[1] // factor)
        self.decoder = DecoderStep(net.feature_extraction.upblocks[scale - 1], low)  # type: ignore[arg-type]
        self.shrink = CentreMean(1, size[0], factor, gain=1 / factor)
        self.head = DisparityHead(net, scale, build, 2 * reach - 1, 1 - reach, size)
        self.volume = RowWarpVolume(self.decoder.channels, low, reach, self.head.gain)
        self.hands_on = scale + 1 < len(SCALES)

    def forward(self, disparity: Tensor, coarser: Tensor, skip: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        features = self.decoder(skip, coarser)
        cost = self.volume(features[:1], features[1:], self.shrink(disparity))
        refined = disparity + self.head(cost)
        return (refined, features) if self.hands_on else refined


@lowers(CoarseStage)
def lower_coarse(module: nn.Module, shapes: Shapes) -> dict[str, nn.Module]:
    """Stage 1 with each form of its disparity network."""
    assert isinstance(module, CoarseStage)
    size, networks = _size(shapes), volume_networks(_channels(module.net, 0))
    return {name: LoweredCoarse(module.net, size, build).eval() for name, build in networks.items()}


@lowers(RefinedStage)
def lower_refinement(module: nn.Module, shapes: Shapes) -> dict[str, nn.Module]:
    """Stage 2 or 3 with each form of its disparity network."""
    assert isinstance(module, RefinedStage)
    net, scale = module.net, module.scale
    size, networks = _size(shapes), volume_networks(_channels(net, scale))
    return {name: LoweredRefinement(net, scale, size, build).eval() for name, build in networks.items()}


@lowers(PropagationStage)
def lower_propagation(module: nn.Module, shapes: Shapes) -> dict[str, nn.Module]:
    """Stage 4, its recurrence as a loop."""
    assert isinstance(module, PropagationStage) and module.net.refine_spn is not None
    return {"scan": LoweredPropagation(module.net.refine_spn, _size(shapes), propagate_columns).eval()}


def _channels(net: AnyNet, scale: int) -> int:
    return net.options.channels_3d * net.options.growth_rate[scale]


def _size(shapes: Shapes) -> tuple[int, int]:
    """Height and width of the full-resolution tensor that every stage takes first."""
    height, width = next(iter(shapes.values()))[2:]
    return height, width
