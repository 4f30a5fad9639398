"""AnyNet's feature extractor with batch norms folded, the stem in phases, and the decoder without a Resize or a Concat.

before: conv(relu(norm(concat(skip, upsample(coarse)))))
after:  conv_s(relu(scale_s skip + shift_s)) + conv_c(relu(scale_c (R coarse C) + shift_c))
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Activation, Chain, Kernel, fold_chain, kernel_of
from edgekit.export.lowering.phase_stem import stem
from edgekit.export.lowering.phases import LANES, Phases
from edgekit.export.lowering.separable_resize import SeparableResize
from edgekit.models.anynet import FeatureExtractor, UpBlock

WORTHWHILE = 16384  # pixels of a map


class FoldedChain(nn.Module):
    """A pre-activation chain of 3x3 convolutions (B, C, H, W) to (B, C', H, W)."""

    def __init__(self, chain: Chain, size: tuple[int, int]) -> None:
        super().__init__()
        self.activation = Activation(chain.scale, chain.shift)
        self.phases = narrow_phases(chain.kernels[0].weight.shape[0], size)
        self.convs = nn.ModuleList(self.phases.conv2d(kernel) for kernel in chain.kernels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs[0](self.activation(x))
        for conv in self.convs[1:]:
            x = conv(self.phases(torch.relu(x)))
        return self.phases(x)  # type: ignore[no-any-return]


def narrow_phases(channels: int, size: tuple[int, int]) -> Phases:
    """Phases of rows that fill the lanes, where the map is large enough to repay the interleaving."""
    return Phases(size, max(1, LANES // channels) if size[0] * size[1] >= WORTHWHILE else 1, 1)


class Encoder(nn.Module):
    """Both views (1, 3, H, W) to their features at 1/16 and skip maps at 1/8 and 1/4, left and right as one batch of two."""

    def __init__(self, extractor: FeatureExtractor, size: tuple[int, int]) -> None:
        super().__init__()
        entry, down4 = extractor.block0.children()
        conv1, (norm, _, conv2) = entry[0], entry[1]  # type: ignore[index]
        self.stem = stem(kernel_of(conv1).normed(norm), kernel_of(conv2))
        downs = (down4, *extractor.blocks)
        self.chain4, self.chain8, self.chain16 = (
            FoldedChain(fold_chain(list(down.children())[1:]), (size[0] // factor, size[1] // factor))
            for down, factor in zip(downs, (4, 8, 16), strict=True)
        )

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # The pictures are not joined before the stem: that would copy them at full resolution.
        skip4 = self.chain4(torch.cat((self.stem(left), self.stem(right))))
        skip8 = self.chain8(F.max_pool2d(skip4, 2))
        return self.chain16(F.max_pool2d(skip8, 2)), skip8, skip4


class DecoderStep(nn.Module):
    """Skip map (B, C, H, W) and coarser features (B, C', H/2, W/2) to features (B, C, H, W)."""

    def __init__(self, block: UpBlock, size: tuple[int, int]) -> None:
        super().__init__()
        chain = fold_chain(block.conv.children())
        head, tail = chain.kernels
        self.channels = fine = tail.weight.shape[1]
        self.phases = narrow_phases(fine, size)
        self.upsample = SeparableResize((size[0] // 2, size[1] // 2), size, align_corners=True)
        self.skip_activation = Activation(chain.scale[:fine], chain.shift[:fine])
        self.coarse_activation = Activation(chain.scale[fine:], chain.shift[fine:])
        self.skip_conv = self.phases.conv2d(Kernel(head.weight[:, :fine], head.bias))
        self.coarse_conv = self.phases.conv2d(Kernel(head.weight[:, fine:]))
        self.tail = self.phases.conv2d(tail)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        upsampled = self.coarse_conv(self.coarse_activation(self.upsample(coarse)))
        joined = torch.relu(upsampled + self.skip_conv(self.skip_activation(skip)))
        return self.phases(self.tail(self.phases(joined)))  # type: ignore[no-any-return]
