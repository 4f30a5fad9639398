"""The multi-exit benchmark's uncut network on native's kernels, which only run bundles of stages otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks import multiexit_peers
from benchmarks.multiexit_bars import NATIVE_UNCUT
from benchmarks.runtimes import Array, Network
from edgekit.export.convert import convert
from edgekit.export.native import program
from edgekit.export.passes import simplify
from edgekit.kernels import Kernels
from edgekit.models.msdnet import MSDNet


def uncut_program(net: MSDNet, image: Array, kernels: Kernels) -> Network:
    """The uncut network as one program of native's kernels."""
    names = multiexit_peers.logits(net.options.nBlocks)
    made = program(simplify(convert(Uncut(net), {"image": torch.from_numpy(image)}, names)))
    handle = kernels.load(made, [(1, net.options.num_classes)] * len(names), NATIVE_UNCUT)

    def run(*inputs: Array) -> Sequence[Array]:
        found = kernels.run(handle, inputs)
        assert found is not None  # nobody cancels it
        return [array for array in found if array is not None]

    return run


class Uncut(nn.Module):
    """The network with its exits as a tuple."""

    def __init__(self, net: MSDNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits (1, classes) of every exit."""
        return tuple(self.net(image))
