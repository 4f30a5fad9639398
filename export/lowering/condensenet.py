"""CondenseNet, lowered: each dense block in one of the forms that may win, joined to one network without index or shuffle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering import Parts, Shapes, chooses, lowers
from edgekit.export.lowering.batch_norm import Kernel, affine, conv2d
from edgekit.export.lowering.condensenet_chunks import ChunkedBlock, Layout, places
from edgekit.export.lowering.condensenet_fetch import FetchedBlock
from edgekit.export.lowering.condensenet_layers import LANES, LayerArrays, Normalise, arrays, padded_rows
from edgekit.models.condensenet import CondensedLinear, CondenseNet

JOIN = 3  # new chunks that are joined: more of them mean more small convolutions a layer, fewer more copying
# Outputs of a group: each is a depthwise convolution of all channels, and costs more than it saves beyond.
DEPTHWISE_UP_TO = 4


class LoweredCondenseNet(nn.Module):
    """A converted CondenseNet whose dense blocks have the forms named, one a block."""

    def __init__(self, net: CondenseNet, forms: Sequence[str]) -> None:
        super().__init__()
        assert isinstance(net.classifier, CondensedLinear)
        stem = net.features.get_submodule("init_conv")
        assert isinstance(stem, nn.Conv2d)
        layout: Layout = (filled(stem.out_channels),)
        missing = len(layout[0]) - stem.out_channels
        self.stem = conv2d(
            Kernel(padded_rows(stem.weight.detach(), 0, missing), None), net.options.stem_stride, padding=1
        )
        self.blocks = nn.ModuleList()
        for layers, form in zip(net.blocks(), forms, strict=True):
            block = build_block([arrays(layer) for layer in layers], layout, form)
            self.blocks.append(block)
            last = block.layout
            layout = (torch.cat(last),)  # the transition joins what it has made smaller
        scale, shift = affine(net.features.get_submodule("norm_last"))
        self.norms = nn.ModuleList(Normalise(scale[f.clamp(min=0)], shift[f.clamp(min=0)]) for f in last)
        self.pool = net.features.get_submodule("pool_last")
        self.index = nn.Buffer(places(last)[net.classifier.index])
        self.linear = net.classifier.linear

    def forward(self, image: Tensor) -> Tensor:
        chunks: list[Tensor] = [self.stem(image)]
        for number, block in enumerate(self.blocks):
            chunks = block([transition(chunks)] if number else chunks)
        pooled = [self.pool(norm(chunk)) for norm, chunk in zip(self.norms, chunks, strict=True)]
        return self.linear(joined(pooled).flatten(1).index_select(1, self.index))  # type: ignore[no-any-return]


class BlockAlone(nn.Module):
    """A dense block from the features before its transition to those after the next, to be timed by itself."""

    def __init__(self, block: nn.Module, first: bool) -> None:
        super().__init__()
        self.block, self.first = block, first

    def forward(self, x: Tensor) -> Tensor:
        return transition(self.block([x] if self.first else [transition([x])]))


def transition(chunks: Sequence[Tensor]) -> Tensor:
    """Every chunk at half its resolution, in one tensor."""
    return joined([F.avg_pool2d(chunk, 2) for chunk in chunks])


def filled(features: int) -> Tensor:
    """The first features, with channels that hold none up to the next lanes: what fills no lanes is copied wherever it is read."""
    return F.pad(torch.arange(features), (0, -features % LANES), value=-1)


def joined(chunks: Sequence[Tensor]) -> Tensor:
    """Chunks as one tensor."""
    return chunks[0] if len(chunks) == 1 else torch.cat(list(chunks), dim=1)


def block_forms(layers: Sequence[LayerArrays]) -> list[str]:
    """The forms that a block can have, those with the fewest tricks first."""
    forms = ["fetch-parts", "fetch-matmul"]
    # Dense weights need one norm a feature; a converted file may hold one for every group that reads it.
    if all(layer.taps.per_feature(layer.inputs) is not None for layer in layers):
        forms = ["chunks-grouped", "chunks-joined", "chunks-apart", *forms]
        if all(layer.growth // layer.groups_3x3 <= DEPTHWISE_UP_TO for layer in layers):
            forms.append("chunks-depthwise")
    return forms


def build_block(layers: Sequence[LayerArrays], layout: Layout, form: str) -> ChunkedBlock | FetchedBlock:
    """A dense block in one of its forms, on features that stand as ``layout`` says."""
    kind, _, how = form.partition("-")
    if kind == "fetch":
        return FetchedBlock(layers, layout, how)
    if how == "apart":
        return ChunkedBlock(layers, layout, "joined", join=1)
    return ChunkedBlock(layers, layout, how, JOIN)


def unmeasured(layers: Sequence[LayerArrays]) -> str:
    """The form that has won most often: see docs/lowerings.md."""
    possible = block_forms(layers)
    if layers[0].reading.shape[1] >= LANES:
        return "fetch-parts"
    return next(form for form in ("chunks-depthwise", "chunks-joined", "fetch-parts") if form in possible)


@lowers(CondenseNet)
def lower_condensenet(module: nn.Module, shapes: Shapes) -> dict[str, nn.Module]:
    """Every block chunked, every block fetched, and each in the form that has won most often elsewhere."""
    assert isinstance(module, CondenseNet)
    blocks = [[arrays(layer) for layer in layers] for layers in module.blocks()]
    found: dict[str, list[str]] = {}
    if all("chunks-grouped" in block_forms(layers) for layers in blocks):
        found["chunks"] = ["chunks-grouped"] * len(blocks)
    found["fetch"] = ["fetch-parts"] * len(blocks)
    found["blocks"] = [unmeasured(layers) for layers in blocks]
    return {name: LoweredCondenseNet(module, forms).eval() for name, forms in found.items()}


@chooses(CondenseNet)
def condensenet_parts(module: nn.Module, shapes: Shapes) -> Parts:
    """The dense blocks, to be chosen one by one."""
    assert isinstance(module, CondenseNet)
    options = module.options
    (image,) = shapes.values()
    side = [-(-n // options.stem_stride) for n in image[2:]]
    forms: dict[str, Mapping[str, nn.Module]] = {}
    inputs: dict[str, Tensor] = {}
    for number, layers in enumerate(module.blocks()):
        held = [arrays(layer) for layer in layers]
        layout: Layout = (filled(held[0].inputs),)
        name = f"denseblock_{number + 1}"
        forms[name] = {
            form: BlockAlone(build_block(held, layout, form), number == 0).eval()
            for form in block_forms(held)
        }
        random = torch.Generator().manual_seed(number)
        before = [n >> max(number - 1, 0) for n in side]
        inputs[name] = torch.randn(1, len(layout[0]), *before, generator=random)

    def build(chosen: Mapping[str, str]) -> nn.Module:
        return LoweredCondenseNet(module, [chosen[name] for name in forms]).eval()

    return Parts(forms, inputs, build)
