"""What edgekit's AnyNet is measured against: the uncut network, with and without its propagation stage, and its plain export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import runtimes
from edgekit.models.anynet import AnyNet


def without_propagation(net: AnyNet) -> AnyNet:
    """The same network with its first three exits only."""
    smaller = AnyNet(replace(net.options, with_spn=False))
    smaller.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("refine_spn.")})
    return smaller.eval()


def multiply_adds(net: AnyNet, size: tuple[int, int]) -> int:
    """Multiply-adds of the convolutions of both views at ``size``, counted by PyTorch while it runs them."""
    from torch.utils.flop_counter import FlopCounterMode

    picture = torch.zeros(1, 3, *size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(picture, picture)
    return int(counter.get_total_flops()) // 2


def plain_export(net: AnyNet, size: tuple[int, int], path: Path, *, dynamo: bool) -> None:
    """The plain export of the uncut network for pictures of ``size`` (height, width)."""
    pictures = {name: torch.zeros(1, 3, *size) for name in ("left", "right")}
    names = [f"disparity{k + 1}" for k in range(4 if net.refine_spn is not None else 3)]
    runtimes.plain_export(net, pictures, names, path, dynamo=dynamo)
