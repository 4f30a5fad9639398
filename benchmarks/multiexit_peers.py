"""What edgekit's multi-exit classifiers are measured against: the plain export of the uncut network, and earlyon."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import runtimes
from benchmarks.runtimes import Array
from edgekit.models.msdnet import Layer, MSDNet, Reduction


def plain_export(net: nn.Module, image: Array, exits: int, path: Path, *, dynamo: bool) -> None:
    """The plain export of the uncut network."""
    runtimes.plain_export(net, {"image": torch.from_numpy(image)}, logits(exits), path, dynamo=dynamo)


def logits(exits: int) -> list[str]:
    """The names of the plain export's outputs."""
    return [f"logits{k}" for k in range(1, exits + 1)]


class _Block(nn.Module):
    """One block of an MSDNet as a module that hands its maps on, finest first: what hooks can be put on."""

    def __init__(self, net: MSDNet, index: int) -> None:
        super().__init__()
        self.parts = net.blocks[index]
        self.scales = net.options.nScales

    def forward(self, maps: dict[int, Tensor] | Tensor) -> dict[int, Tensor]:
        for part in self.parts.children():
            if isinstance(maps, Tensor):
                maps = part(maps)
            elif isinstance(part, Layer):
                maps = {scale: part.grow(scale, maps) for scale in range(part.finest, self.scales)}
            elif isinstance(part, Reduction):
                maps = {scale: part.narrow(scale, x) for scale, x in maps.items()}
        assert isinstance(maps, dict)
        return maps


class _Final(nn.Module):
    """The last classifier behind the last block."""

    def __init__(self, net: MSDNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, maps: dict[int, Tensor]) -> Tensor:
        return self.net.head(self.net.options.nBlocks - 1)(maps[self.net.options.nScales - 1])  # type: ignore[no-any-return]


def in_earlyon(net: MSDNet, shape: tuple[int, ...], first_exit: bool) -> Callable[[Array], int]:
    """The network's blocks and classifiers for pictures of ``shape`` under earlyon's wrapper; returns the exit taken, -1 for the last.

    Its hooks need every block to be one module, which the authors' code has and ours is brought to here; it routes one picture
    to one exit and tells only that one's answer. ``first_exit`` sets its thresholds so that the first exit always answers,
    else none but the last does, the others being computed on the way.

    Raises:
        ImportError: earlyon is not installed.
    """
    wrappers = importlib.import_module("earlyon.core.wrappers")
    kinds = importlib.import_module("earlyon.core.types")
    blocks, coarsest = range(net.options.nBlocks - 1), net.options.nScales - 1
    points = [kinds.ExitPoint(f"exit{k + 1}", str(k), net.head(k).linear.in_features) for k in blocks]
    config = kinds.EarlyExitConfig(
        "msdnet",
        net.options.num_classes,
        points,
        confidence_thresholds=[0.0 if first_exit else 1.0] * len(points),
    )
    wrapper = wrappers.EarlyExitWrapper(
        nn.Sequential(*(_Block(net, k) for k in range(net.options.nBlocks))).eval(),
        {f"exit{k + 1}": net.head(k) for k in blocks},
        _Final(net),
        config,
        input_shape=shape,
        feature_adapters={f"exit{k + 1}": lambda maps: maps[coarsest] for k in blocks},
    ).eval()

    def run(image: Array) -> int:
        return int(wrapper(torch.from_numpy(image)).exit_taken)

    with warnings.catch_warnings(), torch.inference_mode():
        # Its first call traces the network to estimate costs, which dictionaries resist.
        warnings.simplefilter("ignore")
        run(np.zeros(shape, np.float32))
    return run
