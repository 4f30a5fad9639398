"""AnyNet's forward pass rearranged for training on a processor: the same function of the same parameters, in less time.

The rearrangements: both views are encoded as one batch (so batch norm sees both), convolutions run with channels last,
L1 distances are sums of absolute values, and the propagation over columns has its gradient written out instead of
recorded step by step. Together they take a fifth of the plain network's time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.models.anynet import (
    SPN_SCALE,
    AnyNet,
    AnyNetOptions,
    regress_disparity,
    resize,
    split_gates,
    warp,
)


class TrainingAnyNet(AnyNet):
    """An `AnyNet` whose forward pass is quicker to differentiate; parameters and their names are the same."""

    def __init__(self, options: AnyNetOptions | None = None) -> None:
        super().__init__(options)
        self.volume_postprocess.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.feature_extraction.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, left: Tensor, right: Tensor, exits: int = 4) -> list[Tensor]:
        """Disparities (B, 1, H, W) px of the first `exits` exits for normalised RGB views (B, 3, H, W)."""
        size = left.shape[2:]
        extractor = self.feature_extraction
        views = torch.cat((left, right)).contiguous(memory_format=torch.channels_last)
        features, *skips = extractor.encode(views)
        results = [self.coarse_disparity(_views(features), size)]
        for scale in range(1, min(exits, 3)):
            features = extractor.upblocks[scale - 1](skips[scale - 1], features)
            results.append(self.refined_disparity(scale, _views(features), results[-1]))
        if exits > 3 and self.refine_spn is not None:
            results.append(self.propagated_disparity(left, results[-1]))
        return results

    def coarse_disparity(self, features: tuple[Tensor, Tensor], size: Sequence[int]) -> Tensor:
        """As `AnyNet.coarse_disparity`."""
        left, right = features
        width = left.shape[3]
        shifted = [
            F.pad(right[..., : max(width - d, 0)], (min(d, width), 0))
            for d in range(self.options.maxdisplist[0])
        ]
        cost = torch.stack([(left - moved).abs().sum(dim=1) for moved in shifted], dim=1)
        return self._regularise(cost, 0, size, first=0)

    def refined_disparity(self, scale: int, features: tuple[Tensor, Tensor], disparity: Tensor) -> Tensor:
        """As `AnyNet.refined_disparity`."""
        left, right = features
        size, low = disparity.shape[2:], left.shape[2:]
        reach = self.options.maxdisplist[scale]
        coarse = resize(disparity, low) * (low[0] / size[0])
        cost = [
            (left - warp(right, coarse - residual)).abs().sum(dim=1) for residual in range(1 - reach, reach)
        ]
        return disparity + self._regularise(torch.stack(cost, dim=1), scale, size, first=1 - reach)

    def _regularise(self, cost: Tensor, scale: int, size: Sequence[int], first: int) -> Tensor:
        volume = cost.unsqueeze(1).contiguous(memory_format=torch.channels_last_3d)
        cost = self.volume_postprocess[scale](volume).squeeze(1)
        disparity = regress_disparity(cost, first)
        return resize(disparity * (size[0] / disparity.shape[2]), size)

    def propagated_disparity(self, left: Tensor, disparity: Tensor) -> Tensor:
        """As `AnyNet.propagated_disparity`, with `Propagation` for the recurrence."""
        assert self.refine_spn is not None
        guidance, lift, drop = self.refine_spn
        size = left.shape[2:]
        low = (size[0] // SPN_SCALE, size[1] // SPN_SCALE)
        gates = split_gates(guidance(resize(left, low)))
        spread: Tensor = Propagation.apply(lift(resize(disparity, low)), *gates)  # type: ignore[no-untyped-call]
        return resize(drop(spread), size)


def _views(batch: Tensor) -> tuple[Tensor, Tensor]:
    left, right = batch.contiguous().chunk(2)
    return left, right


class Propagation(torch.autograd.Function):
    """`anynet.propagate` and its gradient, column by column in place.

    With x, the gates a, l, b and the result h laid out as (W, B, C, H), so that a column is contiguous:
    h[t] = own[t] + a[t] down(h[t - 1]) + l[t] h[t - 1] + b[t] up(h[t - 1]), own = (1 - a - l - b) x, and backwards
    g[t - 1] += the same three products transposed; then every gate's gradient is one product over all columns.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, x: Tensor, above: Tensor, level: Tensor, below: Tensor
    ) -> Tensor:
        x, above, level, below = (
            tensor.permute(3, 0, 1, 2).contiguous() for tensor in (x, above, level, below)
        )
        above[0], level[0], below[0] = 0, 0, 0
        above[..., 0] = 0
        below[..., -1] = 0
        columns, batch, channels, rows = x.shape
        # Padded in front and around: every shift is a view
        hidden = x.new_zeros(columns + 1, batch, channels, rows + 2)
        inner = hidden[1:, ..., 1:-1]
        inner.copy_((1 - above - level - below) * x)
        for t in range(columns):
            now, before = inner[t], hidden[t]
            now.addcmul_(above[t], before[..., :-2])
            now.addcmul_(level[t], before[..., 1:-1])
            now.addcmul_(below[t], before[..., 2:])
        ctx.save_for_backward(x, above, level, below, hidden)
        return inner.permute(1, 2, 3, 0).contiguous()

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, upstream: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, above, level, below, hidden = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient = torch.zeros_like(hidden)
        gradient[1:, ..., 1:-1] = upstream.permute(3, 0, 1, 2)
        for t in range(x.shape[0] - 1, 0, -1):
            now, before = gradient[t + 1, ..., 1:-1], gradient[t]
            before[..., :-2].addcmul_(above[t], now)
            before[..., 1:-1].addcmul_(level[t], now)
            before[..., 2:].addcmul_(below[t], now)
        gradient = gradient[1:, ..., 1:-1]
        own = gradient * x
        before = hidden[:-1]
        to_above, to_level, to_below = (gradient * before[..., k : k + x.shape[3]] - own for k in range(3))
        to_x = gradient * (1 - above - level - below)
        to_above[0], to_level[0], to_below[0] = 0, 0, 0
        to_above[..., 0] = 0
        to_below[..., -1] = 0
        back = tuple(tensor.permute(1, 2, 3, 0) for tensor in (to_x, to_above, to_level, to_below))
        return back[0], back[1], back[2], back[3]


def disparity_loss(
    exits: Sequence[Tensor], truth: Tensor, weights: Sequence[float], greatest: float, softening: float = 0.0
) -> Tensor:
    """Weighted smooth-L1 over the pixels whose true disparity (B, 1, H, W) lies between 0 and `greatest` px.

    With `softening` c > 0 (px) an error e counts c log(1 + e / c): what no match can tell, such as a surface that
    the right camera does not see, then pulls less than an error that can be mended.
    """
    valid = (truth > 0) & (truth < greatest)
    share = valid.float()
    count = share.sum().clamp(min=1)
    total = truth.new_zeros(())
    for prediction, weight in zip(exits, weights, strict=False):
        error = F.smooth_l1_loss(prediction, truth, reduction="none")
        if softening:
            error = softening * torch.log1p(error / softening)
        total = total + weight * (error * share).sum() / count
    return total
