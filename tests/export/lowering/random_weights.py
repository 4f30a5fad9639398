"""Networks with weights and statistics that make every fold matter: scales of either sign, biases and means away from 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.models.anynet import volume_network


def shaken(module: nn.Module, seed: int) -> nn.Module:
    """``module`` for inference, its weights and batch-norm statistics drawn from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.normal_(0, 0.5, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
            sign = torch.randint(0, 2, part.weight.shape, generator=generator) * 2.0 - 1
            part.weight.data = sign * torch.rand(part.weight.shape, generator=generator).add(0.5)
            part.bias.data.normal_(0.3, 0.5, generator=generator)
        elif isinstance(part, nn.Conv2d | nn.Conv3d):
            fan = part.weight[0].numel()
            part.weight.data.normal_(0, (2 / fan) ** 0.5, generator=generator)
            if part.bias is not None:
                part.bias.data.normal_(0, 0.5, generator=generator)
    return module.eval().requires_grad_(False)


def maps(seed: int, *shape: int) -> Tensor:
    """Random maps of this shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def disparity_network(seed: int, layers: int, channels: int) -> nn.Sequential:
    """AnyNet's 3-D convolutions with shaken weights."""
    network = shaken(volume_network(layers, channels), seed)
    assert isinstance(network, nn.Sequential)
    return network
