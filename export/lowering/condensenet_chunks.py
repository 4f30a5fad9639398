"""A dense block that never copies what it has: its features stay in the chunks they were computed in.

before: x = concat(x, layer(x)) in every layer, and an index, a norm and a ReLU of all of it
after:  middle = relu(sum over chunks of W[:, chunk] relu(scale x[chunk] + shift) + bias), with zeros in W where the index chose
        nothing; some new chunks are joined once they are ``join``, so that a feature is copied at most once in its block, and
        never where ``join`` is 1, at the price of more small convolutions

Features of a layer narrower than the lanes are added into a shared chunk, each in channels that are 0 in the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekit.export.lowering.condensenet_growing import growing
from edgekit.export.lowering.condensenet_layers import LANES, LayerArrays, Normalise, group_conv

Layout = tuple[Tensor, ...]  # per chunk, the feature in each of its channels; -1 where there is none


class ChunkReading(nn.Module):
    """A layer's norm, ReLU and 1x1 convolution over chunks, its weights dense with zeros."""

    def __init__(self, layer: LayerArrays, layout: Layout) -> None:
        super().__init__()
        found = layer.taps.per_feature(layer.inputs)
        assert found is not None  # block_forms offers chunks only then
        kernel = layer.dense_reading()
        self.norms, self.convs = nn.ModuleList(), nn.ModuleList()
        for number, features in enumerate(layout):
            known = features >= 0
            scale, shift = (torch.where(known, part[features.clamp(min=0)], 0.0) for part in found)
            weight = torch.where(known[:, None, None], kernel.weight[:, features.clamp(min=0)], 0.0)
            self.norms.append(Normalise(scale, shift))
            self.convs.append(group_conv(weight, kernel.bias if number == 0 else None, 1))

    def forward(self, chunks: Sequence[Tensor]) -> Tensor:
        y: Tensor | None = None
        for norm, conv, chunk in zip(self.norms, self.convs, chunks, strict=True):
            part = conv(norm(chunk))
            y = part if y is None else y + part
        assert y is not None
        return torch.relu(y)


class ChunkedBlock(nn.Module):
    """The layers of a dense block on chunks; ``layout`` is what its result holds."""

    def __init__(self, layers: Sequence[LayerArrays], layout: Layout, form: str, join: int) -> None:
        super().__init__()
        self.reading, self.growing = nn.ModuleList(), nn.ModuleList()
        self.steps: list[str] = []  # after each layer: what becomes of its features
        kept, fresh = list(layout), list[Tensor]()
        for layer in layers:
            self.reading.append(ChunkReading(layer, (*kept, *fresh)))
            features = torch.arange(layer.inputs, layer.inputs + layer.growth)
            room = int((fresh[-1] < 0).sum()) if fresh else 0
            if room >= layer.growth:  # beside the features of the last layer
                place = int((fresh[-1] < 0).nonzero()[0])
                fresh[-1] = fresh[-1].clone()
                fresh[-1][place : place + layer.growth] = features
                self.growing.append(
                    growing(layer, form, before=place, after=len(fresh[-1]) - place - layer.growth)
                )
                step = "add"
            else:
                width = -(-layer.growth // LANES) * LANES
                chunk = torch.full((width,), -1)
                chunk[: layer.growth] = features
                self.growing.append(growing(layer, form, after=width - layer.growth))
                fresh.append(chunk)
                step = "new"
            if len(fresh) == join and int((fresh[-1] < 0).sum()) < layer.growth and join > 1:
                kept.append(torch.cat(fresh))
                fresh = []
                step += " join"
            self.steps.append(step)
        self.layout = (*kept, *fresh)

    def forward(self, chunks: Sequence[Tensor]) -> list[Tensor]:
        kept, fresh = list(chunks), list[Tensor]()
        for reading, growing_, step in zip(self.reading, self.growing, self.steps, strict=True):
            new = growing_(reading((*kept, *fresh)))
            if step.startswith("add"):
                fresh[-1] = new + fresh[-1]
            else:
                fresh.append(new)
            if step.endswith("join"):
                kept.append(torch.cat(fresh, dim=1))
                fresh = []
        return [*kept, *fresh]


def places(layout: Layout) -> Tensor:
    """Where each feature stands in the chunks joined."""
    held = torch.cat(layout)
    place = torch.zeros(int(held.max()) + 1, dtype=torch.int64)
    known = held >= 0
    place[held[known]] = known.nonzero()[:, 0]
    return place
