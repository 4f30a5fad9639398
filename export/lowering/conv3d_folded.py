"""The disparity network as 3-D convolutions, with its batch norms folded in.

before: conv3d(relu(norm(... conv3d(relu(norm(cost))))))
after:  -conv3d'(relu(... conv3d'(relu(scale cost + shift))))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Activation, Chain, Kernel


class Conv3dFolded(nn.Module):
    """Cost (1, D, H, W) to scores (D, H, W), the network's negated output."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.activation = Activation(chain.scale, chain.shift)
        self.convs = nn.ModuleList(_conv3d(kernel) for kernel in scores_chain(chain))

    def forward(self, cost: Tensor) -> Tensor:
        x = self.activation(cost).unsqueeze(1)
        for conv in self.convs[:-1]:
            x = torch.relu(conv(x))
        return self.convs[-1](x).reshape(cost.shape[1:])  # type: ignore[no-any-return]


def scores_chain(chain: Chain) -> tuple[Kernel, ...]:
    """The chain's kernels, the last one (which has no bias) negated: a softmax wants negated costs."""
    last = chain.kernels[-1]
    return (*chain.kernels[:-1], Kernel(-last.weight, None if last.bias is None else -last.bias))


def _conv3d(kernel: Kernel) -> nn.Conv3d:
    outputs, inputs = kernel.weight.shape[:2]
    conv = nn.Conv3d(inputs, outputs, 3, padding=1, bias=kernel.bias is not None)
    conv.weight = nn.Parameter(kernel.weight.clone(), requires_grad=False)
    if kernel.bias is not None:
        conv.bias = nn.Parameter(kernel.bias.clone(), requires_grad=False)
    return conv
