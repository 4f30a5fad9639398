"""A dense block whose layers fetch, from the features so far, what their groups read, and nothing else is computed.

before: index, norm, ReLU, group conv, shuffle, norm, ReLU, group conv
after:  relu(scale x[taps] + shift), then a 1x1 convolution in as many groups, and the 3x3 convolution, with no shuffle between:
        "parts": the 1x1 convolution is cut into parts, one for each (joined) group of the 3x3 one, whose weights follow their order
        "matmul": one batched matrix product and a transposition, after which channels stand in the 3x3 convolution's order

Taps are filled up so that a group's fill lanes: ONNX Runtime keeps grouped convolutions in its blocked layout only then.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Activation
from edgekit.export.lowering.condensenet_chunks import Layout, places
from edgekit.export.lowering.condensenet_growing import growing, joined_groups
from edgekit.export.lowering.condensenet_layers import LANES, LayerArrays, Normalise, group_conv, regrouped


class PartsLayer(nn.Module):
    """All features (1, C, H, W) to the layer's new ones; ``place`` says where each feature stands."""

    def __init__(self, layer: LayerArrays, place: Tensor) -> None:
        super().__init__()
        taps = layer.taps.padded(LANES)
        groups, outputs, read = layer.reading.shape
        weight = F.pad(layer.reading, (0, taps.index.shape[1] - read))
        self.index = nn.Buffer(place[taps.index.flatten()])
        self.norm = Normalise(taps.scale.flatten(), taps.shift.flatten())
        parts = parts_of(layer)
        share = outputs // parts
        self.reading = nn.ModuleList()
        for p in range(parts):
            rows = slice(p * share, (p + 1) * share)
            self.reading.append(
                group_conv(
                    weight[:, rows].flatten(0, 1)[:, :, None, None], layer.bias[:, rows].flatten(), groups
                )
            )
        # Output c of group g stands at place g * share + c of its part, and is bottleneck channel c * groups + g.
        order = (torch.arange(share) * groups + torch.arange(groups)[:, None]).flatten()
        self.growing = group_conv(
            regrouped(layer.growing, layer.groups_3x3, parts)[:, order], None, parts, padding=1
        )

    def forward(self, features: Tensor) -> Tensor:
        x = self.norm(features.index_select(1, self.index))
        middle = [torch.relu(conv(x)) for conv in self.reading]
        return self.growing(middle[0] if len(middle) == 1 else torch.cat(middle, dim=1))  # type: ignore[no-any-return]


class MatmulLayer(nn.Module):
    """All features (1, C, H, W) to the layer's new ones; ``place`` says where each feature stands."""

    def __init__(self, layer: LayerArrays, place: Tensor) -> None:
        super().__init__()
        self.groups = layer.reading.shape[0]
        # relu(s x + b) = |s| relu(sign(s) x + b / |s|): the size of the scale is the weights', and mostly no factor is left.
        scale, shift = layer.taps.scale, layer.taps.shift
        size = torch.where(scale == 0, 1.0, scale.abs())
        self.index = nn.Buffer(place[layer.taps.index.flatten()])
        self.weight = nn.Buffer(layer.reading * size.unsqueeze(1))
        self.norm = Activation(scale.sign().flatten(), (shift / size).flatten())
        self.second = Activation(torch.ones(layer.middle), layer.bias.t().flatten())
        self.growing = growing(layer, "joined")

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        x = self.norm(features.index_select(1, self.index))
        y = self.weight @ x.view(self.groups, -1, height * width)
        y = y.transpose(0, 1).reshape(1, -1, height, width)
        return self.growing(self.second(y))  # type: ignore[no-any-return]


class FetchedBlock(nn.Module):
    """The layers of a dense block on all features so far; ``layout`` is what its result holds."""

    def __init__(self, layers: Sequence[LayerArrays], layout: Layout, form: str) -> None:
        super().__init__()
        held, first = torch.cat(layout), layers[0].inputs
        new = torch.arange(first, first + sum(layer.growth for layer in layers))
        self.layout: Layout = (torch.cat((held, new)),)
        place = places(self.layout)
        build = {"parts": PartsLayer, "matmul": MatmulLayer}[form]
        self.layers = nn.ModuleList(build(layer, place) for layer in layers)

    def forward(self, chunks: Sequence[Tensor]) -> list[Tensor]:
        x = torch.cat(list(chunks), dim=1) if len(chunks) > 1 else chunks[0]
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return [x]


def parts_of(layer: LayerArrays) -> int:
    """Into how many parts a layer's 1x1 convolution can be cut whose groups still fill lanes."""
    outputs, most = layer.reading.shape[1], joined_groups(layer)
    fits = [p for p in range(most, 1, -1) if most % p == 0 and outputs % p == 0 and outputs // p % LANES == 0]
    return fits[0] if fits else 1
